"""The collections, as one event loop of one process uses them, and what is known of them there."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from bson.codec_options import CodecOptions, DatetimeConversion
from msgspec import Struct
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from pumasi.broker.mongodb.board import SCHEMA, Board, Document
from pumasi.broker.mongodb.schema import CLASSIC, INDEXES
from pumasi.broker.mongodb.times import Clock

Collection = AsyncCollection[Document]

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

#: what others have stored is read whatever it is
_FOREIGN: CodecOptions[Document] = CodecOptions(
    tz_aware=True, unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
#: what others may have called the indexes of their collection: IndexOptionsConflict, IndexKeySpecsConflict
_INDEXED = frozenset({85, 86})
#: things of one kind that are remembered
MOST_KNOWN = 1000


class Quiet(Struct, frozen=True):
    """That there was nothing to be claimed."""

    #: the board, as it was then
    version: tuple[int, int]
    #: when something falls due
    next_at: float | None
    #: when that was seen, by this host's steady clock
    at: float


class Database:
    """The collections of one broker. What was written is on a majority of the servers, and in their journals."""

    def __init__(
        self, client: AsyncMongoClient[Document], name: str, classic: str, clock: Clock, *, replicated: bool
    ) -> None:
        self.client = client
        self.clock = clock
        #: whether it is a replica set, or a cluster of them; a standalone server knows no majority
        self.replicated = replicated
        self.all: AsyncDatabase[Document] = client.get_database(
            name,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority", j=True),
            read_concern=ReadConcern("majority" if replicated else None),
        )
        self.jobs = self.all["pumasi_jobs"]
        self.lanes = self.all["pumasi_lanes"]
        self.gates = self.all["pumasi_gates"]
        self.keys = self.all["pumasi_keys"]
        self.batches = self.all["pumasi_batches"]
        self.workers = self.all["pumasi_workers"]
        self.logs = self.all["pumasi_logs"]
        self.blobs = self.all["pumasi_blobs"]
        self.chunks = self.all["pumasi_chunks"]
        self.bell = self.all["pumasi_bell"]
        #: the documents of other programs
        self.classic = self.all.get_collection(classic, codec_options=_FOREIGN)
        self.board = Board(self.all["pumasi_board"], clock)
        #: by lane, when this process last touched it, and for which due time (`lanes`)
        self.touched: dict[str, tuple[float, float]] = {}
        #: by queue, how many waited, and at which change (`room`)
        self.counted: dict[str, tuple[int, int]] = {}
        #: what is known of claims that found nothing (`claims`)
        self.quiet: dict[tuple[tuple[str, ...], int], Quiet] = {}
        self.clean: dict[str, str] = {}
        #: by worker, its process (`inlet`)
        self.pids: dict[str, int] = {}
        #: when documents of other programs were looked after, by this host's steady clock (`mending`)
        self.mended = float("-inf")

    async def prepare(self) -> None:
        """Make what is missing: indexes, the board."""
        for index in CLASSIC:
            try:
                await self.classic.create_indexes([index])
            except OperationFailure as error:
                if error.code not in _INDEXED:
                    raise
        if await self.board.schema() >= SCHEMA:
            return
        for name, indexes in INDEXES.items():
            await self.all[name].create_indexes(list(indexes))
        await self.bell.update_one({"_id": "bell"}, {"$setOnInsert": {"n": 0, "rings": []}}, upsert=True)
        await self.board.create()

    @staticmethod
    def remember(known: dict[K, V], key: K, value: V) -> None:
        """Note what saves a look the next time; a bounded number of such things."""
        if len(known) >= MOST_KNOWN:
            known.clear()
        known[key] = value

    async def count(self, query: dict[str, Any]) -> int:
        """How many jobs match, told from an index."""
        return int((await self.all.command({"count": self.jobs.name, "query": query}))["n"])

    async def close(self) -> None:
        """Let go."""
        await self.board.close()
        await self.client.close()


def among(values: Sequence[str]) -> Document:
    """The condition that a field has one of these values."""
    return {"$eq": values[0]} if len(values) == 1 else {"$in": list(values)}


def some_of(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """The items, some at a time."""
    return (items[at : at + size] for at in range(0, len(items), size))
