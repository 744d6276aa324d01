"""Runs the steps of a plan one by one, each with its history row in one transaction.

What goes smoothly takes one round trip a step: a message commits the step before, begins a transaction, takes the lock,
makes sure that nobody has changed the history, and runs the whole script. When it fails, or says something that may
belong to any of its statements, the transaction is rolled back and the script run with care, as single files are.

Scripts that cannot be one transaction are run statement by statement, while a connection beside holds the lock.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

import asyncpg

from dbinit.activity import holding, note
from dbinit.backoff import is_connection_loss
from dbinit.errors import DbInitError
from dbinit.executor import execute_for, place_of, run_script
from dbinit.failure import statement_error
from dbinit.lock import hold_for, locked_transaction
from dbinit.migrations.history import Recorded
from dbinit.migrations.model import Hook
from dbinit.migrations.preparation import Task
from dbinit.notices import collecting
from dbinit.patience import patient
from dbinit.pooling import has_session
from dbinit.readiness import Phase, Step
from dbinit.sql.facts import Company, company, leaves_nothing, may_speak
from dbinit.sql.statement import Statement
from dbinit.transaction import rollback, stopping_with, transaction
from dbinit.watching import Watch, watching

from .framing import (
    CHECK_DEFERRED,
    RESET,
    Frame,
    OvertakenError,
    Progress,
    Ran,
    Run,
    begun_state,
    lock_limit_of,
    log_ran,
    raise_if_overtaken,
    run_behind,
    run_first,
)
from .ledger import Entry, Ledger, insertion, read_ledger
from .steps import Stage, run_steps, script_of

__all__ = ["Serial", "announce"]

# Stands behind a step that is still open. A message that cannot be parsed aborts the transaction without having been
# run, and this leads back to where the step had ended well.
_ENDED = "dbinit_ended"
_BEGUN_AFTER = 0.5  # seconds: what stands before a script waits for nobody, and fails sooner


class _Open(NamedTuple):
    """A step that has been run in a transaction which is still open, and what is to be done there first."""

    ran: Ran
    first: str = ""


class Serial:
    """A run of steps, one by one.

    Args:
        connection: Where to run them, outside of any transaction.
        ledger: The history that they were planned from.
        run: What to work with; other connections are for scripts that cannot be one transaction.
        progress: Told of what has been done.
    """

    def __init__(self, connection: asyncpg.Connection, ledger: Ledger, run: Run, progress: Progress) -> None:
        self._progress = progress
        self._connection = connection
        self._frame = Frame(ledger, run.options)
        self._run = run
        self._options, self._step, self._connect, self._hooks, self._retries = run
        self._watch = Watch(None)
        self._open: _Open | None = None
        self._ahead: tuple[Task, Sequence[Statement] | None] | None = None

    async def run(self, tasks: Sequence[Task]) -> None:
        """Run all of them.

        Raises:
            OvertakenError: The history has to be read again; what the progress says was done stands.
            StatementError: PostgreSQL refused a statement.
            DbInitError: One of them could not be run.
        """
        connect, limit = self._connect, self._options.lock_limit
        async with watching(connect, limit) as self._watch:
            while (done := len(self._progress.ran)) < len(tasks):
                try:
                    await self._run_all(tasks, done)
                except (DbInitError, asyncpg.PostgresError) as error:
                    await self._try_again(error, tasks[len(self._progress.ran)])
                except BaseException:
                    await rollback(self._connection)
                    raise

    async def _run_all(self, tasks: Sequence[Task], done: int) -> None:
        """Run all that are left."""
        for number, task in enumerate(tasks[done:], start=done + 1):
            announce(self._step, task, number, len(tasks))
            if number < len(tasks):  # while the server works on this one
                asyncio.get_running_loop().call_soon(self._look_ahead, tasks[number])
            await self._take(task, is_last=number == len(tasks))
        await self._settle()

    async def _try_again(self, error: DbInitError | asyncpg.PostgresError, task: Task) -> None:
        """Prepare for another try of a step that got into another's way, or raise the error."""
        self._open = None
        await rollback(self._connection)
        try:
            await self._retries.again(error, task.path, self._connection, self._watch)
        except (DbInitError, asyncpg.PostgresError):
            self._progress.failed.append(task)
            raise
        if not self._progress.ran:
            self._hooks.rolled_back()
        await self._connection.execute(RESET)
        if task.stepwise:
            raise OvertakenError from None  # how far it has come stands in the history

    async def _take(self, task: Task, *, is_last: bool) -> None:
        if task.stepwise:
            await self._settle()
            await self._step_by_step(task)
        elif self._is_easy(task) and (statements := self._quick(task)) is not None:
            await self._at_once(task, statements, ends=is_last and _can_end(statements))
        else:
            await self._settle()
            await self._with_care(task)

    def _look_ahead(self, task: Task) -> None:
        self._ahead = task, _quick(task)

    def _quick(self, task: Task) -> Sequence[Statement] | None:
        return self._ahead[1] if self._ahead and self._ahead[0] is task else _quick(task)

    # --- in one transaction -----------------------------------------------------------------------------------------

    async def _at_once(self, task: Task, statements: Sequence[Statement], *, ends: bool) -> None:
        """Commit the step before and run this one, in one message, and commit this one as well where it `ends`."""
        began = time.monotonic()
        closing, self._frame.last = self._closing()
        texts = [found.text for found in statements]
        end = self._ending(task, len(statements)) if ends else f"SAVEPOINT {_ENDED}"
        opening = note(task.path) + closing + self._frame.opening(task)
        message = opening + "\n;".join([*texts, CHECK_DEFERRED, end])
        self._watch_for(task)
        try:
            with collecting(self._connection) as notices, patient(self._connection, texts), self._beginning():
                await self._connection.execute(message)
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            await self._recover(error)
            if self._retries.is_due(error, task.path):
                raise
            await self._with_care(task)  # which says exactly where it fails, or does not fail
            return
        self._settled()
        ran = Ran(task, len(statements), time.monotonic() - began)
        self._open = _Open(ran, f"RELEASE SAVEPOINT {_ENDED};\n")
        if ends:
            self._frame.last += 1
            self._settled()
        if notices and statements and not ends and all(leaves_nothing(found.text) for found in statements):
            await rollback(self._connection)
            self._open = None
            await self._with_care(task)
        elif notices and statements:
            notices.log(place_of(statements))

    async def _with_care(self, task: Task) -> None:
        """Run a step in a transaction of its own."""
        began = time.monotonic()
        try:
            await self._connection.execute(note(task.path) + self._frame.opening(task))
        except asyncpg.PostgresError as error:
            await rollback(self._connection)
            raise_if_overtaken(error, self._frame)
            raise
        self._progress.begin()
        self._watch_for(task)
        await run_first(self._connection, self._run, task)
        await self._hooks.run(Hook.BEFORE_EACH, self._connection, task)
        count = 0
        if task.found:
            count = await run_script(self._connection, task.found, lambda n: self._step(Phase.APPLYING, statement=n))
        await run_behind(self._connection, self._run, task)
        self._open = _Open(Ran(task, count, time.monotonic() - began))
        await self._settle()

    @contextmanager
    def _beginning(self) -> Iterator[None]:
        """Tell that a step is being run, as soon as its message has not failed at what stands before its script."""
        telling = asyncio.get_running_loop().call_later(_BEGUN_AFTER, self._progress.begin)
        try:
            yield
        finally:
            telling.cancel()
        self._progress.begin()

    def _ending(self, task: Task, statements: int) -> str:
        self._progress.tried[self._frame.last + 1] = task
        return self._frame.ending(task, statements)

    def _is_easy(self, task: Task) -> bool:
        """Whether nothing is expected to come between the statements of a step."""
        return not self._hooks.beside(task) and not self._retries.wants_care(task.path)

    def _watch_for(self, task: Task) -> None:
        self._watch.begin(holding(self._frame.key), lock_limit_of(self._options, task))

    def _closing(self) -> tuple[str, int]:
        """Return what records and commits the step that is open, and the number of the history's last row then."""
        if not self._open:
            return "", self._frame.last
        self._progress.tried[self._frame.last + 1] = self._open.ran.task
        return self._open.first + self._frame.closing(self._open.ran), self._frame.last + 1

    async def _settle(self) -> None:
        """Record and commit the step that is open, if any."""
        closing, last = self._closing()
        if not closing:
            return
        try:
            await execute_for(self._connection, closing, self._open.ran.task.path if self._open else "")
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            await rollback(self._connection)
            raise self._refused(error) from None
        self._frame.last = last
        self._settled()

    def _settled(self) -> None:
        """Take note that the step that was open has been committed."""
        done, self._open = self._open, None
        if done:
            self._progress.ran.append(done.ran)
            log_ran(done.ran)

    async def _recover(self, error: asyncpg.PostgresError) -> None:
        """See, behind a failed message, that the step before is committed, or tell why that was refused."""
        if not self._open:
            await rollback(self._connection)
            return
        self._frame.last -= 1
        if await self._goes_back():
            await self._settle()
            return
        await rollback(self._connection)
        ledger = await read_ledger(self._connection, self._frame.home)
        if ledger.last <= self._frame.last:
            raise self._refused(error) from None
        self._frame.last += 1
        self._settled()

    async def _goes_back(self) -> bool:
        """Go back to the end of the step before, if its transaction is still there: nothing of the message was run."""
        try:
            await self._connection.execute(f"ROLLBACK TO SAVEPOINT {_ENDED}")
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            return False
        return True

    def _refused(self, error: asyncpg.PostgresError) -> DbInitError:
        path = self._open.ran.task.path if self._open else ""
        self._open = None
        return statement_error(error, title=f"PostgreSQL refused to commit {path}:")

    # --- step by step -----------------------------------------------------------------------------------------------

    async def _step_by_step(self, task: Task) -> None:
        """Run a script that cannot be one transaction, recording how far it has come."""
        async with self._staged(task) as stage:
            ledger = await self._fenced(task)
            self._progress.begin()
            if self._hooks.first:
                await self._hooks.run_alone(Hook.BEFORE_ALL, self._connection)
            ran = await run_steps(task, await self._unfinished_row(task, ledger, stage), stage, self._run)
        self._progress.ran.append(ran)
        log_ran(ran)

    @asynccontextmanager
    async def _staged(self, task: Task) -> AsyncIterator[Stage]:
        """Hold the lock on another connection."""
        key, wait = self._frame.key, self._options.lock_wait
        async with self._connect() as guard:
            found = (script_of(task), *self._hooks.scripts(Hook.BEFORE_EACH, task))
            session = await has_session(self._connection, guard, found, self._frame.home.role)
            async with locked_transaction(guard, key, wait, self._step), stopping_with(guard):
                await hold_for(guard, task.path)
                yield Stage(self._connection, guard, session, self._watch)

    async def _fenced(self, task: Task) -> Ledger:
        """Make sure that nobody has changed the history; return it."""
        ledger = await read_ledger(self._connection, self._frame.home)
        known = _begun_row(task)
        # Another starter may have gone on with it.
        if ledger.last != self._frame.last or (known and known.stand not in {row.stand for row in ledger.rows}):
            raise OvertakenError
        if not ledger.exists and (guard := self._frame.guard()):
            try:
                await self._connection.execute(guard)
            except asyncpg.PostgresError as error:
                raise_if_overtaken(error, self._frame)
                raise
        return ledger

    async def _unfinished_row(self, task: Task, ledger: Ledger, stage: Stage) -> Recorded:
        """Return the row of a step that has been begun, or begin it."""
        if known := _begun_row(task):
            self._progress.tried[known.id] = task
            return known
        number = self._frame.last + 1
        # Where there is a session, what the hook sets is meant for the script.
        async with transaction(self._connection, self._frame.home.role, reset=not stage.session):
            row = insertion(self._frame.home, number, Entry(task.step, begun_state(task)))
            await self._connection.execute((self._frame.creation() if not ledger.exists else "") + row)
            self._progress.tried[number] = task
            await self._hooks.run(Hook.BEFORE_EACH, self._connection, task)
        self._frame.last = number
        return (await read_ledger(self._connection, self._frame.home)).rows[-1]


def _begun_row(task: Task) -> Recorded | None:
    known = task.step.recorded
    return known if known and known.id and known.state is begun_state(task) else None


def announce(step: Step, task: Task, number: int, of: int) -> None:
    """Tell that a step begins."""
    statements = task.found.statements if task.found else 0
    step(Phase.APPLYING, file=task.path, statement=0, statements=statements, migration=number, migrations=of)


def _quick(task: Task) -> Sequence[Statement] | None:
    """Return the statements of a script that may go out in one message with what is ours; None if it may not."""
    if not task.found:
        return ()
    plain = task.found.plain
    return plain if plain is not None and all(_shares(statement.text) for statement in plain) else None


def _can_end(statements: Sequence[Statement]) -> bool:
    """Tell whether a script may be committed unseen: nothing is to be said that would be said again of a statement."""
    texts = [statement.text for statement in statements]
    return not any(map(may_speak, texts)) or not all(map(leaves_nothing, texts))


def _shares(statement: str) -> bool:
    return company(statement) is not Company.NONE or leaves_nothing(statement)
