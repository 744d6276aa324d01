"""Runs what is hooked into a run of migrations: files of SQL in the folder, and callables."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import asyncpg

from dbinit.errors import DbInitError
from dbinit.executor import run_script, run_statement
from dbinit.migrations.model import Hook
from dbinit.migrations.plan import Action
from dbinit.migrations.preparation import Task
from dbinit.patience import unlimited
from dbinit.quoting import quote_literal
from dbinit.sql.facts import sets_session
from dbinit.sql.reader import Reader
from dbinit.sql.survey import Survey
from dbinit.transaction import transaction

__all__ = ["Callback", "HookCall", "HookError", "HookRunner", "Hooks"]

logger = logging.getLogger("dbinit")

_APPLYING = (Action.APPLY, Action.RESUME)


@dataclass(frozen=True)
class HookCall:
    """What a hook is called with.

    Attributes:
        hook: Which one it is.
        connection: Where the migrations are run; inside the transaction that `Hooks` tells of, unseen by others.
        path: The migration's file, for `on_error` of the one that failed; empty where it is about the whole run.
        version: The migration's version as it was written; empty where it has none.
        name: The migration's name.
        error: Why the run failed, for `on_error`.
    """

    hook: Hook
    connection: asyncpg.Connection
    path: str = ""
    version: str = ""
    name: str = ""
    error: Exception | None = None


Callback = Callable[[HookCall], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Callables that run with the migrations, behind the files of the same names in the folder.

    Attributes:
        before_all: Before the first migration, if there is any to run, in its transaction; in one of its own where the
            migration has none, or several run at a time.
        before_each: Before each, in its transaction; where the migration has none, in the one that records that it has
            been begun, and so not again where it is resumed.
        after_each: Behind each, likewise; where the migration has none, in the one that records its end.
        after_all: Behind the last one, likewise: neither is recorded as done without the other. Where several run at a
            time, the last one waits for the others.
        on_error: When something has failed, and was rolled back; in a transaction of its own. Not in a rehearsal.
    """

    before_all: Callback | None = None
    before_each: Callback | None = None
    after_each: Callback | None = None
    after_all: Callback | None = None
    on_error: Callback | None = None


class HookError(DbInitError):
    """A hook that is a callable has raised."""


class HookRunner:
    """The hooks of a run.

    Args:
        scripts: The files of SQL, by hook.
        hooks: The callables.
        role: The role that hooks act as which have a transaction of their own; empty for whoever logged in.
        whole: Whether `before_all` is run, too. Default: no.
    """

    def __init__(
        self, scripts: Mapping[Hook, Sequence[Survey]], hooks: Hooks, role: str, *, whole: bool = False
    ) -> None:
        self._scripts = scripts
        self._role = role
        self._whole = self._is_whole = whole
        self.opened = False
        """Whether `before_all` was run in a transaction of its own, which stands."""
        self.last: Task | None = None
        """The migration whose transaction `after_all` is part of; None where it is not run, or not known yet."""
        self._callbacks = {Hook(field.name): getattr(hooks, field.name) for field in fields(hooks)}

    def beside(self, task: Task) -> bool:
        """Tell whether anything runs with a migration, which is the next one."""
        return self.first or self.ends(task) or any(map(self.has, (Hook.BEFORE_EACH, Hook.AFTER_EACH)))

    @property
    def first(self) -> bool:
        """Whether `before_all` is still to be run."""
        return self._whole and self.has(Hook.BEFORE_ALL)

    def ends(self, task: Task) -> bool:
        """Tell whether `after_all` is to be run behind a migration."""
        return task is self.last and self.has(Hook.AFTER_ALL)

    def rolled_back(self) -> None:
        """Take note that `before_all`, if it was run, was rolled back with the first migration."""
        self._whole = self._is_whole and not self.opened

    def has(self, hook: Hook) -> bool:
        """Tell whether anything is hooked in there."""
        return bool(self._scripts.get(hook) or self._callbacks[hook])

    def scripts(self, hook: Hook, task: Task) -> Sequence[Survey]:
        """Return the files that are run there for a migration."""
        return self._scripts.get(hook, ()) if _is_for(task) else ()

    async def run_alone(
        self, hook: Hook, connection: asyncpg.Connection, task: Task | None = None, error: DbInitError | None = None
    ) -> None:
        """Do what `run` does in a transaction of its own, in which settings tell files of the error, if any.

        What is set in it ends with it.
        """
        if self.has(hook):
            async with transaction(connection, self._role, reset=True):
                if error:
                    await connection.execute(_telling(error, task))
                await self.run(hook, connection, task, error)
            self.opened = self.opened or hook is Hook.BEFORE_ALL

    async def set_again(self, hook: Hook, connection: asyncpg.Connection, task: Task) -> None:
        """Set what the files of a hook, which were run before, have set for the session: it may be another one now.

        Raises:
            StatementError: PostgreSQL refused it.
        """
        for script in self.scripts(hook, task):
            for number, statement in enumerate(Reader(script.script, script.context, lambda _: None), start=1):
                if sets_session(statement.text):
                    await run_statement(connection, statement, number, script.statements)

    async def run(
        self, hook: Hook, connection: asyncpg.Connection, task: Task | None = None, error: Exception | None = None
    ) -> None:
        """Run what is hooked in there, inside the transaction that is open; hooks are for what is applied.

        Raises:
            StatementError: PostgreSQL refused a statement of a file.
            HookError: A callable has raised.
        """
        if task and not _is_for(task):
            return
        self._whole = self._whole and hook is not Hook.BEFORE_ALL
        for script in self._scripts.get(hook, ()):
            await run_script(connection, script, lambda _: None)
        callback = self._callbacks[hook]
        if callback is None:
            return
        version = str(task.step.version) if task and task.step.version else ""
        name = task.step.name if task else ""
        try:
            with unlimited(connection):
                await callback(HookCall(hook, connection, task.path if task else "", version, name, error))
        except DbInitError:
            raise
        except Exception as failure:
            if connection.is_closed() and isinstance(failure, asyncpg.PostgresError | asyncpg.InterfaceError | OSError):
                raise
            where = f" for {task.path}" if task else ""
            message = f"the hook {hook.value}{where} failed: {type(failure).__name__}: {failure}"
            raise HookError(message, advice="mend the hook; what it was called for is rolled back") from failure


def _telling(error: DbInitError, task: Task | None) -> str:
    """Return what sets, until the transaction ends, what a file may want to know of an error, as the log has it."""
    known = {
        "dbinit.sqlstate": getattr(error, "sqlstate", ""),
        "dbinit.message": error.message,
        "dbinit.migration": task.path if task else "",
    }
    calls = (f"pg_catalog.set_config('{name}', {quote_literal(value)}, true)" for name, value in known.items())
    return f"SELECT {', '.join(calls)}"


def _is_for(task: Task) -> bool:
    return task.step.action in _APPLYING
