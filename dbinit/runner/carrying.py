"""Carries a request about a folder out, and tells what was done."""

import asyncpg

from dbinit.migrations.model import Folder
from dbinit.migrations.preparation import Task, prepare
from dbinit.migrations.request import Request, Up
from dbinit.model import MigrationRun
from dbinit.retrying import Retries
from dbinit.session import session_of
from dbinit.settings import InitOptions
from dbinit.sql.context import Context
from dbinit.threads import in_thread

from .adoption import look_around
from .framing import Run
from .hooks import HookRunner, Hooks
from .job import Job
from .ledger import Ledger
from .migrator import Migrator, plan_for
from .surroundings import Surroundings

__all__ = ["carry_out", "planned"]


async def carry_out(
    connection: asyncpg.Connection, job: Job, options: InitOptions, surroundings: Surroundings, ledger: Ledger
) -> tuple[MigrationRun, ...]:
    """Carry a request out.

    Args:
        connection: Where, outside of any transaction.
        job: What is wanted, and what has been done for it before.
        options: How.
        surroundings: What there is around the work.
        ledger: The history as it was read just now.

    Raises:
        DbInitError: It could not be done; the error says what was.
    """
    hooks = surroundings.hooks or Hooks()
    hook_runner = HookRunner({}, hooks, options.home.role)
    retries = Retries(options.lock_retries)
    run = Run(options, surroundings.step, surroundings.connect_again, hook_runner, retries)
    context = Context(options.variables, session_of(connection))
    job.recount(ledger)
    await Migrator(job, context, run, hooks).carry_out(connection, ledger)
    return tuple(
        MigrationRun(
            str(ran.task.step.version or ""),
            ran.task.step.name,
            ran.task.path,
            ran.task.step.action.value,
            ran.statements,
            ran.seconds,
        )
        for ran in job.ran
    )


async def planned(
    connection: asyncpg.Connection, folder: Folder, request: Request, options: InitOptions, ledger: Ledger
) -> list[Task]:
    """Plan a request, and read what it would run.

    Args:
        connection: Where, outside of any transaction.
        folder: The folder.
        request: What is wanted.
        options: How.
        ledger: The history as it was read just now.

    Raises:
        DbInitError: It cannot be done.
    """
    plan = await plan_for(connection, folder, request, ledger)
    if plan.steps and not ledger.rows and isinstance(request, Up):
        await look_around(connection, ledger, options.sentinel)
    context = Context(options.variables, session_of(connection))
    return await in_thread(prepare, plan.steps, folder.format, context)
