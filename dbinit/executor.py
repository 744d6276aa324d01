"""Runs the statements of ONE script on a connection, one after the other."""

from collections.abc import Callable, Sequence

import asyncpg

from .failure import is_connection_loss, statement_error
from .model import Statement
from .sql.text import SourceText

__all__ = ["run_statements"]


async def run_statements(
    connection: asyncpg.Connection,
    source: SourceText,
    statements: Sequence[Statement],
    on_statement: Callable[[int], None],
) -> None:
    """Run the statements in their order. Call it inside a transaction, which the caller rolls back on an error.

    Args:
        connection: Where to run them.
        source: The text they come from, for the report of a failure.
        statements: What to run.
        on_statement: Called before each with its number, from 1.

    Raises:
        StatementError: PostgreSQL refused one; the error says which, where and why.
    """
    for number, statement in enumerate(statements, start=1):
        on_statement(number)
        try:
            await connection.execute(statement.text)
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            title = f"Statement {number} of {len(statements)} failed:"
            raise statement_error(
                error, source=source, start=statement.offset, statement=statement.text, title=title
            ) from None
