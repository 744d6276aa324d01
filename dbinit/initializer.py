"""The one place that knows the order: connect, look, lock, look again, run, record."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from . import history
from .access import Access
from .connector import Connector
from .lookup import decide_by, look, settle, watch
from .model import Applied, Outcome, Report, Script
from .opening import takes_long
from .planning import Decision
from .readiness import Phase, Readiness, Step, advance, unheard
from .runner.surroundings import Connect, Surroundings
from .settings import InitOptions
from .source import read_script
from .threads import in_thread
from .transaction import read_only_transaction

if TYPE_CHECKING:
    from .application import Application
    from .migrations.preparation import Task
    from .migrations.request import Request
    from .runner.hooks import Hooks
    from .runner.work import FolderWork, Standings

__all__ = ["Initializer"]

logger = logging.getLogger("dbinit")


class Initializer:
    """Brings the schema into being: once, however many start at the same time.

    Use it as an async context manager, which initializes on entering and closes on leaving, or call
    `initialize()` and `close()` yourself. Constructing it does no input or output.

    Args:
        options: What to do, and where.
        observer: Called with a new `Readiness` at every step, from the event loop; it must not block.
        hooks: What to run with the migrations of a folder. Default: nothing but the hooks in the folder itself.
    """

    def __init__(
        self,
        options: InitOptions,
        *,
        observer: Callable[[Readiness], None] | None = None,
        hooks: "Hooks | None" = None,
    ) -> None:
        self.options = options
        self._observer = observer
        self._hooks = hooks
        self._readiness = Readiness(attempts=options.retry_attempts, file=str(options.migrations_path))
        self._began: float | None = None
        self._running = asyncio.Lock()
        self._access = Access()

    @property
    def readiness(self) -> Readiness:
        """A snapshot of how far the start has come."""
        if self._began is None:
            return self._readiness
        return replace(self._readiness, elapsed=time.monotonic() - self._began)

    @property
    def is_folder(self) -> bool:
        """Whether the path is a folder of migrations."""
        return os.path.isdir(self.options.migrations_path)  # noqa: PTH112 - Path's own may raise

    async def initialize(self) -> Report:
        """Bring the schema into being, or find that it is there.

        Raises:
            DbInitError: It did not work; the error says what was applied.
        """
        logger.info("Initializing database...")
        return await self._run(self._initialize)

    async def verify(self) -> Report:
        """Apply nothing; wait until the schema is there, for `connect_deadline` plus `lock_wait` at most.

        Raises:
            SchemaMissingError: It did not appear in time.
            DbInitError: The database was not reached, or the file not read.
        """
        return await self._run(self._verify)

    async def status(self) -> tuple[Decision, list[Applied]]:
        """Return what `initialize()` would decide now about a file, and the history; change nothing.

        Raises:
            DbInitError: The database was not reached, or the file not read.
        """
        connector = self._connector(unheard)
        return await connector.losses.outlast(partial(self._status, connector, await _read(self.options)))

    async def _status(self, connector: Connector, script: Script) -> tuple[Decision, list[Applied]]:
        async with connector.migrating() as connection, read_only_transaction(connection, self.options.home.role):
            seen = await look(connection, script, self.options)
        return seen.decision, seen.rows

    async def migrate(self, request: "Request") -> Report:
        """Carry out a request about a folder of migrations: `Up`, `Down`, `Redo`, `Baseline`, `Repair` or `Import`.

        Raises:
            DbInitError: It did not work; the error says what was done.
        """
        return await self._run(self._migrate, request)

    async def _migrate(self, connector: Connector, request: "Request") -> Report:
        return await self._folder_work(connector).migrate(request)

    async def standings(self) -> "Standings":
        """Return how each migration of a folder stands, and what `migrate(Up())` would do; change nothing.

        Raises:
            DbInitError: The database was not reached, or the folder not read.
        """
        return await self._folder_work(self._connector(unheard)).standings()

    async def plan(self, request: "Request") -> "list[Task]":
        """Return what a request about a folder would run, and how; change nothing.

        Raises:
            DbInitError: The database was not reached, the folder not read, or it could not be done.
        """
        return await self._folder_work(self._connector(unheard)).plan(request)

    async def differences(self) -> dict[str, str]:
        """Return, by file, how migrations were edited since they were applied, as unified diffs.

        Raises:
            DbInitError: The database was not reached, or the folder not read.
        """
        return await self._folder_work(self._connector(unheard)).differences()

    async def wait(self) -> None:
        """Wait until the database takes connections, as patiently as the options say.

        Raises:
            ConnectError: It was not reached in time.
        """
        connector = self._connector(unheard)
        await connector.losses.outlast(partial(self._wait, connector))

    async def _wait(self, connector: Connector) -> None:
        async with connector.connected(self.options.migrating_url):
            pass

    @asynccontextmanager
    async def pool(self, **arguments: Any) -> AsyncIterator[asyncpg.Pool]:
        """Open a pool of connections to the same database.

        Args:
            **arguments: Handed to `asyncpg.create_pool`; `min_size` is 0 unless given, and the
                `timeout` of a new connection is that of one attempt.

        Raises:
            ConnectError: The server of an `embedded:` URL could not be started.
        """
        url = self.options.url
        limit = self.options.attempt_timeout(url).total_seconds()
        async with self._access.pool(url, limit, **arguments) as pool:
            yield pool

    async def ping(self, limit: float) -> None:
        """Ask the database for a sign of life on a connection of its own.

        Args:
            limit: Seconds for the whole of it.

        Raises:
            ConnectError: There was none in time.
        """
        await self._access.ping(self.options.url, limit)

    async def close(self) -> None:
        """Release what is held; an embedded server stops with its last user. Safe to call more than once."""
        if self._readiness.phase is not Phase.CLOSED:
            self._step(Phase.CLOSED)
        await self._access.close()

    def terminate(self) -> None:
        """Cut the connections in use, without a goodbye: for a start that was cancelled and takes too long to end.

        A release waits for the server, for a second or so; one that does not answer is not worth that long when a
        process is to end.
        """
        self._access.terminate()

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

    async def _run(self, work: Callable[..., Awaitable[Report]], *arguments: object) -> Report:
        async with self._running:
            if self._readiness.phase is Phase.CLOSED:
                raise RuntimeError("this Initializer is closed; make a new one")
            self._began = began = time.monotonic()
            try:
                report = await work(self._connector(self._step), *arguments)
            except Exception as error:
                self._end(Phase.FAILED, error=type(error).__name__)
                raise
            self._end(Phase.READY)
            return replace(report, seconds=time.monotonic() - began)

    async def _initialize(self, connector: Connector) -> Report:
        if self.is_folder:
            return await self._folder_work(connector).initialize()
        script = await _read(self.options)
        return await connector.losses.outlast(partial(self._apply, connector, script, []))

    async def _apply(self, connector: Connector, script: Script, tried: "list[Application]") -> Report:
        """Apply a script, unless it is found to be; `tried` is what was to be committed when a connection was lost."""
        async with connector.migrating() as connection:
            self._step(Phase.CHECKING)
            rows = await history.read(connection, self.options.home) or []
            connector.losses.seen([(row.id, row.statements, row.outcome) for row in rows])
            decision = decide_by(rows, script, self.options) if rows else None
            if decision is Decision.SKIP and tried:
                logger.info("%s was committed before the connection broke", script.path)
                return _report(script, tried[-1].outcome, tried[-1].statements)
            if decision and (outcome := settle(decision, script)):
                return _report(script, outcome)
            from .application import apply  # noqa: PLC0415 - most starts find nothing to do, and need none of it

            done = await apply(connection, script, self.options, self._step, connector.migrating_too, tried.append)
            return _report(script, done.outcome, done.statements)

    async def _verify(self, connector: Connector) -> Report:
        deadline = time.monotonic() + self.options.lock_wait.total_seconds()
        # Whoever looks on needs no right to change anything.
        options = replace(self.options, role=None)
        if self.is_folder:
            connect = partial(connector.connected, options.url)
            return await self._folder_work(connector, options, connect).verify(deadline)
        watch_on = partial(self._watch, connector, await _read(options), options, deadline)
        return await connector.losses.outlast(watch_on, until=deadline)

    async def _watch(self, connector: Connector, script: Script, options: InitOptions, deadline: float) -> Report:
        async with connector.connected(options.url) as connection:
            self._step(Phase.CHECKING)
            return _report(script, await watch(connection, script, options, self._step, deadline))

    def _connector(self, step: Step) -> Connector:
        return Connector(self.options, self._access, step)

    def _folder_work(
        self, connector: Connector, options: InitOptions | None = None, connect: Connect | None = None
    ) -> "FolderWork":
        from .runner.work import FolderWork  # noqa: PLC0415 - most services have a file

        connect = connect or connector.migrating
        surroundings = Surroundings(connect, connector.migrating_too, connector.step, self._hooks, connector.losses)
        return FolderWork(options or self.options, surroundings)

    def _step(self, phase: Phase, /, **changes: Any) -> None:
        self._readiness = advance(self._readiness, phase, **changes)
        if self._observer is not None:
            self._observer(self.readiness)

    def _end(self, phase: Phase, **changes: Any) -> None:
        elapsed = self.readiness.elapsed
        self._began = None
        if self._readiness.phase is not Phase.CLOSED:  # close() came in between
            self._step(phase, elapsed=elapsed, **changes)


def _report(script: Script, outcome: Outcome, statements: int = 0) -> Report:
    return Report(outcome, script.path, script.checksum, statements, 0.0)


async def _read(options: InitOptions) -> Script:
    """Read a script, in a thread where that takes long, so that probes are answered and signals heard meanwhile."""
    path, root = Path(options.migrations_path), options.include_root
    read = partial(read_script, path, options.variables, Path(root) if root else None)
    if takes_long(path):
        return await in_thread(read)
    return read()
