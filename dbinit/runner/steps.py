"""Runs a script that cannot be one transaction, statement by statement, with the hooks of its migration."""

import time
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import asyncpg

from dbinit.activity import process
from dbinit.lock import lock_key, working_beside
from dbinit.migrations.history import Recorded
from dbinit.migrations.model import Hook
from dbinit.migrations.preparation import Task
from dbinit.sql.survey import Survey
from dbinit.stepwise import Journey
from dbinit.timeouts import LockLimit
from dbinit.watching import Watch

from .framing import Ran, Run, lock_limit_of, run_behind, terms_of
from .ledger import progress_of

__all__ = ["Stage", "run_steps", "script_of"]


class Stage(NamedTuple):
    """Where a script runs.

    Attributes:
        connection: Outside of any transaction.
        beside: Another connection, to look from.
        session: Whether what is set on the connection stays there, as it does not behind a transaction pooler.
        watch: Looks who is in the way.
    """

    connection: asyncpg.Connection
    beside: asyncpg.Connection
    session: bool
    watch: Watch


def script_of(task: Task) -> Survey:
    """Return what is known of the script of a task that has one."""
    if not task.found:
        raise ValueError("only a script can be run step by step")
    return task.found


async def run_steps(task: Task, row: Recorded, stage: Stage, run: Run) -> Ran:
    """Run a script, which has been recorded as begun, from where it stopped on, and record how far it comes.

    Args:
        task: The script.
        row: Its row in the history.
        stage: Where.
        run: What to work with.

    Raises:
        StatementError: PostgreSQL refused a statement.
        FileChangedError: What has been run of it before is not what it begins with now.
    """
    began = time.monotonic()
    connection, beside, session, watch = stage
    limit = lock_limit_of(run.options, task) if session else None
    if session:
        await run.hooks.set_again(Hook.BEFORE_EACH, connection, task)
        await connection.execute(terms_of(run.options, task, local=False))
    progress = progress_of(connection, run.options.home, row, task.step.checksum)
    watch.begin(process(connection.get_server_pid()), limit)
    key = lock_key(run.options.history_schema)
    try:
        async with working_beside(connection, key) if session else nullcontext():
            own_limit = LockLimit(limit) if session else None
            journey = Journey(connection, script_of(task), progress, run.step, beside, own_limit)
            count = await journey.go(partial(run_behind, connection, run, task))
    finally:
        if progress.statements > row.statements:
            run.retries.go_on(task.path)
    return Ran(task, count, time.monotonic() - began)
