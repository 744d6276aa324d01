"""Runs the steps of a plan in one transaction, to keep all of them or, in a rehearsal, none."""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from dbinit.activity import holding
from dbinit.backoff import is_connection_loss
from dbinit.errors import DbInitError, ScriptError
from dbinit.executor import execute_for, run_script
from dbinit.failure import statement_error
from dbinit.migrations.model import Hook
from dbinit.migrations.preparation import Task
from dbinit.patience import committing
from dbinit.readiness import Phase
from dbinit.roles import acting_as
from dbinit.transaction import rollback
from dbinit.watching import Watch, watching

from .framing import (
    CHECK_DEFERRED,
    RESET,
    RESET_SETTINGS,
    Frame,
    Progress,
    Ran,
    Run,
    begin,
    lock_limit_of,
    log_ran,
    run_behind,
    run_first,
    terms_of,
)
from .ledger import Ledger
from .serial import announce

__all__ = ["can_be_rehearsed", "refuse_stepwise", "run_together"]

logger = logging.getLogger("dbinit")

_ALL = "The run in one transaction"

# Going back to the savepoint, the constraints are deferred again.
_CHECK = f"""
SAVEPOINT dbinit_check; {CHECK_DEFERRED};
ROLLBACK TO SAVEPOINT dbinit_check; RELEASE SAVEPOINT dbinit_check;
"""


async def run_together(
    connection: asyncpg.Connection, ledger: Ledger, tasks: Sequence[Task], run: Run, progress: Progress, *, keep: bool
) -> None:
    """Run all steps in one transaction.

    Args:
        connection: Where to run them, outside of any transaction.
        ledger: The history that they were planned from.
        tasks: The steps.
        run: What to work with.
        progress: Told of what has been done.
        keep: Whether to commit; else everything is rolled back.

    Raises:
        OvertakenError: The history has to be read again.
        StatementError: PostgreSQL refused a statement.
    """
    async with watching(run.connect, run.options.lock_limit) as watch:
        attempt = _Attempt(connection, Frame(ledger, run.options), tasks, run, watch, keep)
        while (ran := await attempt.take(progress)) is None:
            pass
    for found in ran:
        log_ran(found, kept=keep)
    progress.ran += ran


class _Attempt(NamedTuple):
    """What it takes to run all steps in one transaction."""

    connection: asyncpg.Connection
    frame: Frame
    tasks: Sequence[Task]
    run: Run
    watch: Watch
    keep: bool

    async def take(self, progress: Progress) -> list[Ran] | None:
        """Run them; return what was done, or None where they have to be run again."""
        ran: list[Ran] = []
        try:
            await self._run_all(ran, progress)
        except DbInitError as error:
            await rollback(self.connection)
            try:
                await self.run.retries.again(error, _ALL, self.connection, self.watch)
            except DbInitError:
                progress.undone += self.tasks[: len(ran)]
                progress.failed += self.tasks[len(ran) : len(ran) + 1]
                raise
            self.run.hooks.rolled_back()
            return None
        finally:
            await rollback(self.connection)  # in a rehearsal, or when something has failed; otherwise nothing is left
        return ran

    async def _run_all(self, ran: list[Ran], progress: Progress) -> None:
        """Run them, adding each to `ran`, and commit them if they are to be kept."""
        await begin(self.connection, self.frame)
        progress.begin()
        if self.tasks:
            await run_first(self.connection, self.run, self.tasks[0])
        for number, task in enumerate(self.tasks, start=1):
            announce(self.run.step, task, number, len(self.tasks))
            self.watch.begin(holding(self.frame.key), lock_limit_of(self.run.options, task))
            ran.append(await _run(self.connection, task, self.run))
            progress.tried[self.frame.last + number] = task
            record = self.frame.record(ran[-1], self.frame.last + number)
            await self.connection.execute(record + RESET_SETTINGS + acting_as(self.frame.home.role))
            if not self.keep:
                await _check_deferred(self.connection, task)
        if self.keep:
            await _commit(self.connection)


async def _commit(connection: asyncpg.Connection) -> None:
    try:
        await execute_for(connection, "COMMIT; " + RESET, "At the commit")
    except asyncpg.PostgresError as error:
        if is_connection_loss(error):
            raise
        raise statement_error(error, title="PostgreSQL refused to commit the migrations:") from None


async def _check_deferred(connection: asyncpg.Connection, task: Task) -> None:
    """Let PostgreSQL check what it would check at the commit, and be none the wiser."""
    try:
        with committing(connection):
            await connection.execute(_CHECK)
    except asyncpg.PostgresError as error:
        if is_connection_loss(error):
            raise
        raise statement_error(error, title=f"PostgreSQL would refuse to commit {task.path}:") from None


async def _run(connection: asyncpg.Connection, task: Task, run: Run) -> Ran:
    began = time.monotonic()
    if task.found:
        await connection.execute(terms_of(run.options, task))  # of which the step before has left nothing
    await run.hooks.run(Hook.BEFORE_EACH, connection, task)
    count = 0
    if task.found:
        count = await run_script(connection, task.found, lambda n: run.step(Phase.APPLYING, statement=n))
    await run_behind(connection, run, task)
    return Ran(task, count, time.monotonic() - began)


def refuse_stepwise(tasks: Sequence[Task]) -> None:
    """Refuse scripts that cannot be part of one transaction.

    Raises:
        ScriptError: There are such; all of them are named.
    """
    if found := [task for task in tasks if task.stepwise]:
        names = ", ".join(task.path for task in found)
        raise ScriptError(
            f"these cannot run in a transaction, and all were to be one: {names}",
            advice="run them without --single-transaction, or up to them with --target",
        )


def can_be_rehearsed(tasks: Sequence[Task]) -> list[Task]:
    """Return the steps that can be run and rolled back; say in the log which cannot, and why."""
    left_out: set[int] = set()
    chosen: list[Task] = []
    for place, task in enumerate(tasks):
        if task.stepwise:
            left_out.add(place)
            logger.warning("%s is not rehearsed: it cannot run in a transaction", task.path)
        elif task.step.after & left_out:
            left_out.add(place)
            logger.warning("%s is not rehearsed: it needs one that is not", task.path)
        else:
            chosen.append(task)
    return chosen
