"""Does what is wanted with a folder of migrations: reads the history, plans, runs; again, where another was faster."""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import asyncpg

from dbinit.backoff import is_connection_loss
from dbinit.errors import ConnectionLostError, DbInitError, ReadOnlyDatabaseError
from dbinit.failure import statement_error
from dbinit.lock import lock_key, until_unlocked
from dbinit.migrations.model import Folder, Hook
from dbinit.migrations.plan import Action, Plan, Step
from dbinit.migrations.preparation import Task, prepare, prepare_part
from dbinit.migrations.request import Baseline, Import, Request, Up, make_plan, takes_back
from dbinit.sql.context import Context
from dbinit.sql.survey import Survey
from dbinit.threads import in_thread
from dbinit.transaction import is_standby, rollback
from dbinit.wording import counted

from .adoption import look_around, plan_import
from .checking import check_syntax
from .framing import RESET, OvertakenError, Progress, Run, outcome_of
from .hooks import HookRunner, Hooks
from .job import Job
from .ledger import Ledger, read_ledger
from .parallel import Parallel
from .serial import Serial
from .together import can_be_rehearsed, refuse_stepwise, run_together

__all__ = ["Migrator", "plan_for"]

logger = logging.getLogger("dbinit")


async def plan_for(
    connection: asyncpg.Connection, folder: Folder, request: Request, ledger: Ledger, *, done: Sequence[Step] = ()
) -> Plan:
    """Plan what is wanted.

    Args:
        connection: Where, outside of any transaction.
        folder: The folder.
        request: What is wanted.
        ledger: The history.
        done: The steps of it that have been taken already.

    Raises:
        PlanError: It cannot be done.
    """
    if isinstance(request, Import):
        return Plan() if done else await plan_import(connection, folder, ledger, request.table)
    return make_plan(request, folder, ledger.rows, done=done)


class Migrator:
    """Carries a request out.

    Args:
        job: What is wanted, and what has been done for it before.
        context: What scripts may know.
        run: What to work with; its hooks are those of the folder and of `hooks`.
        hooks: Callables to run with the migrations.
    """

    def __init__(self, job: Job, context: Context, run: Run, hooks: Hooks) -> None:
        self._job = job
        self._folder = job.folder
        self._request = job.request
        self._context = context
        self._run = run
        self._callbacks = hooks
        self._told = False

    async def carry_out(self, connection: asyncpg.Connection, ledger: Ledger) -> None:
        """Do what is wanted, or find that nothing is left to do.

        Args:
            connection: Where, outside of any transaction.
            ledger: The history as it was read just now.

        Raises:
            DbInitError: It could not be done; the error says what was.
        """
        left = self._run.options.lock_wait
        # Usually nobody was here before, and it is enough to make sure of that in the first transaction.
        careful = not isinstance(self._request, Up) or self._request.jobs > 1 or ledger.exists
        was_refused = False
        while True:
            plan = await plan_for(connection, self._folder, self._request, ledger, done=self._job.steps)
            for note in plan.notes:
                logger.warning("%s", note)
            if not plan.steps:
                return
            if careful and not ledger.rows:
                sentinel = "" if isinstance(self._request, Baseline | Import) else self._run.options.sentinel
                ledger = await look_around(connection, ledger, sentinel)
            tasks = await in_thread(prepare, plan.steps, self._folder.format, self._context)
            await in_thread(check_syntax, tasks)
            try:
                await self._carry_out(connection, ledger, tasks)
            except OvertakenError as overtaken:
                careful = True
                left = await self._wait(connection, left)
                ledger = await read_ledger(connection, ledger.home, whole=takes_back(self._request))
                if isinstance(refused := overtaken.__cause__, asyncpg.PostgresError) and not ledger.exists:
                    # Once, whoever shares the schema may have created just that; twice, something else is in the way.
                    if was_refused:
                        raise await _reported(refused, connection) from None
                    was_refused = True
            else:
                return

    async def _carry_out(self, connection: asyncpg.Connection, ledger: Ledger, tasks: list[Task]) -> None:
        hooks = await in_thread(self._hooks)
        run = self._run._replace(hooks=hooks)
        progress = Progress(partial(self._tell, tasks))
        try:
            await self._run_tasks(connection, ledger, tasks, run, progress)
        except (DbInitError, asyncpg.PostgresError) as error:
            failure = await _reported(error, connection)
            failure.outcome = outcome_of(failure, tasks, progress, self._job.ran)
            if self._is_kept:
                await _run_on_error(connection, hooks, failure, progress.failed)
            raise failure from None
        finally:
            self._job.add(progress)
            self._job.opened = self._job.opened or hooks.opened

    def _tell(self, tasks: Sequence[Task]) -> None:
        """Log what is being run, the first time."""
        if not self._told:
            self._told = True
            doing = "Running" if any(task.found for task in tasks) else "Recording"
            different = {(task.step.version, task.step.name) for task in tasks}  # redo has each twice
            logger.info("%s %s of %s...", doing, counted(len(different), "migration"), self._folder.path)

    @property
    def _is_kept(self) -> bool:
        """Whether something is applied, and not only rehearsed."""
        return isinstance(self._request, Up) and not self._request.dry_run

    async def _run_tasks(
        self, connection: asyncpg.Connection, ledger: Ledger, tasks: list[Task], run: Run, progress: Progress
    ) -> None:
        request = self._request
        run.hooks.last = tasks[-1] if isinstance(request, Up) else None
        if isinstance(request, Up) and request.dry_run:
            await run_together(connection, ledger, _rehearsal(tasks, run.hooks), run, progress, keep=False)
        elif (isinstance(request, Up) and request.single_transaction) or all(_is_record(task) for task in tasks):
            refuse_stepwise(tasks)
            await run_together(connection, ledger, tasks, run, progress, keep=True)
        elif isinstance(request, Up) and request.jobs > 1 and len(tasks) > 1:
            await Parallel(connection, ledger, run, progress).run(tasks, request.jobs)
        else:
            await Serial(connection, ledger, run, progress).run(tasks)

    def _hooks(self) -> HookRunner:
        context, format_ = self._context, self._folder.format
        scripts: dict[Hook, list[Survey]] = {}
        for hook, parts in self._folder.hooks.items():
            scripts[hook] = [prepare_part(part, format_, context)[0] for part in parts]
        whole = isinstance(self._request, Up) and not self._job.ran and not self._job.opened
        return HookRunner(scripts, self._callbacks, self._run.options.home.role, whole=whole)

    async def _wait(self, connection: asyncpg.Connection, left: timedelta) -> timedelta:
        """Wait for the other starter; return how long there may be waited another time."""
        began = time.monotonic()
        await until_unlocked(connection, lock_key(self._run.options.history_schema), left, self._run.step)
        return max(left - timedelta(seconds=time.monotonic() - began), timedelta())


def _is_record(task: Task) -> bool:
    """Tell whether nothing is run; such steps are all one unit, as an import or a baseline by halves is neither."""
    return task.step.action is Action.RECORD


def _rehearsal(tasks: Sequence[Task], hooks: HookRunner) -> list[Task]:
    """Return the steps that are rehearsed; say in the log what is not."""
    logger.warning("This is a rehearsal: it takes the locks that the migrations take, and rolls all back")
    chosen = can_be_rehearsed(tasks)
    if len(chosen) < len(tasks):
        hooks.last = None
        if hooks.has(Hook.AFTER_ALL):
            logger.warning("The hook after_all is not rehearsed: it may need what a migration makes that is not")
    if hooks.has(Hook.ON_ERROR):
        logger.warning("The hook on_error is not rehearsed")
    return chosen


async def _reported(error: DbInitError | asyncpg.PostgresError, connection: asyncpg.Connection) -> DbInitError:
    """Return the report of an error; one that means that another connection is needed is raised as it is."""
    if isinstance(error, ConnectionLostError) or (
        isinstance(error, asyncpg.PostgresError) and is_connection_loss(error)
    ):
        raise error
    if not isinstance(error, DbInitError):
        error = statement_error(error, title="PostgreSQL refused what dbinit does for its history:")
    if isinstance(error, ReadOnlyDatabaseError) and await is_standby(connection):
        raise error
    return error


async def _run_on_error(
    connection: asyncpg.Connection, hooks: HookRunner, error: DbInitError, failed: Sequence[Task]
) -> None:
    if hooks.has(Hook.ON_ERROR):
        try:
            await rollback(connection)
            await connection.execute(RESET)
            await hooks.run_alone(Hook.ON_ERROR, connection, failed[0] if failed else None, error)
        except (DbInitError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as failure:
            logger.warning("The hook on_error failed: %s", failure)
