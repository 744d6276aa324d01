"""Applies a script: the lock, a second look, the statements and the history row, all in one transaction."""

import logging
import time
from typing import NamedTuple

import asyncpg

from . import history
from .durations import format_duration
from .executor import run_statements
from .failure import is_connection_loss, statement_error
from .lock import lock_key, locked_transaction
from .lookup import look, settle
from .model import Outcome, Script
from .planning import Decision
from .readiness import Phase, Step
from .settings import InitOptions
from .sql.script import read_statements
from .sql.text import SourceText

__all__ = ["Application", "apply"]

logger = logging.getLogger("dbinit")


class Application(NamedTuple):
    """How applying a script ended: what came of it, how many statements were run, and in how many seconds."""

    outcome: Outcome
    statements: int = 0
    seconds: float = 0.0


async def apply(connection: asyncpg.Connection, script: Script, options: InitOptions, step: Step) -> Application:
    """Apply a script that, at a first look, has not been applied.

    Args:
        connection: A connection outside of any transaction.
        script: What to apply.
        options: How.
        step: Told of the waiting, and of each statement.

    Raises:
        DbInitError: It could not be applied; everything was rolled back.
    """
    # Before the lock, so that a file that cannot be read makes nobody wait.
    source = SourceText(script.path, script.text)
    statements = read_statements(source)

    def on_wait() -> None:
        logger.info("Another starter holds the migration lock; waiting for it to finish...")
        step(Phase.WAITING)

    schema = options.history_schema
    refused = "what dbinit does for its history"
    try:
        async with locked_transaction(connection, lock_key(schema), options.lock_wait, on_wait):
            decision, rows = await look(connection, script, options)
            if outcome := settle(decision, script):
                return Application(outcome)
            if rows is None:
                await history.create(connection, schema)
            if decision is Decision.ADOPT:
                done = Application(Outcome.ADOPTED)
            else:
                _announce(decision, script, len(statements))
                step(Phase.APPLYING, statements=len(statements))
                began = time.monotonic()
                await run_statements(connection, source, statements, lambda n: step(Phase.APPLYING, statement=n))
                done = Application(Outcome.APPLIED, len(statements), time.monotonic() - began)
            await history.record(connection, schema, history.Entry(script.name, script.checksum, *done))
            refused = "the commit (a deferred constraint, perhaps)"
    except asyncpg.PostgresError as error:
        if is_connection_loss(error):
            raise
        raise statement_error(error, title=f"PostgreSQL refused {refused}:") from None
    _conclude(done, script, options.sentinel)
    return done


def _announce(decision: Decision, script: Script, statements: int) -> None:
    if decision is Decision.RERUN:
        logger.info("%s was edited since it was applied; running it again", script.path)
    logger.info("Running %s (%d statements)...", script.path, statements)


def _conclude(done: Application, script: Script, sentinel: str) -> None:
    if done.outcome is Outcome.ADOPTED:
        logger.info("Table %s was there without a history: recorded %s as applied", sentinel, script.path)
        logger.info("Database already initialized, skipping migration")
    else:
        logger.info("Applied %s: %d statements in %s", script.path, done.statements, format_duration(done.seconds))
