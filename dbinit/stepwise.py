"""Runs a script that controls its own transactions, step by step, so that an interrupted one goes on where it was.

How far it has come is recorded in the transaction that does the work: in the script's own before its COMMIT, or in one
made for a statement that stands outside of any. Only for what PostgreSQL refuses inside a transaction it is recorded
right behind.
"""

import hashlib
from dataclasses import replace

import asyncpg

from . import history
from .errors import NOTHING_APPLIED, DbInitError, FileChangedError, StatementError
from .executor import run_statements
from .model import Applied, Outcome, Script
from .readiness import Phase, Step
from .sql.facts import Footing, chains, footing, sets_session
from .sql.script import Statement, read_statements
from .transaction import transaction

__all__ = ["Journey"]

_DUPLICATE = frozenset({"42P04", "42P07", "42710"})
_INVALID_INDEX = "SELECT 1 FROM pg_catalog.pg_index WHERE NOT indisvalid LIMIT 1"


class Journey:
    """The way through one script.

    Args:
        connection: Where to run it; nobody else uses it, and the migration lock is held elsewhere.
        schema: Where the history is.
        script: What to run.
        row: Its row in the history.
        total: How many statements the script has.
        step: Told of each.
    """

    def __init__(
        self, connection: asyncpg.Connection, schema: str, script: Script, row: Applied, total: int, step: Step
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._row = row
        self._total = total
        self._step = step
        self._script = script
        self._in_block = False
        self._resumed_at = row.statements
        self._progress = hashlib.sha256()

    async def go(self) -> None:
        """Run what is left of the script.

        Raises:
            StatementError: PostgreSQL refused a statement; the error says how far the script has come.
            FileChangedError: What has been run of the script before is not what it begins with now.
        """
        try:
            await self._go()
        except DbInitError as error:
            if done := self._row.statements:
                error.outcome = (
                    f"The first {done} of {self._total} statements are applied; the next start goes on there."
                )
            else:
                error.outcome = NOTHING_APPLIED
            raise

    async def _go(self) -> None:
        settings: list[Statement] = []
        for number, statement in enumerate(read_statements(self._script.path, self._script.chunks()), start=1):
            self._progress.update(statement.text.encode() + b"\0")
            if number > self._resumed_at:
                await self._take(number, statement)
                continue
            if sets_session(statement.text):
                settings.append(statement)
            if number == self._resumed_at:
                await self._resume(settings)
        if self._total < self._resumed_at:
            await self._resume(settings)  # which refuses: of what was run, some is gone
        if self._row.outcome is Outcome.UNFINISHED:  # what was left to do has been taken out of the script
            async with transaction(self._connection):
                await self._advance(self._total)

    async def _resume(self, settings: list[Statement]) -> None:
        if self._progress.hexdigest() != self._row.progress:
            raise FileChangedError(
                f"{self._script.path} was interrupted behind statement {self._resumed_at}, and what stands before that"
                " has been edited since: where to go on cannot be known",
                advice="restore the file and start again; or finish it by hand, and delete its row from dbinit_history",
            )
        for statement in settings:  # this session has not been told yet
            await self._connection.execute(statement.text)

    async def _take(self, number: int, statement: Statement) -> None:
        stands = footing(statement.text)
        if self._in_block:
            if stands is Footing.COMMIT:
                await self._advance(number)
            await self._send(number, statement)
            if stands in {Footing.COMMIT, Footing.ROLLBACK}:
                self._in_block = chains(statement.text)
            if stands is Footing.ROLLBACK and not self._in_block:
                await self._advance(number)
        elif stands is Footing.BEGIN:
            await self._send(number, statement)
            self._in_block = True
        elif stands is Footing.ALONE:
            await self._send_alone(number, statement)
            await self._advance(number)
        else:
            async with transaction(self._connection):
                await self._send(number, statement)
                await self._advance(number)

    async def _send_alone(self, number: int, statement: Statement) -> None:
        """Run what cannot share its transaction with the record; it may have been run when we were interrupted."""
        try:
            await self._send(number, statement)
        except StatementError as error:
            again = number == self._resumed_at + 1 and error.sqlstate in _DUPLICATE
            if not again or await self._connection.execute(_INVALID_INDEX) == "SELECT 1":
                raise

    async def _send(self, number: int, statement: Statement) -> None:
        def on_statement(current: int) -> None:
            self._step(Phase.APPLYING, statement=current)

        await run_statements(self._connection, iter([statement]), self._total, on_statement, done=number - 1)

    async def _advance(self, number: int) -> None:
        outcome = Outcome.APPLIED if number == self._total else Outcome.UNFINISHED
        after = replace(
            self._row,
            statements=number,
            progress=self._progress.hexdigest(),
            checksum=self._script.checksum,
            outcome=outcome,
        )
        await history.advance(self._connection, self._schema, self._row, after)
        self._row = after
