"""The SQL around the script of a step: begin, lock, fence and limits before it, record and commit behind it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import asyncpg

from dbinit.lock import LOCKED, lock_key, lock_or_fail
from dbinit.migrations.history import State
from dbinit.migrations.plan import Action
from dbinit.migrations.preparation import Task
from dbinit.readiness import Step
from dbinit.settings import InitOptions

from .hooks import HookRunner
from .ledger import FENCE, TABLE, Entry, Ledger, creation, fence, insertion

__all__ = ["RESET", "Frame", "OvertakenError", "Ran", "Run", "begun_state", "limits", "raise_if_overtaken"]

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED;\n"
# What a script has set must not reach the next one, be that one rolled back or not.
RESET = "BEGIN; RESET SESSION AUTHORIZATION; RESET ALL; COMMIT;\n"
"""Makes the session what it was when it began."""

_DONE = {
    Action.APPLY: State.APPLIED,
    Action.RESUME: State.APPLIED,
    Action.REVERT: State.REVERTED,
    Action.RECORD: State.BASELINE,
}


class OvertakenError(Exception):
    """Another starter holds the lock, or has changed the history: it has to be read again."""


class Run(NamedTuple):
    """What a run of migrations works with.

    Attributes:
        options: How to run.
        step: Told of each step.
        connect: Makes another connection.
        hooks: What runs before and behind each step.
    """

    options: InitOptions
    step: Step
    connect: Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]
    hooks: HookRunner


class Ran(NamedTuple):
    """What was done to one migration: how many statements were run, and in how many seconds."""

    task: Task
    statements: int
    seconds: float


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
        self.schema = ledger.schema
        self._ledger = ledger
        self._options = options

    def opening(self, task: Task | None = None) -> str:
        """Return what begins a transaction that holds the lock, with the history as it was read.

        The history's table is created with the first step. Without a task, no limits are set.
        """
        exists = self._ledger.exists or self.last > 0
        guard = fence(self.schema, self.last) if exists else creation(self._ledger)
        return _BEGIN + lock_or_fail(self.key) + guard + (limits(self._options, task, "SET LOCAL") if task else "")

    def record(self, ran: Ran, number: int) -> str:
        """Return what records a step as done, as row `number`."""
        step = ran.task.step
        state = State.APPLIED if step.action is Action.RECORD and step.recorded else _DONE[step.action]
        return insertion(self.schema, number, Entry(step, state, ran.statements, ran.seconds))

    def closing(self, ran: Ran) -> str:
        """Return what records a step and commits it."""
        return self.record(ran, self.last + 1) + "COMMIT; " + RESET


def begun_state(task: Task) -> State:
    """Return the state of a step that has been begun."""
    return State.REVERTING if task.step.action is Action.REVERT else State.UNFINISHED


def limits(options: InitOptions, task: Task, command: str) -> str:
    """Return what sets the time-outs of a script's statements; `command` is `SET` or `SET LOCAL`."""
    wanted = {
        "statement_timeout": options.statement_timeout,
        "lock_timeout": task.step.part.lock_timeout or options.lock_timeout,
    }
    return "".join(
        f"{command} {name} = {max(round(limit.total_seconds() * 1000), 1)};\n"
        for name, limit in wanted.items()
        if limit is not None
    )


def raise_if_overtaken(error: asyncpg.PostgresError) -> None:
    """Raise `OvertakenError` where that is why `opening` failed."""
    message = getattr(error, "message", None) or ""
    created = error.sqlstate in {"42P06", "42P07"} and TABLE in message  # by another starter, meanwhile
    if LOCKED in message or FENCE in message or created:
        raise OvertakenError from None
