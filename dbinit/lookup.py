"""Looks at the database and says what is to be done about a script."""

import logging
import time
from typing import NamedTuple

import anyio
import asyncpg

from . import history
from .errors import FileChangedError, SchemaMissingError
from .model import Applied, OnChange, Outcome, Script
from .planning import Decision, decide
from .readiness import Phase, Step
from .settings import InitOptions
from .transaction import read_only_transaction

__all__ = ["Look", "decide_by", "look", "settle", "watch"]

logger = logging.getLogger("dbinit")

_WATCH_EVERY = 1.0


class Look(NamedTuple):
    """What was seen: what to do, the history, and whether its table is there."""

    decision: Decision
    rows: list[Applied]
    present: history.Present


def decide_by(rows: list[Applied], script: Script, options: InitOptions) -> Decision | None:
    """Decide by the history alone; None where there is none, so that more has to be looked at."""
    return _decide(script, rows, options, sentinel_found=False) if rows else None


async def look(connection: asyncpg.Connection, script: Script, options: InitOptions) -> Look:
    """Decide by the history and the sentinel.

    Call it inside a transaction. The catalog is asked first, as a query for a missing table would spoil that.
    """
    present = await history.find(connection, options.home, options.sentinel)
    rows = await history.read(connection, options.home) or [] if present.table else []
    decision = _decide(script, rows, options, sentinel_found=present.sentinel and not rows)
    return Look(decision, rows, present)


async def watch(
    connection: asyncpg.Connection, script: Script, options: InitOptions, step: Step, deadline: float
) -> Outcome:
    """Look, and change nothing, until the script has been applied by somebody else.

    Args:
        connection: Where to look.
        script: What to look for.
        options: How to look.
        step: Told of the waiting.
        deadline: When to give up, by `time.monotonic()`.

    Raises:
        SchemaMissingError: It was not applied in time.
    """
    waiting = False
    while True:
        async with read_only_transaction(connection):
            decision = (await look(connection, script, options)).decision
        if outcome := settle(Decision.SKIP if decision is Decision.ADOPT else decision, script):
            return outcome
        if not waiting:
            waiting = True
            logger.info("The schema is not there yet; waiting for it (mode verify applies nothing)")
            step(Phase.WAITING)
        if time.monotonic() >= deadline:
            raise SchemaMissingError(
                f"the history does not say that {script.path} was applied, and mode verify applies nothing",
                advice="run `python -m dbinit` with a role that may create the schema",
            )
        await anyio.sleep(_WATCH_EVERY)


def settle(decision: Decision, script: Script) -> Outcome | None:
    """Return the outcome where nothing is left to do, and say so in the log.

    Raises:
        FileChangedError: The file was edited, and that is not wanted.
    """
    if decision is Decision.OLDER:
        logger.warning("A newer version of %s was applied since this one; edit it to have it run again", script.path)
    if decision in {Decision.SKIP, Decision.OLDER}:
        logger.info("Database already initialized, skipping migration")
        return Outcome.CURRENT
    if decision is Decision.WARN:
        logger.warning("%s was edited since it was applied; it is not run again (on_change=warn)", script.path)
        return Outcome.CHANGED
    if decision is Decision.REFUSE:
        raise FileChangedError(
            f"{script.path} was edited since it was applied (its checksum is now {script.checksum[:12]})",
            advice="restore the file, or set DBINIT_ON_CHANGE to rerun (the file is idempotent) or warn",
        )
    return None


def _decide(script: Script, rows: list[Applied], options: InitOptions, *, sentinel_found: bool) -> Decision:
    on_change = OnChange(options.on_change)
    return decide(script.name, script.checksum, rows, sentinel_found=sentinel_found, on_change=on_change)
