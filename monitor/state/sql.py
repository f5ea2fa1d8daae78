"""A state store over SQLAlchemy Core, for any database that it speaks; see :mod:`monitor.state.postgres`.

SQLAlchemy's blocking calls run in a few threads, as many as there are connections. Its asyncio face would need
greenlet, a C extension that switches stacks, to save threads of which there are four.

A call that fails before its commit changed nothing, so it is repeated when that can help: on a connection that went
stale while it lay in the pool, and after a deadlock or a serialization failure. A commit whose answer was lost is
*not* repeated: StorageError says that the outcome is not known. Callers then read again. A change with conditions may
simply be tried again: when it was stored after all, its own conditions refuse it.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Executable, bindparam, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from monitor.core.errors import StorageError, UnavailableError
from monitor.core.types import JSON, Change, Expect
from monitor.state.documents import Place, conditions_of, document, effect_of, page_size, place, require
from monitor.state.schema import documents

T = TypeVar("T")

ATTEMPTS = 5
_PAUSE_SECONDS = 0.05
_GIVEN_AT_ONCE = 500


class Server(Protocol):
    """What differs between databases."""

    name: str
    """What messages call the database."""
    engine: Engine
    connections: int
    """Most connections at a time."""
    deadline: float
    """Seconds after which a call that still hangs is cut off."""

    def enter(self, connection: Connection, *, given: Sequence[Place], changed: Sequence[Place]) -> None:
        """Begins a transaction: until it ends nobody else changes what is given, or touches what is changed."""

    def failure(self, error: DBAPIError, *, unknown: bool) -> StorageError:
        """The error for people. ``unknown``: a commit was asked for and its answer did not come."""

    def passing(self, error: DBAPIError) -> bool:
        """Whether a second try may go well."""

    def cut(self, driver_connection: Any) -> None:
        """Makes a blocking call on the connection, in another thread, end with an error. Raises nothing."""


class _Flight:
    """One call on its way through a thread: which connection it uses, and whether its time is over."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._connection: Any = None
        self.late = False

    @contextmanager
    def over(self, connection: Connection) -> Iterator[None]:
        with self._lock:
            if self.late:
                raise UnavailableError(f"The {self._server.name} took too long to be reached; nothing was changed.")
            self._connection = connection.connection.driver_connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def cut(self) -> None:
        with self._lock:
            self.late = True
            if self._connection is not None:
                self._server.cut(self._connection)


class SqlState:
    """A :class:`~monitor.core.ports.StateStore` in the table ``documents`` of a database server."""

    def __init__(self, server: Server) -> None:
        """The tables must be there; :meth:`PostgresState.open` sees to it."""
        self._server = server
        self._upsert = _UPSERTS[server.engine.dialect.name]
        self._threads = ThreadPoolExecutor(server.connections, thread_name_prefix="state")
        self._slots = asyncio.Semaphore(server.connections)
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._server.name}>"

    async def get(self, kind: str, key: str) -> Mapping[str, JSON] | None:
        """One document, or None."""
        kind, key = place(kind, key)
        query = select(documents.c.value).where(documents.c.kind == kind, documents.c.key == key)
        text = await self._run(lambda connection: connection.execute(query).scalar())
        return None if text is None else document(text)

    async def list(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[tuple[str, Mapping[str, JSON]]]:
        """Documents of a kind in the order of their keys (by code point), those with a key greater than ``after``;
        at most 10,000 at a time."""
        kind, after = place(kind, after)
        query = (
            select(documents.c.key, documents.c.value)
            .where(documents.c.kind == kind, documents.c.key > after)
            .order_by(documents.c.key)
            .limit(page_size(limit))
        )
        return await self._run(lambda connection: [(row.key, document(row.value)) for row in connection.execute(query)])

    async def kinds(self) -> Sequence[str]:
        """The kinds of which there are documents, in order."""
        query = select(documents.c.kind).distinct().order_by(documents.c.kind)
        return await self._run(lambda connection: list(connection.execute(query).scalars()))

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        """All changes or none, in their order, durable on return. Raises CodecError when a value is no JSON,
        ConflictError when something of ``given`` is not so; then nothing is changed. After another StorageError
        nothing is changed either, unless its message says that the outcome is not known."""
        conditions = conditions_of(given)
        effect = effect_of(changes)

        def work(connection: Connection) -> None:
            found = _values(connection, [at for at, _ in conditions])
            for at, wanted in conditions:
                require(at, wanted, found.get(at))
            self._write(connection, effect)

        if conditions or effect:
            await self._run(work, given=[at for at, _ in conditions], changed=list(effect), writes=True)
        else:
            self._require_open()

    def _write(self, connection: Connection, effect: Mapping[Place, str | None]) -> None:
        put = [{"kind": at[0], "key": at[1], "value": value} for at, value in effect.items() if value is not None]
        gone = [{"_kind": at[0], "_key": at[1]} for at, value in effect.items() if value is None]
        if put:
            connection.execute(self._upsert, put)
        if gone:
            connection.execute(
                delete(documents).where(documents.c.kind == bindparam("_kind"), documents.c.key == bindparam("_key")),
                gone,
            )

    async def close(self) -> None:
        """Finishes what runs and releases everything; further calls raise StorageError."""
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.create_task(self._end())
        await asyncio.shield(self._closing)

    async def _end(self) -> None:
        for _ in range(self._server.connections):
            await self._slots.acquire()
        await asyncio.to_thread(self._server.engine.dispose)
        self._threads.shutdown()
        for _ in range(self._server.connections):
            self._slots.release()

    def _require_open(self) -> None:
        if self._closed:
            raise StorageError(f"The {self._server.name} was closed already.")

    async def _run(
        self,
        work: Callable[[Connection], T],
        *,
        given: Sequence[Place] = (),
        changed: Sequence[Place] = (),
        writes: bool = False,
    ) -> T:
        """Runs ``work`` in a transaction in a thread. A caller that is cancelled does not know whether it was done;
        what goes on in the thread is cut off, so that it does not happen much later."""
        self._require_open()
        await self._slots.acquire()
        flight = _Flight(self._server)
        try:
            self._require_open()
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._threads, self._perform, work, flight, given, changed, writes)
        except BaseException:
            self._slots.release()
            raise
        timer = loop.call_later(self._server.deadline, flight.cut)

        def landed(done: asyncio.Future[T]) -> None:
            timer.cancel()
            self._slots.release()
            if not done.cancelled():
                done.exception()  # a caller that was cancelled does not ask for it

        future.add_done_callback(landed)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            flight.cut()
            raise

    def _perform(
        self,
        work: Callable[[Connection], T],
        flight: _Flight,
        given: Sequence[Place],
        changed: Sequence[Place],
        writes: bool,
    ) -> T:
        attempt = 0
        while True:
            attempt += 1
            committing = False
            try:
                with self._server.engine.connect() as connection, flight.over(connection):
                    self._server.enter(connection, given=given, changed=changed)
                    result = work(connection)
                    committing = True
                    connection.commit()
                    return result
            except DBAPIError as error:
                unknown = writes and committing and error.connection_invalidated
                if unknown or flight.late or attempt == ATTEMPTS or not self._server.passing(error):
                    raise self._server.failure(error, unknown=unknown) from error
            time.sleep(random.uniform(0, _PAUSE_SECONDS * 2**attempt))


def _upserts() -> dict[str, Executable]:
    """How each database replaces a row: the same words, but SQLAlchemy has them once for each."""
    place_of = [documents.c.kind, documents.c.key]
    on_postgres, on_sqlite = postgresql.insert(documents), sqlite.insert(documents)
    return {
        "postgresql": on_postgres.on_conflict_do_update(
            index_elements=place_of, set_={"value": on_postgres.excluded.value}
        ),
        "sqlite": on_sqlite.on_conflict_do_update(index_elements=place_of, set_={"value": on_sqlite.excluded.value}),
    }


_UPSERTS = _upserts()


def _values(connection: Connection, places: Sequence[Place]) -> dict[Place, str]:
    """The JSON at those of the places where there is any."""
    found: dict[Place, str] = {}
    for start in range(0, len(places), _GIVEN_AT_ONCE):
        query = select(documents).where(
            tuple_(documents.c.kind, documents.c.key).in_(places[start : start + _GIVEN_AT_ONCE])
        )
        found |= {(row.kind, row.key): row.value for row in connection.execute(query)}
    return found
