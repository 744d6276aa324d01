"""Runs the steps of a plan on several connections at a time, each step in a transaction of its own.

The lock is held for the whole run by a connection beside. The rows of the history are numbered in the order in which
the steps end; as no number can be used twice, no two runs can record their steps, should the lock ever be lost.
"""

import time
from collections.abc import Sequence

import anyio
import asyncpg

from dbinit.activity import holding, note
from dbinit.backoff import is_connection_loss
from dbinit.errors import ConnectionLostError, DbInitError
from dbinit.executor import execute_for, run_script
from dbinit.failure import statement_error
from dbinit.lock import OVERTAKEN, hold_for, lock_key, works_beside
from dbinit.migrations.history import Recorded, State
from dbinit.migrations.model import Hook
from dbinit.migrations.plan import Plan
from dbinit.migrations.preparation import Task
from dbinit.pooling import has_session
from dbinit.readiness import Phase, unheard
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
    terms_of,
)
from .ledger import Entry, Ledger, insertion, read_ledger
from .steps import Stage, run_steps, script_of

__all__ = ["Parallel"]


class Parallel:
    """A run of steps, several at a time.

    Args:
        guard: The connection that holds the lock, outside of any transaction.
        ledger: The history that the steps were planned from.
        run: What to work with.
        progress: Told of what has been done.
    """

    def __init__(self, guard: asyncpg.Connection, ledger: Ledger, run: Run, progress: Progress) -> None:
        self._progress = progress
        self._guard = guard
        self._ledger = ledger
        self._frame = Frame(ledger, run.options)
        self._run = run
        self._options, self._step, self._connect, self._hooks, self._retries = run
        self._failures: list[DbInitError] = []
        self._begun: dict[str, int] = {}  # the rows of what runs step by step, by file
        self._done: set[int] = set()
        self._running: set[int] = set()
        self._number = ledger.last

    async def run(self, tasks: Sequence[Task], jobs: int) -> None:
        """Run all of them, `jobs` at a time. When one fails, those that run are let end, and no more are begun.

        Raises:
            OvertakenError: The history has to be read again.
            DbInitError: A step failed; the error speaks of all that did.
        """
        try:
            await self._lock()
            self._progress.begin()
            if self._hooks.first:
                async with self._connect() as connection:
                    await self._hooks.run_alone(Hook.BEFORE_ALL, connection)
            plan = Plan(tuple(task.step for task in tasks))
            changed = anyio.Condition()
            async with stopping_with(self._guard), anyio.create_task_group() as workers:
                for _ in range(min(jobs, len(tasks))):
                    workers.start_soon(self._work, plan, tasks, changed)
        finally:
            await rollback(self._guard)
        if self._failures:
            # Others may have lost their connections where one failed: that one would fail again.
            first, *others = sorted(self._failures, key=lambda error: isinstance(error, ConnectionLostError))
            first.message = "\n\nFailed as well:\n".join([first.message, *(other.message for other in others)])
            raise first

    async def _lock(self) -> None:
        try:
            if not self._ledger.exists:
                await self._guard.execute(self._frame.opening() + "COMMIT")
                self._ledger = await read_ledger(self._guard, self._frame.home)
                self._frame = Frame(self._ledger, self._options)
            await self._guard.execute(self._frame.opening())
        except asyncpg.PostgresError as error:
            await rollback(self._guard)
            raise_if_overtaken(error, self._frame)
            raise
        ledger = await read_ledger(self._guard, self._frame.home)
        if [row.stand for row in ledger.rows] != [row.stand for row in self._ledger.rows]:
            raise OvertakenError
        await hold_for(self._guard, "a run of migrations")

    async def _work(self, plan: Plan, tasks: Sequence[Task], changed: anyio.Condition) -> None:
        """Take what is ready, until nothing is left that could become so."""
        try:
            connect, limit = self._connect, self._options.lock_limit
            async with connect() as connection, watching(connect, limit) as watch:
                while (place := await self._next(plan, changed)) is not None:
                    self._hooks.last = tasks[place] if len(self._done) == len(tasks) - 1 else None
                    try:
                        await self._take(connection, tasks[place], len(tasks), watch)
                        self._done.add(place)
                    except BaseException:
                        self._progress.failed.append(tasks[place])
                        raise
                    finally:
                        self._running.discard(place)
                        await _tell(changed)
        except DbInitError as error:
            self._failures.append(error)
        except asyncpg.PostgresError as error:
            self._failures.append(statement_error(error, title="PostgreSQL refused what dbinit does for its history:"))
        finally:
            await _tell(changed)

    async def _next(self, plan: Plan, changed: anyio.Condition) -> int | None:
        """Return the next step to run, when there is one; None if there will be none any more."""
        async with changed:
            while not self._has_failed and len(self._done) + len(self._running) < len(plan.steps):
                place = next(plan.ready(self._done, self._running), None)
                if place is not None and not self._must_wait(len(plan.steps)):
                    self._running.add(place)
                    return place
                await changed.wait()
        return None

    def _must_wait(self, steps: int) -> bool:
        """Whether the next step is the last one, whose transaction ends with `after_all`, while others still run."""
        is_last = len(self._done) + len(self._running) == steps - 1
        return is_last and bool(self._running) and self._hooks.has(Hook.AFTER_ALL)

    @property
    def _has_failed(self) -> bool:
        """Whether no more is to be begun: a step has failed, or a connection for them."""
        return bool(self._progress.failed or self._failures)

    async def _take(self, connection: asyncpg.Connection, task: Task, of: int, watch: Watch) -> None:
        """Run a step; one that gets into another's way is run again, while the lock is held on."""
        self._step(Phase.APPLYING, file=task.path, migration=len(self._progress.ran) + 1, migrations=of, statements=0)
        ran: Ran | None = None
        while ran is None:
            try:
                ran = await (self._step_by_step if task.stepwise else self._at_once)(connection, task, watch)
            except DbInitError as error:
                await rollback(connection)
                await self._retries.again(error, task.path, connection, watch)
                await connection.execute(RESET)
        self._progress.ran.append(ran)
        log_ran(ran)

    async def _at_once(self, connection: asyncpg.Connection, task: Task, watch: Watch) -> Ran:
        mark = lock_key(f"{self._frame.home.schema}:{task.path}")
        began = time.monotonic()
        try:
            async with transaction(connection, self._frame.home.role, reset=True):
                # A lock that only tells which session this is, to those who look from beside.
                marked = f"SELECT pg_catalog.pg_try_advisory_xact_lock_shared('{mark}'::bigint)"
                marked += f" WHERE {works_beside(self._frame.key)}"
                if await connection.execute(note(task.path) + terms_of(self._options, task) + marked) != "SELECT 1":
                    raise asyncpg.ConnectionDoesNotExistError(OVERTAKEN)
                watch.begin(holding(mark), lock_limit_of(self._options, task))
                await self._hooks.run(Hook.BEFORE_EACH, connection, task)
                count = await run_script(connection, task.found, lambda _: None) if task.found else 0
                await run_behind(connection, self._run, task)
                ran = Ran(task, count, time.monotonic() - began)
                await execute_for(connection, CHECK_DEFERRED, task.path)
                await connection.execute(self._frame.record(ran, self._next_number(task)))
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            raise statement_error(error, title=f"PostgreSQL refused to commit {task.path}:") from None
        return ran

    async def _step_by_step(self, connection: asyncpg.Connection, task: Task, watch: Watch) -> Ran:
        async with self._connect() as beside:
            found = (script_of(task), *self._hooks.scripts(Hook.BEFORE_EACH, task))
            session = await has_session(connection, beside, found, self._frame.home.role)
            stage = Stage(connection, beside, session, watch)
            row = await self._unfinished_row(task, stage)
            # The statements of several scripts would be mixed up.
            return await run_steps(task, row, stage, self._run._replace(step=unheard))

    async def _unfinished_row(self, task: Task, stage: Stage) -> Recorded:
        connection = stage.connection
        known = task.step.recorded
        if known and known.id and known.state in {State.UNFINISHED, State.REVERTING}:
            self._begun[task.path] = known.id
            self._progress.tried[known.id] = task
        if task.path not in self._begun:
            number = self._next_number(task)
            # Where there is a session, what the hook sets is meant for the script.
            async with transaction(connection, self._frame.home.role, reset=not stage.session):
                await connection.execute(insertion(self._frame.home, number, Entry(task.step, begun_state(task))))
                await self._hooks.run(Hook.BEFORE_EACH, connection, task)
            self._begun[task.path] = number
        # Read each time, as it comes further with each attempt.
        ledger = await read_ledger(connection, self._frame.home)
        return next(row for row in ledger.rows if row.id == self._begun[task.path])

    def _next_number(self, task: Task) -> int:
        self._number += 1
        self._progress.tried[self._number] = task
        return self._number


async def _tell(changed: anyio.Condition) -> None:
    async with changed:
        changed.notify_all()
