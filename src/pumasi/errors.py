"""All errors of Pumasi.

    Error
    ├─ Invalid          the caller's fault; the message says what to change
    │  ├─ BadFields     … in fields of a request, all of them named at once
    │  └─ BadSetting    … in a setting
    ├─ Denied           no token, or a wrong one
    ├─ NotFound         JobNotFound, ScriptNotFound, ArtifactNotFound
    ├─ Conflict         the same key was used with another request
    ├─ QueueFull        try again after `retry_after` seconds
    ├─ LeaseLost        somebody else owns the job now: stop, discard, claim anew
    ├─ Unavailable      a service did not answer; safe to try again
    ├─ FetchFault       a script could not be fetched; ours, not the script's
    ├─ SandboxFault     our cage failed, not the script
    ├─ JobFailed        the job asked for ended without a result; `job` is its record
    └─ WaitTimeout      nobody ended the job in the time given; it goes on, `job_id` names it

An error is a message id and its details. It is put into words when it is shown, so an error that crossed the wire reads
in the reader's language. A class's first docstring line is its default message. Nothing here may carry a secret.
"""

from typing import Any, ClassVar

from pumasi.locale import render


class Error(Exception):
    """Something went wrong inside Pumasi."""

    names: ClassVar[dict[str, type["Error"]]] = {}

    def __init_subclass__(cls) -> None:
        Error.names[cls.__name__] = cls

    def __init__(self, text: str | None = None, /, **details: Any) -> None:
        self.text = text or (type(self).__doc__ or "").splitlines()[0]
        self.details = details
        super().__init__(self.text)

    def __str__(self) -> str:
        return self.in_words()

    def in_words(self, lang: str | None = None) -> str:
        """The message in `lang`, or in the language of this process."""
        return render(self.text, self.details, lang=lang)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self).__name__, self.text, self.details))

    def to_wire(self, lang: str | None = None) -> dict[str, Any]:
        """`{error: class name, message, text, details}`: what any transport carries; `message` is for people."""
        words = self.in_words(lang)
        return {"error": type(self).__name__, "message": words, "text": self.text, "details": self.details}

    @staticmethod
    def from_wire(body: dict[str, Any]) -> "Error":
        """The same error, of the same class, as was raised on the other side."""
        return _rebuild(str(body.get("error")), body.get("text") or str(body.get("message")), body.get("details") or {})


class Invalid(Error):
    """The request cannot be carried out as it stands."""


class BadFields(Invalid):
    """The request cannot be carried out as it stands: {problems}"""

    @property
    def fields(self) -> list[dict[str, Any]]:
        """What is wrong: `field` (a JSON pointer), and the `text` and `details` of a message."""
        return list(self.details["fields"])

    def in_words(self, lang: str | None = None) -> str:
        problems = [f"{bad['field']} {render(bad['text'], bad['details'], lang=lang)}" for bad in self.fields]
        return render(self.text, {"problems": "; ".join(problems)}, lang=lang)

    def to_wire(self, lang: str | None = None) -> dict[str, Any]:
        fields = [bad | {"message": render(bad["text"], bad["details"], lang=lang)} for bad in self.fields]
        return super().to_wire(lang) | {"details": {"fields": fields}}


class BadSetting(Invalid):
    """A setting has a value that cannot be used."""


class Denied(Error):
    """This needs a valid token: pass it as `Authorization: Bearer …`, or set PUMASI_TOKEN."""


class NotFound(Error):
    """There is no such thing."""


class JobNotFound(NotFound):
    """There is no job {id!r}; `pumasi jobs` lists those that are kept."""


class ScriptNotFound(NotFound):
    """There is no script {name!r}."""


class ArtifactNotFound(NotFound):
    """Job {id!r} has no artifact {name!r}."""


class Conflict(Error):
    """The key {key!r} already belongs to another request (job {id}); use another key, or send the same request."""


class QueueFull(Error):
    """Queue {queue!r} is full ({limit} jobs wait); try again in {retry_after} s."""

    @property
    def retry_after(self) -> float:
        """Seconds after which another try makes sense."""
        return float(self.details.get("retry_after", 1))


class LeaseLost(Error):
    """The lease of job {id!r} now belongs to another worker; this run's result is discarded."""


class Unavailable(Error):
    """A service did not answer; trying again is safe."""


class FetchFault(Error):
    """Script {name!r} could not be fetched."""


class SandboxFault(Error):
    """The sandbox failed, not the script."""


class JobFailed(Error):
    """Job {id} ended as {state} ({cause}): {error}"""

    @property
    def job(self) -> Any:
        """The record of the job, with its cause, peaks and last log lines."""
        return self.details.get("job")


class WaitTimeout(Error, TimeoutError):
    """Job {id} has not ended within {timeout} s; it goes on, and its result can be asked for later."""

    @property
    def job_id(self) -> str:
        """The id under which the job goes on."""
        return str(self.details["id"])


def _rebuild(name: str, text: str, details: dict[str, Any]) -> Error:
    return Error.names.get(name, Error)(text, **details)
