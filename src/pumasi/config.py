"""Settings: one frozen value for every program of Pumasi, and where each part of it came from.

The order is flag, environment, `.env`, file, default; within one of these the `PUMASI_` name beats an alias. A bad
value of a `PUMASI_` name is refused. A bad value of an alias, which another program may have meant for itself
(`DEBUG=app:*`), is left out with a note. `Settings.load()` reads all that; `Settings(slots=2)` is
exactly what it says, for tests.
"""

import os
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote
from zoneinfo import ZoneInfo

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pumasi import foreign, sources
from pumasi.checking import fitting
from pumasi.errors import BadSetting, Invalid
from pumasi.locale import gettext as _
from pumasi.masking import mask
from pumasi.sources import DEFAULT, PREFIX, Origin, Raw
from pumasi.units import parse_duration, parse_size

#: PUMASI_ names that are no settings: which file to read, and what a script's process is told
NO_SETTINGS = frozenset({"PUMASI_CONFIG", "PUMASI_JOB_ID", "PUMASI_ATTEMPT"})
MB = 1024 * 1024


def _names(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _split(value: Any) -> Any:
    return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value


def _language(value: Any) -> Any:
    return value.split(".")[0].split("_")[0].lower() if isinstance(value, str) else value


def _expanded(value: Any) -> Any:
    return os.path.expanduser(value) if isinstance(value, str) else value


def _zone(value: Any) -> Any:
    try:
        return ZoneInfo(value) and value
    except (KeyError, ValueError, OSError):
        raise Invalid("{value} is no time zone; write one such as Asia/Seoul", value=repr(value)) from None


Zone = Annotated[str, BeforeValidator(_zone)]
Seconds = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size), Gt(0)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Language = Annotated[Literal["ko", "en"], BeforeValidator(_language)]
Folder = Annotated[Path, BeforeValidator(_expanded)]
Folders = Annotated[tuple[Folder, ...], BeforeValidator(_names)]
Paths = Annotated[tuple[Folder, ...], BeforeValidator(_split)]


def _setting(default: Any, help: str, *aliases: str) -> Any:
    return Field(default, description=help, json_schema_extra={"aliases": list(aliases)})


class Settings(BaseSettings):
    """What can be set. Durations are seconds, sizes bytes; written as `90`, `1m30s`, `512MB`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=False)

    # -- where things are
    broker: str | None = _setting(None, "URL of the broker")
    url: str | None = _setting(None, "gateway or broker URL that clients speak to")
    token: SecretStr | None = _setting(None, "bearer token of the gateway")
    data_dir: Folder = _setting(Path(".pumasi"), "folder of the embedded broker, caches and spools")
    scripts: Folder = _setting(Path("scripts"), "folder of the scripts")
    # -- a worker
    worker_id: str | None = _setting(None, "name of the worker; worker-<8 hex> when empty", "WORKER_ID")
    slots: Annotated[int, Ge(1), Le(1024)] = _setting(4, "jobs run at one time", "MAX_WORKERS")
    queues: Names = _setting((), "queues served, or patterns such as shop-*, separated by commas; default when empty")
    heartbeat: Annotated[Seconds, Gt(0)] = _setting(10.0, "time between heartbeats", "WORKER_HEARTBEAT_INTERVAL")
    poll_interval: Annotated[Seconds, Gt(0)] = _setting(10.0, "fallback poll when no news come", "POLL_INTERVAL")
    claim_wait: Annotated[Seconds, Gt(0)] = _setting(10.0, "longest wait of one claim", "TASK_QUEUE_TIMEOUT")
    memory: Size | None = _setting(None, "memory all jobs of a worker may use; 80 % of what is free when empty")
    max_runs: Annotated[int, Ge(0)] = _setting(0, "runs after which a worker ends; 0 is endless", "MAX_RUNS")
    grace: Annotated[Seconds, Ge(0)] = _setting(5.0, "time between SIGTERM and SIGKILL for a job")
    drain: Annotated[Seconds, Ge(0)] = _setting(30.0, "time running jobs get to finish when a worker is stopped")
    on_partition: Literal["finish", "kill"] = _setting("finish", "what happens to a run whose broker is out of reach")
    # -- a run that says nothing else
    timeout: Annotated[Seconds, Gt(0)] = _setting(300.0, "time limit of a run", "TASK_TIMEOUT", "WORKER_TIMEOUT")
    memory_limit: Size = _setting(512 * MB, "memory of a run, all its processes together", "PROCESS_MEMORY_LIMIT")
    cpu_limit: Annotated[Seconds, Gt(0)] = _setting(300.0, "CPU time of a run", "PROCESS_CPU_LIMIT")
    process_limit: Annotated[int, Ge(1)] = _setting(64, "processes and threads of a run")
    file_limit: Annotated[int, Ge(16)] = _setting(1024, "open files of a process", "PROCESS_FILE_LIMIT")
    disk_limit: Size = _setting(1024 * MB, "disk space of a run")
    output_limit: Size | None = _setting(None, "bytes a run may print; no limit when empty")
    result_limit: Size = _setting(16 * MB, "bytes of a result")
    required_memory: Size = _setting(128 * MB, "memory a job counts with when it is handed out")
    isolation: Literal["auto", "basic", "container", "unprivileged", "full", "require"] = _setting(
        "auto", "level of isolation: auto takes the best there is, a name exactly that, require only full"
    )
    python: str = _setting(sys.executable, "Python interpreter that runs the scripts")
    visible: Folders = _setting(
        (), "folders that scripts may read beside the interpreter and the system's own, separated by commas"
    )
    script_paths: Paths = _setting(
        (), "folders below which a path that a MongoDB document names may be run, separated by colons"
    )
    classic_timezone: Zone | None = _setting(
        None, "time zone in which programs read and write the times of the Redis list; the host's when empty"
    )
    nice: Annotated[int, Ge(0), Le(19)] = _setting(10, "niceness of the scripts")
    allow_env: Names = _setting((), "environment variables that scripts may ask for, separated by commas")
    # -- what is kept
    blobs: str | None = _setting(
        None, "URL of a folder or bucket for large results, artifacts and logs; in the broker's own store when empty"
    )
    full_log_limit: Size | None = _setting(
        None, "bytes that are kept of a run that prints more than its job's log holds; none beside the log when empty"
    )
    retention: Annotated[Seconds, Ge(0)] = _setting(86400.0, "time an ended job is kept")
    retention_completed: Annotated[Seconds, Ge(0)] | None = _setting(None, "the same of completed jobs only")
    retention_failed: Annotated[Seconds, Ge(0)] | None = _setting(None, "the same of failed jobs only")
    retention_cancelled: Annotated[Seconds, Ge(0)] | None = _setting(None, "the same of cancelled jobs only")
    cleanup_interval: Annotated[Seconds, Gt(0)] = _setting(
        300.0, "time between cleanups of ended jobs", "CLEANUP_INTERVAL"
    )
    cache_cleanup_interval: Annotated[Seconds, Gt(0)] = _setting(
        86400.0, "time between cleanups of the script cache", "WORKER_CLEANUP_INTERVAL"
    )
    # -- a gateway, and its callers
    host: str = _setting("127.0.0.1", "address the gateway listens on")
    port: Annotated[int, Ge(0), Le(65535)] = _setting(8000, "port the gateway listens on; 0 takes a free one")
    open_access: bool = _setting(False, "no token is asked for; on loopback addresses only")
    wait_timeout: Annotated[Seconds, Gt(0)] = _setting(
        300.0, "how long a caller waits for a result", "RPC_TIMEOUT", "RABBITMQ_RESULT_TIMEOUT"
    )
    # -- what is shown
    lang: Language | None = _setting(None, "language of all texts: ko or en")
    debug: bool = _setting(False, "show tracebacks and debug messages", "DEBUG")
    log_format: Literal["auto", "console", "json"] = _setting(
        "auto", "form of log messages; auto: console on a terminal"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_language)] = _setting(
        "info", "least level of the messages shown"
    )

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)
    _notes: tuple[BadSetting, ...] = PrivateAttr(default=())
    _brokers: tuple[Raw, ...] = PrivateAttr(default=())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller passes: `load` has read the rest, and knows where it came from."""
        return (init_settings,)

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """The settings of this process; `flags` that are None are not given.

        Raises:
            BadSetting: naming the setting, its value (never a secret's), and where it came from.
        """
        reader = _Reader(cls, flags)
        values = {name: raw for name in cls.model_fields if (raw := reader.read(name)) is not None}
        settings = cls(**{name: raw.value for name, raw in values.items()})
        settings._origins = {name: raw.origin for name, raw in values.items()}
        settings._brokers = tuple(reader.brokers())
        settings._notes = tuple(reader.notes)
        return settings

    @property
    def notes(self) -> tuple[BadSetting, ...]:
        """What was left out while loading, and why: to be shown, or logged, once."""
        return self._notes

    def origin(self, name: str) -> str:
        """Where a setting's value came from: flag, environment X, .env line 3, file …, or default."""
        return str(self._origins.get(name, DEFAULT))

    @property
    def broker_url(self) -> str:
        """The broker these settings mean: the one named, else the embedded one in `data_dir`."""
        if self.broker:
            return self.broker
        if self._brokers:
            return str(self._brokers[0].value)
        return f"sqlite:///{quote(str(self.data_dir / 'pumasi.db'))}"

    @property
    def broker_options(self) -> dict[str, float]:
        """Options of a broker that hold where its URL names none."""
        names = ("retention", "retention_completed", "retention_failed", "retention_cancelled")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def zone(self) -> ZoneInfo | None:
        """The zone of other programs' times; None: the host's."""
        return ZoneInfo(self.classic_timezone) if self.classic_timezone else None

    @property
    def broker_why(self) -> str:
        """Which setting named the broker, and which others it was preferred to."""
        if self.broker:
            return self.origin("broker")
        if not self._brokers:
            return _("embedded, as no other is named")
        first, *rest = [str(raw.origin) for raw in self._brokers]
        return _("{origin}, before {others}").format(origin=first, others=", ".join(rest)) if rest else first

    @cached_property
    def worker_name(self) -> str:
        """`worker_id`, or a name made up once for this process."""
        return self.worker_id or f"worker-{os.urandom(4).hex()}"

    @property
    def cache_dir(self) -> Path:
        """Where fetched scripts are kept."""
        return self.data_dir / "cache"

    @property
    def spool_dir(self) -> Path:
        """Where a worker keeps outcomes that it has not reported yet."""
        return self.data_dir / "spool"

    @property
    def token_file(self) -> Path:
        """What a running gateway tells the command line: `{"url", "token", "pid"}`, mode 0600."""
        return self.data_dir / "token.json"


def aliases(name: str) -> list[str]:
    """The names other than `PUMASI_…` under which the environment may hold a setting."""
    extra = Settings.model_fields[name].json_schema_extra
    return [str(alias) for alias in extra["aliases"]] if isinstance(extra, dict) else []  # type: ignore[union-attr]


def is_secret(name: str) -> bool:
    """Whether a setting's value must never be shown."""
    return name == "token"


class _Reader:
    """Reads the layers once; then gives, per setting, the first value that holds."""

    def __init__(self, model: type[Settings], flags: dict[str, Any]) -> None:
        self.model = model
        self.known = list(model.model_fields)
        for name in flags:
            if name not in self.known:
                raise TypeError(f"there is no setting {name!r}")
        environment = sources.environment()
        dotenv, unreadable = sources.dotenv()
        config = environment.get("PUMASI_CONFIG") or dotenv.get("PUMASI_CONFIG")
        self.flags = sources.flags(flags)
        self.named = [environment, dotenv]
        self.file = sources.file(str(config.value) if config else None, self.known)
        self.notes = [BadSetting(".env line {line} is left out: it cannot be read", line=line) for line in unreadable]
        self.notes += self._misspelt()

    def read(self, name: str) -> Raw | None:
        """The value of a setting, checked; None when nobody names it."""
        for raw, ours in self._candidates(name):
            try:
                return Raw(fitting(self.model.model_fields[name], raw.value), raw.origin)
            except BadSetting as error:
                bad = _described(name, raw, error)
                if ours:
                    raise bad from error
                self.notes.append(BadSetting("left out: {what}", what=str(bad)))
        return None

    def brokers(self) -> list[Raw]:
        """The brokers named under the names of other programs, in the order in which they win."""
        return foreign.brokers(self.named, self.notes)

    def _candidates(self, name: str) -> Iterator[tuple[Raw, bool]]:
        """Who names the setting, the one that wins first, and whether it can only be meant for us."""
        if name in self.flags:
            yield self.flags[name], True
        for layer in self.named:
            if (key := PREFIX + name.upper()) in layer:
                yield layer[key], True
            elif name == "scripts" and (folder := foreign.scripts_folder(layer)):
                yield folder, True
            for alias in aliases(name):
                if alias in layer:
                    yield layer[alias], False
        if name in self.file:
            yield self.file[name], True

    def _misspelt(self) -> Iterator[BadSetting]:
        names = [name.upper() for name in self.known]
        for layer in self.named:
            for key, raw in layer.items():
                name = key.removeprefix(PREFIX)
                if key.startswith(PREFIX) and name not in names and key not in NO_SETTINGS:
                    yield sources.unknown(str(raw.origin), name, names, PREFIX)


def _described(name: str, raw: Raw, why: BadSetting) -> BadSetting:
    shown = "***" if is_secret(name) else mask(str(raw.value))
    text = "setting {name} is {value!r} ({origin}): {why}"
    return BadSetting(text, name=name, value=shown, origin=str(raw.origin), why=str(why))
