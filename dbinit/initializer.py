"""The one place that knows the order: connect, look, lock, look again, run, record."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio
import asyncpg

from . import history
from .connect import Attempt, connect_arguments, connected, translate
from .durations import format_duration
from .errors import ConnectionLostError, FileChangedError, SchemaMissingError
from .executor import run_statements
from .failure import is_connection_loss, statement_error
from .history import Entry
from .lock import lock_key, locked_transaction, read_only_transaction
from .model import Applied, OnChange, Outcome, Report, Script, Statement
from .planning import Decision, decide
from .readiness import Phase, Readiness, advance
from .settings import InitOptions
from .source import read_script
from .sql.script import read_statements
from .sql.text import SourceText
from .url import DatabaseUrl

__all__ = ["Initializer"]

logger = logging.getLogger("dbinit")


class _Done(NamedTuple):
    outcome: Outcome
    script: Script
    statements: int = 0


_VERIFY_EVERY = 1.0
_POOL_RELEASE_LIMIT = 3.0


class Initializer:
    """Brings the schema into being: once, however many start at the same time.

    Use it as an async context manager, which initializes on entering and closes on leaving, or call
    `initialize()` and `close()` yourself. Constructing it does no input or output.

    Args:
        options: What to do, and where.
        observer: Called with a new `Readiness` at every step, from the event loop; it must not block.
    """

    def __init__(self, options: InitOptions, *, observer: Callable[[Readiness], None] | None = None) -> None:
        self.options = options
        self._observer = observer
        self._readiness = Readiness(attempts=options.retry_attempts, file=str(options.migrations_path))
        self._began: float | None = None
        self._running = asyncio.Lock()
        self._resources = AsyncExitStack()
        self._url: DatabaseUrl | None = None

    @property
    def readiness(self) -> Readiness:
        """A snapshot of how far the start has come."""
        if self._began is None:
            return self._readiness
        return replace(self._readiness, elapsed=time.monotonic() - self._began)

    async def initialize(self) -> Report:
        """Bring the schema into being, or find that it is there.

        Raises:
            DbInitError: It did not work; nothing of the file was applied.
        """
        return await self._run(self._initialize)

    async def verify(self) -> Report:
        """Apply nothing; wait until the schema is there, for `connect_deadline` plus `lock_wait` at most.

        Raises:
            SchemaMissingError: It did not appear in time.
            DbInitError: The database was not reached, or the file not read.
        """
        return await self._run(self._verify)

    async def status(self) -> tuple[Decision, list[Applied]]:
        """Return what `initialize()` would decide now, and the history; change nothing.

        Raises:
            DbInitError: The database was not reached, or the file not read.
        """
        script = read_script(Path(self.options.migrations_path))
        async with self._connected() as connection, read_only_transaction(connection):
            decision, rows = await self._look(connection, script)
        return decision, rows or []

    async def wait(self) -> None:
        """Wait until the database takes connections, as patiently as the options say.

        Raises:
            ConnectError: It was not reached in time.
        """
        async with self._connected():
            pass

    @asynccontextmanager
    async def pool(self, **arguments: Any) -> AsyncIterator[asyncpg.Pool]:
        """Open a pool of connections to the same database.

        Args:
            **arguments: Handed to `asyncpg.create_pool`; `min_size` is 0 unless given.

        Raises:
            ConnectError: The server of an `embedded:` URL could not be started.
        """
        url = await self._resolve()
        known = connect_arguments(url)
        settings = {**url.session, **arguments.pop("server_settings", {})}
        pool = await asyncpg.create_pool(**{**known, "server_settings": settings, "min_size": 0, **arguments})
        try:
            yield pool
        finally:
            with anyio.move_on_after(_POOL_RELEASE_LIMIT, shield=True) as scope:
                await pool.close()
            if scope.cancelled_caught:
                pool.terminate()

    async def ping(self, limit: float) -> None:
        """Ask the database for a sign of life on a connection of its own.

        Args:
            limit: Seconds for the whole of it.

        Raises:
            ConnectError: There was none in time.
        """
        url = await self._resolve()
        connection: asyncpg.Connection | None = None
        try:
            async with asyncio.timeout(limit):
                connection = await asyncpg.connect(**connect_arguments(url))
                await connection.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise translate(error, url) from None
        finally:
            if connection is not None:
                connection.terminate()

    async def close(self) -> None:
        """Release what is held; an embedded server stops with its last user. Safe to call more than once."""
        if self._readiness.phase is not Phase.CLOSED:
            self._step(Phase.CLOSED)
        await self._resources.aclose()

    async def __aenter__(self) -> Self:
        try:
            await self.initialize()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, work: Callable[[], Awaitable[_Done]]) -> Report:
        async with self._running:
            self._began = began = time.monotonic()
            try:
                done = await work()
            except Exception as error:
                self._end(Phase.FAILED, error=type(error).__name__)
                raise
            self._end(Phase.READY)
            script = done.script
            return Report(done.outcome, script.path, script.checksum, done.statements, time.monotonic() - began)

    async def _initialize(self) -> _Done:
        logger.info("Initializing database...")
        script = read_script(Path(self.options.migrations_path))
        async with self._connected() as connection:
            self._step(Phase.CHECKING)
            rows = await history.read(connection, self.options.history_schema)
            # Without a history the catalog has to be asked as well, and something is left to do: under the lock.
            if rows and (outcome := self._settle(self._decide(script, rows), script)):
                return _Done(outcome, script)
            return await self._apply(connection, script)

    async def _apply(self, connection: asyncpg.Connection, script: Script) -> _Done:
        """Decide again under the lock, and do what is left to do."""
        source = SourceText(script.path, script.text)
        statements = read_statements(source)
        schema = self.options.history_schema
        try:
            async with locked_transaction(connection, lock_key(schema), self.options.lock_wait, self._on_wait):
                decision, rows = await self._look(connection, script)
                if outcome := self._settle(decision, script):
                    return _Done(outcome, script)
                if decision is Decision.RERUN:
                    logger.info("%s was edited since it was applied; running it again", script.path)
                if rows is None:
                    await history.create(connection, schema)
                outcome, count, seconds = Outcome.ADOPTED, 0, 0.0
                if decision is not Decision.ADOPT:
                    outcome, count = Outcome.APPLIED, len(statements)
                    seconds = await self._execute(connection, source, statements)
                await history.record(
                    connection,
                    schema,
                    Entry(script.name, script.checksum, outcome, statements=count, seconds=seconds),
                )
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            raise statement_error(error, title="PostgreSQL refused what dbinit does for its history:") from None
        self._log_end(outcome, script, count, seconds)
        return _Done(outcome, script, count)

    async def _execute(self, connection: asyncpg.Connection, source: SourceText, statements: list[Statement]) -> float:
        """Run the statements; return the seconds it took."""
        total = len(statements)
        logger.info("Running %s (%d statements)...", source.path, total)
        self._step(Phase.APPLYING, statements=total)
        began = time.monotonic()
        await run_statements(
            connection, source, statements, lambda number: self._step(Phase.APPLYING, statement=number)
        )
        return time.monotonic() - began

    async def _verify(self) -> _Done:
        script = read_script(Path(self.options.migrations_path))
        deadline = time.monotonic() + self.options.lock_wait.total_seconds()
        while True:
            try:
                async with self._connected() as connection:
                    return await self._watch(connection, script, deadline)
            except ConnectionLostError as error:
                logger.warning("%s; connecting again", error.message)

    async def _watch(self, connection: asyncpg.Connection, script: Script, deadline: float) -> _Done:
        """Look at the history until it says that the file was applied."""
        self._step(Phase.CHECKING)
        while True:
            async with read_only_transaction(connection):
                decision, _ = await self._look(connection, script)
            if decision is Decision.ADOPT:
                decision = Decision.SKIP
            if outcome := self._settle(decision, script):
                return _Done(outcome, script)
            if self.readiness.phase is not Phase.WAITING:
                logger.info("The schema is not there yet; waiting for it (mode verify applies nothing)")
                self._step(Phase.WAITING)
            if time.monotonic() >= deadline:
                raise SchemaMissingError(
                    f"the history does not say that {script.path} was applied, and mode verify applies nothing",
                    advice="run `python -m dbinit` with a role that may create the schema",
                )
            await anyio.sleep(_VERIFY_EVERY)

    async def _look(self, connection: asyncpg.Connection, script: Script) -> tuple[Decision, list[Applied] | None]:
        """Decide from inside a transaction, where a query for a missing table would spoil everything."""
        schema, sentinel = self.options.history_schema, self.options.sentinel
        rows = None
        if await history.has_table(connection, f"{schema}.{history.TABLE}"):
            rows = await history.read(connection, schema)
        found = bool(not rows and sentinel) and await history.has_table(connection, sentinel)
        return self._decide(script, rows or [], sentinel_found=found), rows

    def _decide(self, script: Script, rows: list[Applied], *, sentinel_found: bool = False) -> Decision:
        return decide(
            script.name,
            script.checksum,
            rows,
            sentinel_found=sentinel_found,
            on_change=OnChange(self.options.on_change),
        )

    def _settle(self, decision: Decision, script: Script) -> Outcome | None:
        """Return the outcome where nothing is left to do.

        Raises:
            FileChangedError: The file was edited, and that is not wanted.
        """
        if decision is Decision.SKIP:
            logger.info("Database already initialized, skipping migration")
            return Outcome.CURRENT
        if decision is Decision.WARN:
            logger.warning("%s was edited since it was applied; it is not run again (on_change=warn)", script.path)
            return Outcome.CHANGED
        if decision is Decision.REFUSE:
            raise FileChangedError(
                f"{script.path} was edited since it was applied (its checksum is now {script.checksum[:12]})",
                advice="restore the file, or set DBINIT_ON_CHANGE to rerun (the file is idempotent) or warn",
                outcome="Nothing was applied.",
            )
        return None

    async def _resolve(self) -> DatabaseUrl:
        """Return where to connect to; an embedded server is started on first use and kept until `close()`."""
        url = self._url or self.options.url
        if url.embedded is not None:
            from .embedded import embedded_server  # noqa: PLC0415 - an extra, and not needed on the usual way

            url = await self._resources.enter_async_context(embedded_server(Path(url.embedded)))
        self._url = url
        return url

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        url = await self._resolve()
        async with connected(url, self.options, self._on_attempt) as connection:
            logger.info("Successfully connected to database")
            yield connection

    def _on_attempt(self, attempt: Attempt) -> None:
        self._step(Phase.CONNECTING, attempt=attempt.number)
        number = f"{attempt.number}/{attempt.of}" if attempt.of else f"{attempt.number}"
        if not attempt.failure:
            logger.info("Attempting to connect to database (attempt %s)...", number)
            return
        pause = format_duration(attempt.pause)
        logger.warning("Attempt %s failed: %s; the next one in %s at most", number, attempt.failure, pause)

    def _on_wait(self) -> None:
        logger.info("Another starter holds the migration lock; waiting for it to finish...")
        self._step(Phase.WAITING)

    def _log_end(self, outcome: Outcome, script: Script, statements: int, seconds: float) -> None:
        if outcome is Outcome.ADOPTED:
            logger.info("Database already initialized, skipping migration")
            logger.info(
                "Table %s was there without a history: recorded %s as applied",
                self.options.sentinel,
                script.path,
            )
        else:
            logger.info("Applied %s: %d statements in %s", script.path, statements, format_duration(seconds))

    def _step(self, phase: Phase, **changes: Any) -> None:
        self._readiness = advance(self._readiness, phase, **changes)
        if self._observer is not None:
            self._observer(self.readiness)

    def _end(self, phase: Phase, **changes: Any) -> None:
        elapsed = self.readiness.elapsed
        self._began = None
        self._step(phase, elapsed=elapsed, **changes)
