"""Applies a script under the lock, after a second look.

Usually the lock, the statements and the history row are all in one transaction. A script that controls its own
transactions is run step by step instead; then the lock is held by a transaction on a connection beside.
"""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import NamedTuple

import asyncpg

from . import history
from .activity import holding, process
from .backoff import is_connection_loss
from .durations import format_duration
from .errors import DbInitError, FileChangedError
from .executor import run_script
from .failure import statement_error
from .lock import hold_for, lock_key, locked_transaction, working_beside
from .lookup import look, settle
from .model import Applied, Outcome, Script
from .notices import passing_on
from .planning import Decision
from .pooling import has_session
from .readiness import Phase, Step
from .retrying import Retries
from .roles import acting_as
from .session import session_of
from .settings import InitOptions
from .sql.context import Context
from .sql.survey import Survey, survey
from .stepwise import Journey
from .threads import in_thread
from .timeouts import LockLimit, limits, lock_limit, notice_end
from .transaction import RESET, rollback, stopping_with, transaction
from .watching import Connect, Watch, watching
from .wording import counted

__all__ = ["Application", "apply"]

logger = logging.getLogger("dbinit")


class Application(NamedTuple):
    """How applying a script ended: what came of it, how many statements were run, and in how many seconds."""

    outcome: Outcome
    statements: int = 0
    seconds: float = 0.0


async def apply(
    connection: asyncpg.Connection,
    script: Script,
    options: InitOptions,
    step: Step,
    connect: Connect,
    on_try: Callable[[Application], None],
) -> Application:
    """Apply a script that, at a first look, has not been applied.

    Args:
        connection: A connection outside of any transaction.
        script: What to apply.
        options: How.
        step: Told of the waiting, and of each statement.
        connect: Makes another connection, which a script that controls its own transactions needs for the lock.
        on_try: Told of what is to be committed next: should the connection be lost, the history tells whether it was.

    Raises:
        DbInitError: It could not be applied; everything was rolled back, unless the error says otherwise.
    """
    # Before the lock, so that a file that cannot be read makes nobody wait.
    context = Context(options.variables, session_of(connection))
    found = await in_thread(survey, script, context)

    async with watching(connect, options.lock_limit) as watch:
        surroundings = _Surroundings(step, watch, Retries(options.lock_retries), on_try)
        work = _Work(connection, found, options, surroundings)
        done: Application | None = None
        while done is None:
            try:
                done = await (work.apply_whole() if found.stepwise is None else work.apply_stepwise(connect))
            except (DbInitError, asyncpg.PostgresError) as error:
                await work.try_again(_reported(error))
    _conclude(done, script, options.sentinel)
    return done


def _reported(error: DbInitError | asyncpg.PostgresError) -> DbInitError:
    """Return the report of an error; one that means a lost connection is raised as it is."""
    if isinstance(error, DbInitError):
        return error
    if is_connection_loss(error):
        raise error
    return statement_error(error, title="PostgreSQL refused the commit, or what dbinit does for its history:")


class _Surroundings(NamedTuple):
    step: Step
    watch: Watch
    retries: Retries
    on_try: Callable[[Application], None]


class _Work:
    """What is done about a script, in one or more tries."""

    def __init__(
        self, connection: asyncpg.Connection, found: Survey, options: InitOptions, surroundings: _Surroundings
    ) -> None:
        self._connection = connection
        self._found = found
        self._script = found.script
        self._options = options
        self._step, self._watch, self._retries, self._on_try = surroundings
        self._key = lock_key(options.history_schema)

    async def apply_whole(self) -> Application:
        """Run all of the script and record it, in the transaction that holds the lock."""
        wait, limit = self._options.lock_wait, lock_limit(self._options.lock_limit)
        with ExitStack() as at_commit:
            async with locked_transaction(self._connection, self._key, wait, self._step, also=limit, reset=True):
                done = await self._apply()
                self._on_try(done)
                at_commit.enter_context(passing_on(self._connection, self._script.path))
        return done

    async def _apply(self) -> Application:
        if role := acting_as(self._options.home.role):
            await self._connection.execute(role)
        decision, _, present = await look(self._connection, self._script, self._options)
        if outcome := settle(decision, self._script):
            return Application(outcome)
        if decision is Decision.RESUME:
            raise FileChangedError(
                f"{self._script.path} was interrupted on the way, and controls its transactions no more",
                advice="restore the file and start again; or finish it by hand, and delete its row from dbinit_history",
            )
        if not present.table:
            await history.create(self._connection, self._options.home, schema_exists=present.schema)
        done = Application(Outcome.ADOPTED) if decision is Decision.ADOPT else await self._run(decision)
        await self._record(*done)
        return done

    async def _run(self, decision: Decision) -> Application:
        _announce(decision, self._found)
        self._step(Phase.APPLYING, statements=self._found.statements)
        if self._options.statement_timeout:
            await self._connection.execute(limits(self._options.statement_timeout, None))
        self._watch.begin(holding(self._key), self._options.lock_limit)
        began = time.monotonic()
        count = await run_script(self._connection, self._found, lambda n: self._step(Phase.APPLYING, statement=n))
        return Application(Outcome.APPLIED, count, time.monotonic() - began)

    async def apply_stepwise(self, connect: Connect) -> Application:
        """Run a script that controls its own transactions, recording how far it has come after each step.

        A connection beside holds the lock meanwhile.
        """
        key, wait = self._key, self._options.lock_wait
        async with connect() as guard:
            session = await has_session(self._connection, guard, [self._found], self._options.home.role)
            async with locked_transaction(guard, key, wait, self._step), stopping_with(guard):
                await hold_for(guard, self._script.path)
                self._on_try(Application(Outcome.APPLIED, self._found.statements))
                begun = await self._begin()
                if isinstance(begun, Outcome):
                    return Application(begun)
                return await self._go_on(guard, begun, session=session)

    async def _begin(self) -> Decision | Outcome:
        """Record that the script is begun, unless it is; return what to do, or what came of it already."""
        connection, home = self._connection, self._options.home
        async with transaction(connection, home.role):
            decision, _, present = await look(connection, self._script, self._options)
            if outcome := settle(decision, self._script):
                return outcome
            if not present.table:
                await history.create(connection, home, schema_exists=present.schema)
            if decision is not Decision.RESUME:
                outcome = Outcome.ADOPTED if decision is Decision.ADOPT else Outcome.UNFINISHED
                await self._record(outcome)
                if outcome is Outcome.ADOPTED:
                    return outcome
        return decision

    async def _go_on(self, guard: asyncpg.Connection, decision: Decision, *, session: bool) -> Application:
        connection, options = self._connection, self._options
        rows = await history.read(connection, options.home) or []
        row = next(row for row in reversed(rows) if row.script == self._script.name)
        _announce_stepwise(decision, self._found, row)
        self._step(Phase.APPLYING, statements=self._found.statements)
        limit = options.lock_limit if session else None
        if session:
            terms = limits(options.statement_timeout, limit, local=False)
            await connection.execute(f"SELECT {notice_end(local=False)};\n{terms}")
        self._watch.begin(process(connection.get_server_pid()), limit)
        began = time.monotonic()
        progress = history.progress_of(connection, options.home, row, self._script.checksum)
        own_limit = LockLimit(limit) if session else None
        journey = Journey(connection, self._found, progress, self._step, guard, own_limit)
        try:
            async with working_beside(connection, self._key) if session else nullcontext():
                count = await journey.go()
        finally:
            if progress.statements > row.statements:
                self._retries.go_on(self._script.path)
        return Application(Outcome.APPLIED, count, time.monotonic() - began)

    async def _record(self, outcome: Outcome, statements: int = 0, seconds: float = 0.0) -> None:
        entry = history.Entry(self._script.name, self._script.checksum, outcome, statements, seconds)
        await history.record(self._connection, self._options.home, entry)

    async def try_again(self, error: DbInitError) -> None:
        """Undo what is left of a failed try, and pause before the next; raise the error if there is none."""
        if not self._connection.is_closed() and self._connection.is_in_transaction():
            await rollback(self._connection)
        await self._retries.again(error, self._script.path, self._connection, self._watch)
        await self._connection.execute(RESET)


def _announce(decision: Decision, found: Survey) -> None:
    if decision is Decision.RERUN:
        logger.info("%s was edited since it was applied; running it again", found.script.path)
    logger.info("Running %s (%s)...", found.script.path, counted(found.statements, "statement"))


def _announce_stepwise(decision: Decision, found: Survey, row: Applied) -> None:
    if decision is Decision.RESUME:
        logger.info("%s was interrupted; going on behind statement %d", found.script.path, row.statements)
    else:
        _announce(decision, found)
    if found.stepwise:
        words = " ".join(found.stepwise.text.split()[:4])
        logger.info(
            "Statement by statement, not in one transaction, because of line %d: %s", found.stepwise.place.line, words
        )


def _conclude(done: Application, script: Script, sentinel: str) -> None:
    if done.outcome is Outcome.ADOPTED:
        logger.info("Table %s was there without a history: recorded %s as applied", sentinel, script.path)
        logger.info("Database already initialized, skipping migration")
    elif done.outcome is Outcome.APPLIED:
        statements = counted(done.statements, "statement")
        logger.info("Applied %s: %s in %s", script.path, statements, format_duration(done.seconds))
