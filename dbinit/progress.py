"""How far a script that is run step by step has come, in its row of a history."""

from typing import NamedTuple

import asyncpg

from .errors import HistoryError
from .quoting import quote_literal
from .roles import acting_as

__all__ = ["Begun", "RowProgress"]

# The script may have changed its role; what is recorded is still our doing. It has its role back behind the
# transaction.
_UPDATE = """
SET LOCAL SESSION AUTHORIZATION DEFAULT; SET LOCAL ROLE NONE; {role}
UPDATE {table} SET statements = {statements}, progress = {digest}, checksum = {checksum}, {column} = {state},
    seconds = pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) applied_at)
WHERE id OPERATOR(pg_catalog.=) {id}::bigint AND statements OPERATOR(pg_catalog.=) {known}::integer
"""


class Begun(NamedTuple):
    """A row about a script that has been begun.

    Attributes:
        table: The history's table, as SQL.
        role: The role that the script is run as, and the table kept by; empty for whoever logged in.
        id: The row's number.
        name: What to call the script in messages.
        column: The column that says whether it is finished.
        states: What stands in that column on the way, and in the end.
        statements: How many of its statements have been run.
        digest: What tells those statements, and their results, from others; empty before the first.
    """

    table: str
    role: str
    id: int
    name: str
    column: str
    states: tuple[str, str]
    statements: int
    digest: str


class RowProgress:
    """Records how far a script has come.

    Args:
        connection: Where it is run.
        begun: Its row.
        checksum: Its checksum now.
    """

    def __init__(self, connection: asyncpg.Connection, begun: Begun, checksum: str) -> None:
        self._connection = connection
        self._begun = begun
        self._checksum = checksum
        self.statements = begun.statements
        """How many of its statements have been run."""
        self.role = begun.role
        """The role that the script is run as."""
        self.digest = begun.digest
        """What tells those statements, and their results, from others."""

    async def advance(self, statements: int, digest: str, *, finished: bool) -> None:
        """Record it. Call it inside the transaction that did the work.

        Raises:
            HistoryError: The row is not as we left it: another starter has gone on with the script.
        """
        update = _UPDATE.format(
            role=acting_as(self.role),
            table=self._begun.table,
            statements=statements,
            digest=quote_literal(digest),
            checksum=quote_literal(self._checksum),
            column=self._begun.column,
            state=quote_literal(self._begun.states[finished]),
            id=self._begun.id,
            known=self.statements,
        )
        if await self._connection.execute(update) != "UPDATE 1":
            raise HistoryError(f"another starter has gone on with {self._begun.name}", advice="start again")
        self.statements, self.digest = statements, digest
