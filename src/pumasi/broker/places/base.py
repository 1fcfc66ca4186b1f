"""What a place outside the store must be able to do: a handful of blocking calls, made from threads.

A place keeps bytes under keys and knows nothing of jobs. It raises `Unavailable` for what may pass, `Invalid` for what
will not; no error of the system or a driver leaves it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from msgspec import Struct

from pumasi.errors import Error, Invalid, Unavailable

#: seconds that a place may be silent
DEADLINE = 10.0
#: things that one step of a listing gives
STEP = 1000


class Item(Struct, frozen=True):
    """A thing that lies there: its size in bytes, and the Unix time, by the place's clock, of its last writing."""

    key: str
    size: int
    at: float


class Found(Struct, frozen=True):
    """A thing that was found: how large it is, and how to read it; None when it went away in between."""

    size: int
    read: Callable[[], bytes | None]


class Place(ABC):
    """A folder, a bucket: bytes under keys. The last put under a key stands; a reader sees one version whole."""

    #: the URL it was made from, without secrets: for people
    name: str
    #: whether it has worked once: what refuses us from then on may be put right, and is waited for
    proven = False

    @abstractmethod
    def check(self) -> None:
        """See that it can be used. Raises: Unavailable, Invalid."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Keep bytes, durably, in place of what was there."""

    @abstractmethod
    def find(self, key: str) -> Found | None:
        """What lies under a key."""

    @abstractmethod
    def items(self, prefix: str) -> Iterator[list[Item]]:
        """What lies under keys that begin with `prefix`, some at a time, in no order. What writers
        that died have left there goes."""

    @abstractmethod
    def delete(self, item: Item) -> None:
        """Remove a thing, unless it was written anew since it was listed."""

    def refusal(self, error: Invalid) -> Error:
        """What a refusal is: at first a setting to correct, later something to wait for."""
        return Unavailable(error.text, **error.details) if self.proven else error
