"""Runs a script that controls its own transactions, step by step, so that an interrupted one goes on where it was.

How far it has come is recorded in the transaction that does the work: in the script's own before its COMMIT, or in one
made for a statement that stands outside of any. Only for what PostgreSQL refuses inside a transaction it is recorded
right behind. The results that have become variables are recorded too: they decide how the script goes on.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from . import history
from .errors import NOTHING_APPLIED, DbInitError, FileChangedError, StatementError
from .executor import log_note, run_statement
from .model import Applied, Outcome
from .readiness import Phase, Step
from .sql.facts import Footing, chains, sets_session
from .sql.reader import Reader
from .sql.statement import Result, Statement, Wanted
from .sql.survey import Survey, stance
from .transaction import transaction

__all__ = ["Journey"]

_DUPLICATE = frozenset({"42P04", "42P07", "42710"})
_INVALID_INDEX = "SELECT 1 FROM pg_catalog.pg_index WHERE NOT indisvalid LIMIT 1"


class Journey:
    """The way through one script.

    Args:
        connection: Where to run it; nobody else uses it, and the migration lock is held elsewhere.
        schema: Where the history is.
        found: The script, and what is known of it.
        row: Its row in the history.
        step: Told of each statement.
    """

    def __init__(self, connection: asyncpg.Connection, schema: str, found: Survey, row: Applied, step: Step) -> None:
        self._connection = connection
        self._schema = schema
        self._row = row
        self._total = found.statements
        self._step = step
        self._script = found.script
        self._reader = Reader(found.script, found.context._replace(results=True), log_note)
        self._in_block = False
        self._resumed_at = row.statements
        self._digest = hashlib.sha256()
        self._recorded, _, results = row.progress.partition(" ")
        self._results: list[Result] = [Result(*result) for result in json.loads(results or "[]")]
        self._known = iter(tuple(self._results))

    async def go(self) -> int:
        """Run what is left of the script; return how many statements it has in all.

        Raises:
            StatementError: PostgreSQL refused a statement; the error says how far the script has come.
            FileChangedError: What has been run of the script before is not what it begins with now.
        """
        try:
            return await self._go()
        except DbInitError as error:
            if done := self._row.statements:
                error.outcome = (
                    f"The first {done} of {self._total} statements are applied; the next start goes on there."
                )
            else:
                error.outcome = NOTHING_APPLIED
            raise

    async def _go(self) -> int:
        settings: list[Statement] = []
        number = 0
        for number, statement in enumerate(self._reader, start=1):
            self._digest.update(statement.text.encode() + b"\0")
            if number > self._resumed_at:
                await self._take(number, statement)
                continue
            if sets_session(statement.text):
                settings.append(statement)
            if statement.wanted is Wanted.VARIABLES and statement.receive and (known := next(self._known, None)):
                statement.receive(known)
            if number == self._resumed_at:
                await self._resume(settings)
        if number < self._resumed_at:
            await self._resume(settings)  # which refuses: of what was run, some is gone
        async with transaction(self._connection):
            await self._advance(number, Outcome.APPLIED)
        return number

    async def _resume(self, settings: list[Statement]) -> None:
        if self._digest.hexdigest() != self._recorded:
            raise FileChangedError(
                f"{self._script.path} was interrupted behind statement {self._resumed_at}, and what stands before that"
                " has been edited since: where to go on cannot be known",
                advice="restore the file and start again; or finish it by hand, and delete its row from dbinit_history",
            )
        for statement in settings:  # this session has not been told yet
            await self._connection.execute(statement.text)

    async def _take(self, number: int, statement: Statement) -> None:
        stands = stance(statement)
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
        self._step(Phase.APPLYING, statement=number)
        if statement.wanted is Wanted.VARIABLES:
            statement = self._remembered(statement)
        await run_statement(self._connection, statement, number, self._total)

    def _remembered(self, statement: Statement) -> Statement:
        """Return a statement whose result is recorded with how far the script has come."""

        def receive(result: Result) -> Sequence[Statement]:
            self._results.append(result)
            return statement.receive(result) if statement.receive else ()

        return statement._replace(receive=receive)

    async def _advance(self, number: int, outcome: Outcome = Outcome.UNFINISHED) -> None:
        results = " " + json.dumps(self._results) if self._results else ""
        after = replace(
            self._row,
            statements=number,
            progress=self._digest.hexdigest() + results,
            checksum=self._script.checksum,
            outcome=outcome,
        )
        await history.advance(self._connection, self._schema, self._row, after)
        self._row = after
