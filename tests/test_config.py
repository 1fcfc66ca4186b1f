"""Settings: which value wins, what is refused, what is left out, and what is said about it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pumasi.config import Settings, aliases
from pumasi.errors import BadSetting
from pumasi.locale import set_language

MB = 1024 * 1024


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory without settings, and none in the environment either."""
    names = [alias for name in Settings.model_fields for alias in (f"PUMASI_{name.upper()}", *aliases(name))]
    foreign = ["PUMASI_CONFIG", "RABBITMQ_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD"]
    foreign += ["TASKMANAGER_API_URL", "SCRIPT_REPOSITORY_TYPE", "SCRIPT_REPOSITORY_URL"]
    for name in names + foreign:
        monkeypatch.delenv(name, raising=False)
    set_language("en")
    monkeypatch.chdir(tmp_path)
    yield
    set_language(None)


def test_the_order_is_flag_environment_dotenv_file_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings.load().slots, Settings.load().origin("slots")) == (4, "default")
    Path("pumasi.settings.toml").write_text("slots = 5\n")
    assert (Settings.load().slots, Settings.load().origin("slots")) == (5, "file pumasi.settings.toml")
    Path(".env").write_text("# mine\n\nPUMASI_SLOTS=6\n")
    assert (Settings.load().slots, Settings.load().origin("slots")) == (6, ".env line 3")
    monkeypatch.setenv("PUMASI_SLOTS", "7")
    assert (Settings.load().slots, Settings.load().origin("slots")) == (7, "environment PUMASI_SLOTS")
    assert (Settings.load(slots=8).slots, Settings.load(slots=8).origin("slots")) == (8, "flag")


def test_an_alias_counts_unless_the_own_name_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_WORKERS", "3")
    assert Settings.load().slots == 3
    monkeypatch.setenv("PUMASI_SLOTS", "9")
    assert Settings.load().slots == 9


def test_an_alias_of_the_environment_stands_above_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PUMASI_SLOTS=6\n")
    monkeypatch.setenv("MAX_WORKERS", "3")
    assert Settings.load().slots == 3


def test_dotenv_understands_quotes_inline_comments_and_empty_values() -> None:
    Path(".env").write_text(
        "PUMASI_MEMORY_LIMIT=256MB # enough\nPUMASI_WORKER_ID='a # b'\nPUMASI_PORT=\nexport PUMASI_TIMEOUT=1m30s\n"
    )
    settings = Settings.load()
    assert settings.memory_limit == 256 * MB
    assert settings.worker_id == "a # b"
    assert settings.port == 8000
    assert settings.timeout == 90.0


def test_an_empty_value_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_SLOTS", " ")
    Path(".env").write_text("MAX_WORKERS=2\n")
    assert Settings.load().slots == 2


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("slots", "many", "it must be a whole number"),
        ("slots", "0", "it must be at least 1"),
        ("timeout", "0", "it must be above 0"),
        ("timeout", "-1", "'-1' is no duration"),
        ("port", "99999", "it must be at most 65535"),
        ("memory_limit", "12 potatoes", "'12 potatoes' is no size"),
        ("open_access", "perhaps", "it must be true or false"),
        ("isolation", "best", "it must be one of auto, basic"),
        ("lang", "fr", "it must be one of ko, en"),
    ],
)
def test_a_bad_value_is_refused_naming_setting_value_and_place(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(f"PUMASI_{name.upper()}", value)
    with pytest.raises(BadSetting) as caught:
        Settings.load()
    assert f"setting {name} is {value!r} (environment PUMASI_{name.upper()}): {why}" in str(caught.value)


def test_a_bad_value_of_the_file_is_refused() -> None:
    Path("pumasi.settings.toml").write_text('slots = "x"\n')
    with pytest.raises(BadSetting, match=r"setting slots is 'x' \(file pumasi.settings.toml\)"):
        Settings.load()


def test_a_secret_is_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pumasi.settings.toml").write_text("token = 12345\n")
    with pytest.raises(BadSetting) as caught:
        Settings.load()
    assert "12345" not in str(caught.value)
    Path("pumasi.settings.toml").write_text("")
    monkeypatch.setenv("PUMASI_TOKEN", "hush-hush")
    assert "hush" not in repr(Settings.load())


def test_a_foreign_value_of_an_alias_is_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG", "app:*")
    settings = Settings.load()
    assert settings.debug is False
    assert [str(note) for note in settings.notes] == [
        "left out: setting debug is 'app:*' (environment DEBUG): it must be true or false"
    ]


def test_behind_a_foreign_value_the_next_layer_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_WORKERS", "lots")
    Path(".env").write_text("MAX_WORKERS=2\n")
    assert Settings.load().slots == 2


def test_a_misspelt_name_is_noted_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_SLOT", "2")
    (note,) = Settings.load().notes
    assert str(note) == "environment PUMASI_SLOT is no setting; did you mean PUMASI_SLOTS?"


def test_an_unknown_key_of_the_file_is_refused_with_the_one_that_was_meant() -> None:
    Path("pumasi.settings.toml").write_text("slot = 2\n")
    with pytest.raises(BadSetting, match=r"pumasi\.settings\.toml: slot is no setting; did you mean slots"):
        Settings.load()


def test_a_file_can_be_named_and_must_then_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.toml").write_text("port = 0\nqueues = ['a', 'b']\n")
    monkeypatch.setenv("PUMASI_CONFIG", "mine.toml")
    assert (Settings.load().port, Settings.load().queues) == (0, ("a", "b"))
    monkeypatch.setenv("PUMASI_CONFIG", "missing.toml")
    with pytest.raises(BadSetting, match=r"missing\.toml cannot be read"):
        Settings.load()


def test_a_file_that_is_no_toml_is_refused() -> None:
    Path("pumasi.settings.toml").write_text("slots = \n")
    with pytest.raises(BadSetting, match=r"pumasi\.settings\.toml cannot be read"):
        Settings.load()


def test_a_dotenv_that_is_no_text_is_refused_and_a_bad_line_is_noted() -> None:
    Path(".env").write_bytes(b"PUMASI_SLOTS=2\n'''\nMAX_RUNS=3\n")
    settings = Settings.load()
    assert settings.slots == 2
    assert any("cannot be read" in str(note) for note in settings.notes)
    Path(".env").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match=r"\.env cannot be read"):
        Settings.load()


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_QUEUES", "a, b ,,c")
    assert Settings.load().queues == ("a", "b", "c")


def test_a_language_may_be_written_like_a_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_LANG", "ko_KR.UTF-8")
    assert Settings.load().lang == "ko"


def test_a_time_zone_is_one() -> None:
    assert str(Settings.load(classic_timezone="Asia/Seoul").zone) == "Asia/Seoul"
    assert Settings.load().zone is None
    with pytest.raises(BadSetting, match="is no time zone"):
        Settings.load(classic_timezone="Mars/Base")


def test_the_embedded_broker_lies_in_the_data_folder() -> None:
    settings = Settings.load()
    assert settings.broker_url == "sqlite:///.pumasi/pumasi.db"
    assert settings.broker_why == "embedded, as no other is named"
    assert Settings.load(data_dir="/var/lib/p").broker_url == "sqlite:////var/lib/p/pumasi.db"
    assert Settings.load(retention="1h", retention_failed="7d").broker_options == {
        "retention": 3600.0,
        "retention_failed": 604800.0,
    }


def test_of_several_brokers_rabbitmq_wins_then_redis_then_the_task_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKMANAGER_API_URL", "http://host:8000/api")
    assert Settings.load().broker_url == "http://host:8000/api"
    monkeypatch.setenv("REDIS_HOST", "cache")
    monkeypatch.setenv("REDIS_PASSWORD", "p@ss")
    monkeypatch.setenv("REDIS_PORT", "tcp://10.0.0.1:6379")
    settings = Settings.load()
    assert settings.broker_url == "redis://:p%40ss@cache:6379/0"
    assert any("REDIS_PORT" in str(note) for note in settings.notes)
    monkeypatch.setenv("RABBITMQ_URL", "amqp://guest:guest@mq/")
    settings = Settings.load()
    assert settings.broker_url == "amqp://guest:guest@mq/"
    assert settings.broker_why == (
        "environment RABBITMQ_URL, before environment REDIS_HOST, environment TASKMANAGER_API_URL"
    )
    monkeypatch.setenv("PUMASI_BROKER", "memory://x")
    assert (Settings.load().broker_url, Settings.load().broker_why) == ("memory://x", "environment PUMASI_BROKER")


def test_a_broker_url_that_is_none_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "mq.local")
    settings = Settings.load()
    assert settings.broker_url.startswith("sqlite://")
    assert [str(note) for note in settings.notes] == ["environment RABBITMQ_URL is left out: it is no amqp:// URL"]


def test_a_local_repository_is_the_scripts_folder_and_others_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT_REPOSITORY_URL", "/srv/scripts")
    assert Settings.load().scripts == Path("scripts")
    monkeypatch.setenv("SCRIPT_REPOSITORY_TYPE", "local")
    assert Settings.load().scripts == Path("/srv/scripts")
    monkeypatch.setenv("SCRIPT_REPOSITORY_TYPE", "git")
    with pytest.raises(BadSetting, match="a script repository of type git"):
        Settings.load()
    monkeypatch.setenv("PUMASI_SCRIPTS", "mine")
    assert Settings.load().scripts == Path("mine")


def test_a_worker_name_is_made_up_once() -> None:
    settings = Settings.load()
    assert settings.worker_name == settings.worker_name
    assert settings.worker_name.startswith("worker-")
    assert Settings.load().worker_name != settings.worker_name
    assert Settings.load(worker_id="w").worker_name == "w"


def test_settings_made_by_hand_are_exactly_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_SLOTS", "9")
    assert Settings(port=1).slots == 4


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().slots = 3  # type: ignore[misc]


def test_an_unknown_flag_is_a_fault_of_the_program() -> None:
    with pytest.raises(TypeError, match="there is no setting 'slot'"):
        Settings.load(slot=1)


def test_the_example_names_every_setting_and_nothing_else() -> None:
    lines = (Path(__file__).parent.parent / ".env.example").read_text().splitlines()
    named = {line.removeprefix("# ").partition("=")[0] for line in lines if line.startswith("# PUMASI_")}
    assert named == {f"PUMASI_{name.upper()}" for name in Settings.model_fields} | {"PUMASI_CONFIG"}
