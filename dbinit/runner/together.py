"""Runs the steps of a plan in one transaction, to keep all of them or, in a rehearsal, none."""

import logging
import time
from collections.abc import Sequence

import asyncpg

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

from .framing import CHECK_DEFERRED, RESET, RESET_SETTINGS, Frame, Progress, Ran, Run, begin, limits, log_ran, run_first
from .ledger import Ledger
from .serial import announce

__all__ = ["can_be_rehearsed", "refuse_stepwise", "run_together"]

logger = logging.getLogger("dbinit")

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
    frame = Frame(ledger, run.options)
    ran: list[Ran] = []
    try:
        await begin(connection, frame)
        if tasks:
            await run_first(connection, run, tasks[0])
        for number, task in enumerate(tasks, start=1):
            announce(run.step, task, number, len(tasks))
            ran.append(await _run(connection, task, run))
            progress.tried[frame.last + number] = task
            record = frame.record(ran[-1], frame.last + number)
            await connection.execute(record + RESET_SETTINGS + acting_as(frame.home.role))
            if not keep:
                await _check_deferred(connection, task)
        if keep:
            await _commit(connection)
    except DbInitError:
        done = len(ran)
        progress.undone += tasks[:done]
        progress.failed += tasks[done : done + 1]
        raise
    finally:
        await rollback(connection)  # in a rehearsal, or when something has failed; otherwise there is nothing left
    if keep:
        for found in ran:
            log_ran(found)
    progress.ran += ran


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
    if wanted := limits(run.options, task, "SET LOCAL"):
        await connection.execute(wanted)
    await run.hooks.run(Hook.BEFORE_EACH, connection, task)
    count = 0
    if task.found:
        count = await run_script(connection, task.found, lambda n: run.step(Phase.APPLYING, statement=n))
    await run.hooks.run(Hook.AFTER_EACH, connection, task)
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
