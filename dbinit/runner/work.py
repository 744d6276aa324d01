"""The work on a folder of migrations: apply, verify, take back, tell."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
import asyncpg

from dbinit.errors import ConnectError, HistoryError, SchemaMissingError, ScriptError, SourceError
from dbinit.migrations.model import Folder
from dbinit.migrations.plan import Plan
from dbinit.migrations.planner import Up, plan_up, status
from dbinit.migrations.problems import FolderError, PlanError
from dbinit.migrations.standing import Standing, Status
from dbinit.model import Format, MigrationRun, Outcome, Report
from dbinit.readiness import Phase
from dbinit.settings import InitOptions
from dbinit.threads import in_thread
from dbinit.wording import counted

from .ledger import Ledger, read_ledger, read_scripts
from .loading import load_folder
from .surroundings import Surroundings

if TYPE_CHECKING:
    from dbinit.migrations.preparation import Task
    from dbinit.migrations.request import Request

    from .job import Job

__all__ = ["FolderWork", "Standings"]

logger = logging.getLogger("dbinit")

_WATCH_EVERY = 1.0


class Standings(NamedTuple):
    """How the migrations of a folder stand.

    Attributes:
        folder: The folder.
        standings: How each of them stands, and what the history has beside them.
        conflicts: Why `migrate(Up())` would be refused; empty where it would not.
    """

    folder: Folder
    standings: list[Standing]
    conflicts: tuple[str, ...] = ()


class _Opened(NamedTuple):
    """A folder, and a connection to the database with the history that was read on it."""

    folder: Folder
    connection: asyncpg.Connection
    ledger: Ledger


class FolderWork:
    """The work on one folder.

    Args:
        options: Which folder, and how.
        surroundings: What there is around it.
    """

    def __init__(self, options: InitOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._surroundings = surroundings
        self._outlast = surroundings.losses.outlast
        self._job: Job | None = None
        self._loading: asyncio.Task[Folder] | None = None

    async def initialize(self) -> Report:
        """Apply what is pending, as the options say.

        Raises:
            DbInitError: It did not work; the error says what was applied.
        """
        return await self.migrate(Up(allow_missing=self._options.allow_missing, jobs=self._options.jobs))

    async def migrate(self, request: "Request") -> Report:
        """Carry out a request.

        Raises:
            DbInitError: It did not work; the error says what was done.
        """
        try:
            return await self._outlast(partial(self._migrate, request))
        except ConnectError as error:
            if self._job and self._job.kept:
                error.outcome += f"\n{self._job.kept}"
            raise

    async def _migrate(self, request: "Request") -> Report:
        async with self._opened(back=_takes_back(request)) as (folder, connection, ledger):
            if isinstance(request, Up) and not self._job and _is_current(request, folder, ledger):
                _log_nothing_done(request)
                return self._report(Outcome.CURRENT, ())
            self._surroundings.losses.seen([row.stand for row in ledger.rows])
            return await self._carry_out(connection, folder, request, ledger)

    async def _carry_out(
        self, connection: asyncpg.Connection, folder: Folder, request: "Request", ledger: Ledger
    ) -> Report:
        # Most starts find nothing to do, and need none of it.
        from .carrying import carry_out  # noqa: PLC0415
        from .job import Job  # noqa: PLC0415

        self._job = self._job or Job(folder, request)
        ran = await carry_out(connection, self._job, self._options, self._surroundings, ledger)
        if not ran and not (isinstance(request, Up) and request.dry_run):
            _log_nothing_done(request)
        return self._report(_outcome(request, ran), ran)

    async def verify(self, deadline: float) -> Report:
        """Look, and change nothing, until nothing is pending; until `deadline`, by `time.monotonic()`.

        Raises:
            SchemaMissingError: Something was still pending then.
            DbInitError: The database was not reached, or the folder not read.
        """
        return await self._outlast(partial(self._watch, deadline), until=deadline)

    async def _watch(self, deadline: float) -> Report:
        request = Up(allow_missing=self._options.allow_missing)
        waiting = False
        async with self._opened() as opened:
            folder, connection, ledger = opened
            while True:
                if not (steps := _plan(request, folder, ledger).steps):
                    return self._report(Outcome.CURRENT, ())
                if not waiting:
                    waiting = True
                    logger.info("The schema is not there yet; waiting for it (mode verify applies nothing)")
                    self._surroundings.step(Phase.WAITING)
                if time.monotonic() >= deadline:
                    raise SchemaMissingError(
                        f"{counted(len(steps), 'pending migration')} of {folder.path}, from {steps[0].part.path} on,"
                        " and mode verify applies nothing",
                        advice="run `python -m dbinit` with a role that may create the schema",
                    )
                await anyio.sleep(_WATCH_EVERY)
                ledger = await read_ledger(connection, self._options.home)

    async def standings(self) -> Standings:
        """Tell how each migration stands; change nothing.

        Raises:
            DbInitError: The database was not reached, or the folder not read.
        """
        return await self._outlast(self._standings)

    async def _standings(self) -> Standings:
        async with self._opened(back=True) as opened:
            standings = status(opened.folder, opened.ledger.rows)
            return Standings(opened.folder, standings, await self._conflicts(opened))

    async def _conflicts(self, opened: _Opened) -> tuple[str, ...]:
        """Return why `up` would be refused; nothing where it would not."""
        from .carrying import planned  # noqa: PLC0415 - not for a usual start

        folder, connection, ledger = opened
        blank = tuple(str(problem) for problem in folder.blank)
        request = Up(allow_missing=self._options.allow_missing)
        try:
            await planned(connection, folder, request, self._options, ledger)
        except PlanError as error:
            return (*blank, *error.problems)
        except HistoryError as error:
            return (*blank, f"{error.message}; {error.advice}")
        except (ScriptError, SourceError) as error:
            return blank or (error.message,)  # what is blank is among what cannot be read
        return blank

    async def plan(self, request: "Request") -> "list[Task]":
        """Tell what a request would run, and how; change nothing.

        Raises:
            DbInitError: The database was not reached, the folder not read, or it could not be done.
        """
        return await self._outlast(partial(self._planned, request))

    async def _planned(self, request: "Request") -> "list[Task]":
        from .carrying import planned  # noqa: PLC0415 - as above

        async with self._opened(back=_takes_back(request)) as (folder, connection, ledger):
            return await planned(connection, folder, request, self._options, ledger)

    async def differences(self) -> dict[str, str]:
        """Return, by file, what was edited since it was applied, as unified diffs.

        Raises:
            DbInitError: The database was not reached, or the folder not read.
        """
        return await self._outlast(self._differences)

    async def _differences(self) -> dict[str, str]:
        from difflib import unified_diff  # noqa: PLC0415 - seldom needed, and slow to import

        async with self._opened(quiet=True) as (folder, connection, ledger):
            edited = [found for found in status(folder, ledger.rows) if found.status is Status.EDITED]
            numbers = [found.recorded.id for found in edited if found.recorded]
            scripts = await read_scripts(connection, ledger.home, numbers)
        differences = {}
        for found in edited:
            if found.migration and found.recorded:
                path, now = found.migration.up.path, found.migration.up.text
                before = scripts.get(found.recorded.id)
                lines = unified_diff(
                    (before or "").splitlines(), now.splitlines(), f"{path} (as applied)", path, lineterm=""
                )
                differences[path] = "\n".join(lines) if before is not None else f"{path}: too large to be compared"
        return differences

    @asynccontextmanager
    async def _opened(self, *, back: bool = False, quiet: bool = False) -> AsyncIterator[_Opened]:
        """Connect and read the history while the folder is read, once; if that is broken, nothing else matters.

        Who looks, or goes, `back` needs more of the history, and no statement in what is still to be applied. Where
        `quiet`, the log does not say what kind of a folder it is.
        """
        async with AsyncExitStack() as stack:
            # In this order, as the thread that reads seldom leaves the interpreter's lock to the event loop.
            looking = asyncio.create_task(self._look(stack, whole=back))
            loading = self._loading = self._loading or asyncio.create_task(self._load(blank=back, quiet=quiet))
            try:
                await asyncio.wait((loading, looking), return_when=asyncio.FIRST_EXCEPTION)
                opened = _Opened(await loading, *await looking)
            except BaseException as error:
                looking.cancel()
                if isinstance(error, asyncio.CancelledError):
                    loading.cancel()
                await asyncio.gather(loading, looking, return_exceptions=True)
                raise
            yield opened

    async def _look(self, stack: AsyncExitStack, *, whole: bool) -> tuple[asyncpg.Connection, Ledger]:
        connection = await stack.enter_async_context(self._surroundings.connect())
        self._surroundings.step(Phase.CHECKING)
        return connection, await read_ledger(connection, self._options.home, whole=whole)

    async def _load(self, *, blank: bool, quiet: bool) -> Folder:
        options = self._options
        format_ = None if options.migrations_format is None else Format(options.migrations_format)
        path = Path(options.migrations_path)
        folder = await in_thread(load_folder, path, format_, options.placeholders)
        if folder.blank and not blank:
            raise FolderError(folder.path, folder.blank)
        if not quiet:
            _tell(folder)
        return folder

    def _report(self, outcome: Outcome, ran: tuple[MigrationRun, ...]) -> Report:
        statements = sum(found.statements for found in ran)
        return Report(outcome, os.fspath(self._options.migrations_path), "", statements, 0.0, ran)


def _tell(folder: Folder) -> None:
    """Log whose migrations they are, and what is passed over."""
    logger.info("%s is a folder of %s migrations: %s", folder.path, folder.format.value, folder.reason)
    if folder.overlooked:
        files = counted(len(folder.overlooked), "file")
        what = "%s passes over %s that may be meant as migrations, such as %s"
        logger.warning(what, folder.format.value, files, folder.overlooked[0])


def _is_current(request: Up, folder: Folder, ledger: Ledger) -> bool:
    """Tell whether nothing is to be done, and say in the log what is remarkable about that."""
    if request.target is None and ledger.is_just(folder):
        return True
    plan = _plan(request, folder, ledger)
    for note in () if plan.steps else plan.notes:
        logger.warning("%s", note)
    return not plan.steps


def _plan(request: Up, folder: Folder, ledger: Ledger) -> Plan:
    return plan_up(folder, ledger.rows, target=request.target, allow_missing=request.allow_missing)


def _takes_back(request: "Request") -> bool:
    if isinstance(request, Up):
        return False
    from dbinit.migrations.request import takes_back  # noqa: PLC0415 - as above

    return takes_back(request)


def _log_nothing_done(request: "Request") -> None:
    """Log that nothing was to be done, or that another starter has done it meanwhile."""
    if isinstance(request, Up):
        logger.info("Database already initialized, skipping migration")
        return
    from dbinit.migrations.request import Down  # noqa: PLC0415 - as above

    if isinstance(request, Down):
        logger.info("Nothing newer is applied, nothing to take back")


def _outcome(request: "Request", ran: tuple[MigrationRun, ...]) -> Outcome:
    if not ran:
        return Outcome.CURRENT
    if isinstance(request, Up) and request.dry_run:
        return Outcome.REHEARSED
    by_action = {"revert": Outcome.REVERTED, "record": Outcome.RECORDED}
    return by_action.get(ran[-1].action, Outcome.APPLIED)
