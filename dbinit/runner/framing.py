"""What the ways to run the steps of a plan share: the SQL around a script, and how far they have come.

Begin, lock, fence and limits stand before a script, record and commit behind it.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import NamedTuple

import asyncpg

from dbinit.durations import format_duration
from dbinit.errors import NOTHING_APPLIED, DbInitError
from dbinit.failure import ROLLED_BACK
from dbinit.lock import LOCKED, lock_key, lock_or_fail, raise_if_unsupported
from dbinit.migrations.history import State
from dbinit.migrations.model import Hook
from dbinit.migrations.plan import Action
from dbinit.migrations.preparation import Task
from dbinit.readiness import Step
from dbinit.retrying import Retries
from dbinit.roles import acting_as
from dbinit.settings import InitOptions
from dbinit.timeouts import limits, notice_end
from dbinit.transaction import RESET, RESET_SETTINGS, rollback
from dbinit.wording import counted

from .adoption import UNUSUAL, fresh_or_fail
from .hooks import HookRunner
from .ledger import FENCE, Entry, Ledger, creation, fence, insertion

__all__ = [
    "CHECK_DEFERRED",
    "RESET",
    "RESET_SETTINGS",
    "Frame",
    "OvertakenError",
    "Progress",
    "Ran",
    "Run",
    "begin",
    "begun_state",
    "done_state",
    "limits_of",
    "lock_limit_of",
    "log_ran",
    "outcome_of",
    "raise_if_overtaken",
    "run_behind",
    "run_first",
    "terms_of",
]

logger = logging.getLogger("dbinit")

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED;\n"

CHECK_DEFERRED = "SET CONSTRAINTS ALL IMMEDIATE"
"""Does at the end of a script what is put off until the commit, so that what is said or refused there is about it."""

_DONE = {
    Action.APPLY: State.APPLIED,
    Action.RESUME: State.APPLIED,
    Action.REVERT: State.REVERTED,
    Action.RECORD: State.BASELINE,
}
_VERBS = {Action.APPLY: "Applied", Action.RESUME: "Applied", Action.REVERT: "Took back", Action.RECORD: "Recorded"}


class OvertakenError(Exception):
    """Another starter holds the lock or has changed the history, or more has to be looked at: it is read again.

    Its cause is PostgreSQL's error where the history could not be created, as it is there already.
    """


class Run(NamedTuple):
    """What a run of migrations works with.

    Attributes:
        options: How to run.
        step: Told of each step.
        connect: Makes another connection.
        hooks: What runs before and behind each step.
        retries: How often each step was tried.
    """

    options: InitOptions
    step: Step
    connect: Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]
    hooks: HookRunner
    retries: Retries


class Ran(NamedTuple):
    """What was done to one migration: how many statements were run, and in how many seconds."""

    task: Task
    statements: int
    seconds: float


class Progress:
    """How far a run has come.

    Args:
        begin: Called once it is certain that a step is being run; with each step, maybe.

    Attributes:
        begin: As above.
        ran: What has been done, and recorded.
        tried: By number, the rows that were to be added to the history, or to be brought to an end in it.
        failed: What has failed.
        undone: What was done, and rolled back with what failed.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        self.begin = begin
        self.ran: list[Ran] = []
        self.tried: dict[int, Task] = {}
        self.failed: list[Task] = []
        self.undone: list[Task] = []


class Frame:
    """What is put around the scripts of a run, which knows how far the history has come.

    Args:
        ledger: The history.
        options: How to run.
    """

    def __init__(self, ledger: Ledger, options: InitOptions) -> None:
        self.last = ledger.last
        """The number of the history's last row."""
        self.key = lock_key(options.history_schema)
        """The key of the lock."""
        self.home = ledger.home
        self._ledger = ledger
        self._options = options

    def opening(self, task: Task | None = None) -> str:
        """Return what begins a transaction that holds the lock, with the history as it was read.

        The history's table is created with the first step. Without a task, no limits are set.
        """
        guard = self.creation() or fence(self.home, self.last)
        return (
            _BEGIN
            + acting_as(self.home.role)
            + lock_or_fail(self.key)
            + (limits_of(self._options, task) if task else "")
            + guard
        )

    def creation(self) -> str:
        """Return what creates the history's table, and its schema, as long as that is to be done."""
        return "" if self.last > 0 or self._ledger.exists else self.guard() + creation(self._ledger)

    def guard(self) -> str:
        """Return what fails where a history cannot simply be begun, unless that has been looked at already."""
        return "" if self._ledger.looked else fresh_or_fail(self.home.schema, self._options.sentinel)

    def record(self, ran: Ran, number: int) -> str:
        """Return what records a step as done, as row `number`."""
        return self._row(ran.task, number, ran.statements, ran.seconds)

    def closing(self, ran: Ran) -> str:
        """Return what records a step and commits it."""
        return self.record(ran, self.last + 1) + "COMMIT; " + RESET

    def ending(self, task: Task, statements: int) -> str:
        """Return what stands in the same message behind a whole script, and records and commits it."""
        return self._row(task, self.last + 1, statements, None) + "COMMIT; " + RESET

    def _row(self, task: Task, number: int, statements: int, seconds: float | None) -> str:
        return insertion(self.home, number, Entry(task.step, done_state(task), statements, seconds))


async def begin(connection: asyncpg.Connection, frame: Frame) -> None:
    """Begin a transaction that holds the lock, with the history as it was read.

    Raises:
        OvertakenError: The history has to be read again.
        asyncpg.PostgresError: The history's table cannot be created.
    """
    try:
        await connection.execute(frame.opening())
    except asyncpg.PostgresError as error:
        await rollback(connection)
        raise_if_overtaken(error, frame)
        raise


async def run_first(connection: asyncpg.Connection, run: Run, task: Task) -> None:
    """Run `before_all`, if that is still to be done, in the transaction of the first step; its settings end with it."""
    if run.hooks.first:
        await run.hooks.run(Hook.BEFORE_ALL, connection)
        role = acting_as(run.options.home.role)
        await connection.execute(RESET_SETTINGS + role + terms_of(run.options, task))


async def run_behind(connection: asyncpg.Connection, run: Run, task: Task) -> None:
    """Run what is to be run behind a step, in its transaction; `after_all` meets nothing that was set there."""
    await run.hooks.run(Hook.AFTER_EACH, connection, task)
    if run.hooks.ends(task):
        role = acting_as(run.options.home.role)
        await connection.execute(RESET_SETTINGS + role + terms_of(run.options, task))
        await run.hooks.run(Hook.AFTER_ALL, connection)


def log_ran(ran: Ran, *, kept: bool = True) -> None:
    """Log what was done, and whether it was only rehearsed."""
    verb, path = _VERBS[ran.task.step.action] if kept else "Rehearsed", ran.task.path
    if ran.task.step.action is Action.RECORD:
        logger.info("%s %s", verb, path)
    else:
        logger.info("%s %s: %s in %s", verb, path, counted(ran.statements, "statement"), format_duration(ran.seconds))


def outcome_of(error: DbInitError, tasks: Sequence[Task], progress: Progress, before: Sequence[Ran]) -> str:
    """Return what was done before a run that has failed, and in it, what failed, and what was not begun."""
    done = [found.task for found in (*before, *progress.ran)]
    begun = [*done, *progress.failed, *progress.undone]
    parts = {
        "Done before, and kept": done,
        "Rolled back": progress.undone,
        "Failed": progress.failed,
        "Not started": [task for task in tasks if task not in begun],
    }
    lines = [f"{what}: {', '.join(map(_deed, found))}." for what, found in parts.items() if found]
    if not done or error.outcome not in {ROLLED_BACK, NOTHING_APPLIED}:
        return "\n".join([error.outcome, *lines])
    return "\n".join(["What failed was rolled back.", *lines] if progress.failed else lines)


def _deed(task: Task) -> str:
    return f"{task.path} (to be taken back)" if task.step.action is Action.REVERT else task.path


def done_state(task: Task) -> State:
    """Return the state of a step that is done."""
    step = task.step
    return State.APPLIED if step.action is Action.RECORD and step.recorded else _DONE[step.action]


def begun_state(task: Task) -> State:
    """Return the state of a step that has been begun."""
    return State.REVERTING if task.step.action is Action.REVERT else State.UNFINISHED


def limits_of(options: InitOptions, task: Task, *, local: bool = True) -> str:
    """Return what sets the time-outs of a script's statements: for the transaction, or for the session."""
    return limits(options.statement_timeout, lock_limit_of(options, task), local=local)


def lock_limit_of(options: InitOptions, task: Task) -> timedelta | None:
    """Return how long a script's statements may wait for a lock; None where the server or the URL says that."""
    wanted = task.step.part.lock_timeout
    return options.lock_limit if wanted is None else wanted or None


def terms_of(options: InitOptions, task: Task, *, local: bool = True) -> str:
    """Return what `limits_of` does, and has the server notice the client's end, where the lock is held elsewhere."""
    return f"SELECT {notice_end(local=local)};\n" + limits_of(options, task, local=local)


def raise_if_overtaken(error: asyncpg.PostgresError, frame: Frame) -> None:
    """Raise `OvertakenError` where that is why the `opening` of a frame, sent alone, failed.

    Raises:
        UnsupportedDatabaseError: The database only pretends to have locks.
    """
    raise_if_unsupported(error)
    message = getattr(error, "message", None) or ""
    created = error.sqlstate in {"42P06", "42P07"}  # the schema or the table, by another starter meanwhile
    # From the history's table; reading that tells by whom. One that is to be created cannot be read.
    is_kept_away = error.sqlstate == "55P03" and not frame.creation()
    if LOCKED in message or FENCE in message or UNUSUAL in message or created or is_kept_away:
        raise OvertakenError from (error if created else None)
