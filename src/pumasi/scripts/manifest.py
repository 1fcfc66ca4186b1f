"""What a script says of itself: `pumasi.toml` in its folder, or `[tool.pumasi]` in its entry point's PEP 723 block.

Everything is optional; a script without a manifest is an ordinary script. A field that nothing carries out yet is
refused when leaving it out of account would break a promise (`network = "public"`), and otherwise recorded
(`dependencies`).
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pumasi.core.job import Cause, Limits, OnLost, ResultMode, Retry
from pumasi.errors import Invalid
from pumasi.scripts.paths import check_path
from pumasi.scripts.pep723 import parse_toml, read_block
from pumasi.scripts.problems import problem, problems, refusal
from pumasi.scripts.schema import check_schema
from pumasi.scripts.source import decode
from pumasi.units import parse_duration, parse_rate, parse_size

#: the manifest of a folder
FILE = "pumasi.toml"

_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_QUEUE = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$"
_MODULE = r"^[^\W\d]\w*(\.[^\W\d]\w*)*$"


def _size(value: Any) -> int:
    return problem(parse_size, value)


def _seconds(value: Any) -> float:
    return problem(parse_duration, value)


def _rate(value: Any) -> str:
    problem(parse_rate, value)
    return str(value)


def _variable(value: Any) -> Any:
    if isinstance(value, str) and value.upper().startswith("PUMASI_"):
        raise refusal(Invalid("names that begin with PUMASI_ are our own"))
    return value


def _path(value: str) -> str:
    problem(check_path, value)
    return value


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    problem(check_schema, value)
    return value


def _network(value: Any) -> Any:
    if value == "public" or isinstance(value, list):
        raise refusal(
            Invalid(
                "the gate that holds a script to public addresses or to a list of hosts does not exist yet; "
                'ask for "none", or for "host", which is open to everything the worker can reach'
            )
        )
    return value


def _word(value: str) -> str:
    if "\0" in value:
        raise refusal(Invalid("a word with a NUL character cannot be given to a program"))
    return value


def _command(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value[0]:
        raise refusal(Invalid("its first word is the program to run, and is empty"))
    return value


def _scratch(value: Any) -> Any:
    try:
        parse_size(value)
    except Invalid:
        return value
    raise refusal(Invalid('says where the scratch is, "memory" or "disk"; how large it may be is said by `disk`'))


def _python(value: Any) -> Any:
    raise refusal(Invalid("a Python of its own does not exist for a script yet; the worker's setting `python` decides"))


Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Rate = Annotated[str, BeforeValidator(_rate)]
Count = Annotated[int, Field(gt=0, le=1_000_000, strict=True)]
Variable = Annotated[str, BeforeValidator(_variable), Field(pattern=_VARIABLE)]
Line = Annotated[str, Field(max_length=1000)]
Word = Annotated[str, Field(max_length=4096), AfterValidator(_word)]
Command = Annotated[tuple[Word, ...], Field(min_length=1, max_length=100), AfterValidator(_command)]
FilePath = Annotated[str, AfterValidator(_path)]
Schema = Annotated[dict[str, Any], AfterValidator(_schema)]


#: what a script with a browser may use when nothing is said: a browser is many processes, each with memory of its own
BROWSER = Limits(memory=2 << 30, processes=512)
BROWSER_REQUIRED = 1 << 30


class RetryRule(BaseModel):
    """When a run that failed by its own doing is tried again; fields and defaults are those of `core.job.Retry`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_attempts: Annotated[int, Field(ge=1, le=100, strict=True)] = 1
    delay: Annotated[float, BeforeValidator(_seconds)] = 1.0
    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    max_delay: Annotated[float, BeforeValidator(_seconds)] = 300.0
    on: tuple[Cause, ...] = Retry().on


class Manifest(BaseModel):
    """The manifest of a script; sizes in bytes, times in seconds, None where it says nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Line | None = None
    version: Line | None = None
    description: Annotated[str, Field(max_length=10_000)] = ""
    #: path of the file to run, within the script's folder
    entry_point: FilePath | None = None
    #: of a single-file script: further files to take along, as patterns within its folder
    files: tuple[FilePath, ...] = ()

    #: recorded; environments that hold them do not exist yet
    dependencies: tuple[Line, ...] = ()
    requires_python: Line | None = None
    #: modules that its warm template imports beforehand
    preload: tuple[Annotated[str, Field(pattern=_MODULE)], ...] = ()
    #: it starts a browser, whose own sandbox needs nested user namespaces
    browser: Annotated[bool, Field(strict=True)] = False
    #: a program to run instead of Python, with its first arguments
    command: Command | None = None
    #: refused until it exists
    python: Annotated[None, BeforeValidator(_python)] = None

    memory_limit: Size | None = None
    required_memory: Size | None = None
    #: CPU seconds, and wall time of one attempt
    cpu: Seconds | None = None
    timeout: Seconds | None = None
    processes: Count | None = None
    open_files: Count | None = None
    #: bytes in its scratch; and where that is: in memory, as a part of it, or in a folder that is looked at
    disk: Size | None = None
    scratch: Annotated[Literal["memory", "disk"] | None, BeforeValidator(_scratch)] = None
    output: Size | None = None
    network: Annotated[Literal["host", "none"] | None, BeforeValidator(_network)] = None

    #: environment variables it asks the worker for; those in `secrets` are shown nowhere
    env: tuple[Variable, ...] = ()
    secrets: tuple[Variable, ...] = ()

    result: ResultMode | None = None
    #: JSON schema of the parameters
    parameters: Schema | None = None
    retry: RetryRule | None = None
    on_lost: OnLost | None = None
    queue: Annotated[str, Field(pattern=_QUEUE)] | None = None
    priority: Annotated[int, Field(ge=0, le=9, strict=True)] | None = None
    #: jobs with the same key share the limits; may hold `{params.NAME}`
    key: Line | None = None
    concurrency: Count | None = None
    rate: Rate | None = None
    #: for whom a job is: a fair queue serves these in turn; may hold `{params.NAME}`
    share: Line | None = None
    #: seconds after which a job that nobody started is given up
    expires: Seconds | None = None
    labels: dict[str, Line] = {}
    #: patterns of files to keep, within its folder
    artifacts: tuple[FilePath, ...] = ()

    @model_validator(mode="after")
    def _coherent(self) -> "Manifest":
        if self.command is not None and (self.entry_point is not None or self.preload):
            raise refusal(Invalid("a command runs instead of Python: entry_point and preload mean nothing beside it"))
        if self.command is not None and self.result == "return":
            raise refusal(Invalid('a command has no main: result = "return" means nothing beside it'))
        if (self.concurrency is not None or self.rate is not None) and self.key is None:
            raise refusal(Invalid('concurrency and rate need a key, such as key = "{script}"'))
        if self.key is not None and self.concurrency is None and self.rate is None:
            raise refusal(Invalid("a key needs a concurrency or a rate to limit"))
        return self

    def limits(self) -> Limits:
        """What it may use, as far as it says so; for a browser, also where it does not."""
        usual = BROWSER if self.browser else Limits()
        return Limits(
            memory=usual.memory if self.memory_limit is None else self.memory_limit,
            cpu=self.cpu,
            processes=usual.processes if self.processes is None else self.processes,
            open_files=self.open_files,
            disk=self.disk,
            output=self.output,
        )

    def memory_to_count(self) -> int | None:
        """Bytes that admission counts, as far as it says so; for a browser, also where it does not."""
        return self.required_memory or (BROWSER_REQUIRED if self.browser else None)

    def retry_rule(self) -> Retry | None:
        """Its rule for trying again, if it has one."""
        return None if self.retry is None else Retry(**self.retry.model_dump())


def read_manifest(files: dict[str, bytes], name: str, *, entry_point: str | None = None) -> Manifest:
    """The manifest among the files of script `name`; an empty one when there is none.

    Raises:
        Invalid: it is no TOML, has unknown or wrong fields (each is named), or stands in two places.
    """
    stated = _toml(files, name)
    entry = entry_point or _entry(stated, files, name)
    block = _block(files, entry) if isinstance(entry, str) and entry in files else {}
    inline = block.get("tool", {}).get("pumasi", {}) if isinstance(block.get("tool", {}), dict) else {}
    if stated and inline:
        raise Invalid("{name} has a manifest in {one} and in {other}; keep one", name=name, one=FILE, other=entry)
    if not isinstance(inline, dict):
        raise Invalid("{file} (# /// script): tool.pumasi is a table, not {value}", file=entry, value=repr(inline)[:80])
    values = {**stated, **inline}
    for field, key in (("dependencies", "dependencies"), ("requires_python", "requires-python")):
        if key in block:
            values.setdefault(field, block[key])
    return _manifest(values, name)


def folder_entry(files: dict[str, bytes], name: str) -> str | None:
    """The file that says what a folder runs: the manifest where it names a command, else the Python file to run.

    That is the one it names, else main.py, NAME.py or __main__.py, in this order; None when there is none.

    Raises:
        Invalid: the manifest is not valid.
    """
    read_manifest(files, name)
    entry: str | None = _entry(_toml(files, name), files, name)
    return entry


def _entry(stated: dict[str, Any], files: dict[str, bytes], name: str) -> Any:
    """As `folder_entry`, of a manifest that was not looked at yet."""
    if "command" in stated:
        return FILE
    usual = ("main.py", f"{name}.py", "__main__.py")
    return stated.get("entry_point") or next((file for file in usual if file in files), None)


def _toml(files: dict[str, bytes], name: str) -> dict[str, Any]:
    if FILE not in files:
        return {}
    try:
        text = files[FILE].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid("{what} is not UTF-8", what=f"{name}/{FILE}") from None
    return parse_toml(text, f"{name}/{FILE}")


def _block(files: dict[str, bytes], entry: str) -> dict[str, Any]:
    if entry == FILE or b"# /// script" not in files[entry]:
        return {}
    return read_block(decode(files[entry], entry), entry)


def _manifest(values: dict[str, Any], name: str) -> Manifest:
    if isinstance(values.get("retry"), int) and not isinstance(values["retry"], bool):
        values = {**values, "retry": {"max_attempts": values["retry"] + 1}}  # so many more tries, as in a request
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        fields = problems(error, tuple(Manifest.model_fields))
        text = "; ".join(f"{field}: {what}" if field else what for field, what in fields.items())
        raise Invalid(
            "the manifest of {name} is not valid: {problems}", name=name, problems=text, fields=fields
        ) from None
