"""Applies a script under the lock, after a second look.

Usually the lock, the statements and the history row are all in one transaction. A script that controls its own
transactions is run step by step instead; then the lock is held by a transaction on a connection beside.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import asyncpg

from . import history
from .backoff import is_connection_loss
from .durations import format_duration
from .errors import FileChangedError
from .executor import listening, log_notices, run_script
from .failure import statement_error
from .lock import lock_key, locked_transaction
from .lookup import look, settle
from .model import Applied, Outcome, Script
from .planning import Decision
from .pooling import has_session
from .readiness import Phase, Step
from .roles import acting_as
from .session import session_of
from .settings import InitOptions
from .sql.context import Context
from .sql.survey import Survey, survey
from .stepwise import Journey
from .threads import in_thread
from .transaction import stopping_with, transaction
from .wording import counted

__all__ = ["Application", "apply"]

logger = logging.getLogger("dbinit")


class Application(NamedTuple):
    """How applying a script ended: what came of it, how many statements were run, and in how many seconds."""

    outcome: Outcome
    statements: int = 0
    seconds: float = 0.0


Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]


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

    def on_wait() -> None:
        logger.info("Another starter holds the migration lock; waiting for it to finish...")
        step(Phase.WAITING)

    key = lock_key(options.history_schema)
    try:
        if found.stepwise is None:
            async with listening(connection) as notices:
                async with locked_transaction(connection, key, options.lock_wait, on_wait, reset=True):
                    done = await _apply_whole(connection, found, options, step)
                    on_try(done)
                    notices.clear()  # they are logged already; what is said from here on is said at the commit
                log_notices(notices, script.path)
        else:
            async with connect() as guard:
                session = await has_session(connection, guard, found, options.home.role)
                async with locked_transaction(guard, key, options.lock_wait, on_wait), stopping_with(guard):
                    # The lock is idle while the work is done elsewhere, for as long as that takes.
                    await guard.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                    on_try(Application(Outcome.APPLIED, found.statements))
                    done = await _apply_stepwise(connection, guard, found, options, step, session=session)
    except asyncpg.PostgresError as error:
        if is_connection_loss(error):
            raise
        title = "PostgreSQL refused the commit, or what dbinit does for its history:"
        raise statement_error(error, title=title) from None
    _conclude(done, script, options.sentinel)
    return done


async def _apply_whole(connection: asyncpg.Connection, found: Survey, options: InitOptions, step: Step) -> Application:
    """Run all of the script and record it, in the transaction that holds the lock."""
    script = found.script
    if role := acting_as(options.home.role):
        await connection.execute(role)
    decision, _, present = await look(connection, script, options)
    if outcome := settle(decision, script):
        return Application(outcome)
    if decision is Decision.RESUME:
        raise FileChangedError(
            f"{script.path} was interrupted on the way, and controls its transactions no more",
            advice="restore the file and start again; or finish it by hand, and delete its row from dbinit_history",
        )
    if not present.table:
        await history.create(connection, options.home, schema_exists=present.schema)
    if decision is Decision.ADOPT:
        done = Application(Outcome.ADOPTED)
    else:
        _announce(decision, found)
        step(Phase.APPLYING, statements=found.statements)
        await _set_limits(connection, options, "SET LOCAL")
        began = time.monotonic()
        count = await run_script(connection, found, lambda n: step(Phase.APPLYING, statement=n))
        done = Application(Outcome.APPLIED, count, time.monotonic() - began)
    await history.record(connection, options.home, history.Entry(script.name, script.checksum, *done))
    return done


async def _apply_stepwise(
    connection: asyncpg.Connection,
    guard: asyncpg.Connection,
    found: Survey,
    options: InitOptions,
    step: Step,
    *,
    session: bool,
) -> Application:
    """Run a script that controls its own transactions, recording how far it has come after each step."""
    script, home = found.script, options.home
    async with transaction(connection, home.role):
        decision, _, present = await look(connection, script, options)
        if outcome := settle(decision, script):
            return Application(outcome)
        if not present.table:
            await history.create(connection, home, schema_exists=present.schema)
        if decision is not Decision.RESUME:
            outcome = Outcome.ADOPTED if decision is Decision.ADOPT else Outcome.UNFINISHED
            await history.record(connection, home, history.Entry(script.name, script.checksum, outcome))
            if outcome is Outcome.ADOPTED:
                return Application(outcome)
    rows = await history.read(connection, home) or []
    row = next(row for row in reversed(rows) if row.script == script.name)
    _announce_stepwise(decision, found, row)
    step(Phase.APPLYING, statements=found.statements)
    if session:
        await _set_limits(connection, options, "SET")
    began = time.monotonic()
    progress = history.progress_of(connection, home, row, script.checksum)
    count = await Journey(connection, found, progress, step, guard).go()
    return Application(Outcome.APPLIED, count, time.monotonic() - began)


async def _set_limits(connection: asyncpg.Connection, options: InitOptions, command: str) -> None:
    """Set the time-outs of the script's statements, now that the lock is held: waiting for that has its own limit."""
    limits = {"statement_timeout": options.statement_timeout, "lock_timeout": options.lock_timeout}
    for name, limit in limits.items():
        if limit is not None:
            await connection.execute(f"{command} {name} = {max(round(limit.total_seconds() * 1000), 1)}")


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
