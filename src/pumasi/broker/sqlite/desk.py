"""The thread that owns the connection: it takes closures in, runs all that wait in one transaction, and answers them.

Many callers share one BEGIN … COMMIT, and so one write to the disk (group commit). Each has a savepoint of its own: one
that fails harms no other. A batch that only reads takes no lock. With nothing to do the thread blocks on its queue.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import apsw

from pumasi.broker.sqlite.database import Database
from pumasi.broker.sqlite.gate import BROKEN, translated
from pumasi.errors import Unavailable

#: orders that share a transaction at most: others should get their turn
BATCH = 256

T = TypeVar("T")


class _Order:
    """Something to do, who asked for it, and the answer. Without `step` it closes the desk."""

    __slots__ = ("error", "future", "loop", "result", "step", "write")

    def __init__(self, step: Callable[[Database], Any] | None, write: bool) -> None:
        self.step = step
        self.write = write
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class Desk:
    """Where closures over the database are handed in, from any thread and event loop of the process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._database: Database | None = None

    async def open(self) -> None:
        """Start the thread and open the file; nothing when it is open. Raises: Invalid, Unavailable."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="pumasi-sqlite", daemon=True)
                self._thread.start()
        try:
            await self.ask(lambda _: None, write=False)
        except Exception:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was handed in, close the file and end the thread; safe to repeat."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            order = _Order(None, write=False)
            self._orders.put(order)
        await order.future
        thread.join()

    async def ask(self, step: Callable[[Database], T], *, write: bool = True) -> T:
        """What `step` returns or raises, once what it wrote is durable. Raises: Unavailable."""
        order = _Order(step, write)
        with self._lock:
            if self._thread is None:
                raise Unavailable("the broker at {path} is not open", path=self._path)
            self._orders.put(order)
        result: T = await order.future
        return result

    # -- in the thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        closing: _Order | None = None
        while closing is None:
            batch, closing = self._next_batch()
            if batch:
                self._carry_out(batch)
                _answer(batch)
        self._disconnect()
        _answer([closing])

    def _next_batch(self) -> tuple[list[_Order], _Order | None]:
        """All that wait, at least one; and the order to close, when it is among them."""
        batch: list[_Order] = []
        order = self._orders.get()
        while True:
            if order.step is None:
                return batch, order
            if not order.future.cancelled():
                batch.append(order)
            if len(batch) >= BATCH:
                return batch, None
            try:
                order = self._orders.get_nowait()
            except Empty:
                return batch, None

    def _carry_out(self, batch: list[_Order]) -> None:
        try:
            database = self._connected()
            self._transact(database, batch)
        except BaseException as error:
            self._roll_back()
            for order in batch:
                order.error = translated(error, self._path, running=self._database is not None)
            if isinstance(error, BROKEN):
                self._disconnect()

    def _transact(self, database: Database, batch: list[_Order]) -> None:
        execute = database.connection.execute
        execute("BEGIN IMMEDIATE" if any(order.write for order in batch) else "BEGIN")
        for order in batch:
            if len(batch) == 1 or not order.write:
                self._try(database, order, None)
            else:
                execute("SAVEPOINT one")
                self._try(database, order, "ROLLBACK TO one")
                execute("RELEASE one")
        execute("COMMIT" if len(batch) > 1 or batch[0].error is None else "ROLLBACK")

    def _try(self, database: Database, order: _Order, undo: str | None) -> None:
        """Carry out one order; what it did before it failed is undone."""
        try:
            order.result = order.step(database) if order.step else None
        except Exception as error:
            if isinstance(error, BROKEN) or not database.connection.in_transaction:
                raise  # SQLite has given up the whole transaction
            order.error = translated(error, self._path, running=True)
            if undo:
                database.connection.execute(undo)

    def _connected(self) -> Database:
        if self._database is not None and self._database.moved():
            self._disconnect()
            raise Unavailable("{path} was moved or removed while in use; put it back, or try again", path=self._path)
        if self._database is None:
            self._database = Database(self._path)
        return self._database

    def _roll_back(self) -> None:
        if self._database is None or not self._database.connection.in_transaction:
            return
        try:
            self._database.connection.execute("ROLLBACK")
        except apsw.Error:  # closing rolls back too
            self._disconnect()

    def _disconnect(self) -> None:
        if self._database is not None:
            with contextlib.suppress(apsw.Error):  # the file is as durable as its last commit
                self._database.close()
        self._database = None


def _answer(batch: list[_Order]) -> None:
    """Hand the answers to their event loops, one call a loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Order]] = {}
    for order in batch:
        by_loop.setdefault(order.loop, []).append(order)
    for loop, orders in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for the answer
            loop.call_soon_threadsafe(_deliver, orders)


def _deliver(orders: list[_Order]) -> None:
    for order in orders:
        if order.future.done():
            continue
        if order.error is not None:
            order.future.set_exception(order.error)
        else:
            order.future.set_result(order.result)
