"""What is named under the names that other programs know: a broker (RABBITMQ_URL, REDIS_HOST, TASKMANAGER_API_URL)
and a script repository (SCRIPT_REPOSITORY_TYPE and _URL), found in the layers of the environment.

Such a name may be meant for somebody else. A value that cannot be ours is left out, with a note.
"""

from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from pumasi.errors import BadSetting
from pumasi.sources import Layer, Raw


def brokers(layers: Sequence[Layer], notes: list[BadSetting]) -> list[Raw]:
    """URLs of the brokers named, in the order in which they win: RabbitMQ, Redis, task manager."""
    found = [
        _url(layers, "RABBITMQ_URL", ("amqp", "amqps"), notes),
        _redis(layers, notes),
        _url(layers, "TASKMANAGER_API_URL", ("http", "https"), notes),
    ]
    return [raw for raw in found if raw]


def scripts_folder(layer: Layer) -> Raw | None:
    """The folder of scripts that a layer names as a repository of type `local`, if it does.

    Raises:
        BadSetting: it names a type of repository that does not exist (yet).
    """
    kind, url = layer.get("SCRIPT_REPOSITORY_TYPE"), layer.get("SCRIPT_REPOSITORY_URL")
    if kind is None:
        return None
    name = str(kind.value).strip().lower()
    if name in ("git", "http", "s3"):
        text = "a script repository of type {kind} ({origin}) does not exist yet; use local, or set PUMASI_SCRIPTS"
        raise BadSetting(text, kind=name, origin=str(kind.origin))
    if name != "local" or url is None:
        return None
    return Raw(str(url.value).removeprefix("file://"), url.origin)


def _url(layers: Sequence[Layer], key: str, schemes: tuple[str, ...], notes: list[BadSetting]) -> Raw | None:
    raw = _first(layers, key)
    if raw is None or urlsplit(str(raw.value)).scheme in schemes:
        return raw
    notes.append(
        BadSetting("{origin} is left out: it is no {scheme}:// URL", origin=str(raw.origin), scheme=schemes[0])
    )
    return None


def _redis(layers: Sequence[Layer], notes: list[BadSetting]) -> Raw | None:
    host = _first(layers, "REDIS_HOST")
    if host is None:
        return None
    port = _number(layers, "REDIS_PORT", 6379, notes)
    database = _number(layers, "REDIS_DB", 0, notes)
    password = _first(layers, "REDIS_PASSWORD")
    login = f":{quote(str(password.value), safe='')}@" if password else ""
    return Raw(f"redis://{login}{host.value}:{port}/{database}", host.origin)


def _number(layers: Sequence[Layer], key: str, default: int, notes: list[BadSetting]) -> int:
    raw = _first(layers, key)
    if raw is None:
        return default
    text = str(raw.value).strip()
    if text.isdecimal():
        return int(text)
    notes.append(BadSetting("{origin} is left out: {value!r} is no whole number", origin=str(raw.origin), value=text))
    return default


def _first(layers: Sequence[Layer], key: str) -> Raw | None:
    return next((layer[key] for layer in layers if key in layer), None)
