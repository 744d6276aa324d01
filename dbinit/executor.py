"""Runs the statements of ONE script on a connection, many in a round trip.

Inside a transaction, several statements go out as one message, behind a savepoint. When such a batch fails, or when it
says something (a NOTICE carries no statement), it is rolled back to the savepoint and run again one by one: so result,
error and log are those of single statements, and only what goes smoothly goes fast. Batches grow while they are quick,
so that little is ever repeated and progress still moves.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg

from .failure import is_connection_loss, statement_error
from .model import Statement
from .sql.facts import changes_reading, uses_savepoints
from .sql.text import SourceText

__all__ = ["run_statements"]

logger = logging.getLogger("dbinit")

_FIRST, _GROWTH, _MOST = 8, 4, 512
_LARGEST = 256 * 1024  # characters in a message
_QUICK, _SLOW = 0.2, 1.0  # seconds for a batch
_SAVEPOINT = "dbinit_batch"


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
        on_statement: Called with the number of the statement that is next, from 1, before each message.

    Raises:
        StatementError: PostgreSQL refused one; the error says which, where and why.
    """
    async with _listening(connection) as notices:
        run = _Run(connection, source, statements, notices)
        position = 0
        while position < len(statements):
            on_statement(position + 1)
            position = await run.some(position)
        on_statement(position)
        await run.release()


class _Run:
    def __init__(
        self,
        connection: asyncpg.Connection,
        source: SourceText,
        statements: Sequence[Statement],
        notices: list[asyncpg.PostgresLogMessage],
    ) -> None:
        self._connection = connection
        self._source = source
        self._statements = statements
        self._notices = notices
        self._limit = _FIRST
        self._savepoint = False

    async def some(self, position: int) -> int:
        """Run a batch, or a single statement; return the position behind it."""
        end = self._cut(position)
        if end - position == 1:
            await self._one(position)
            self._limit = min(self._limit * _GROWTH, _MOST)
        elif not await self._batch(position, end):
            for single in range(position, end):
                await self._one(single)
            self._limit = 1
        return end

    async def release(self) -> None:
        """Give up the savepoint; what follows may need to be outside of it (COPY ... FREEZE)."""
        if self._savepoint:
            self._savepoint = False
            await self._connection.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")

    def _cut(self, position: int) -> int:
        """Return where the batch that begins at `position` ends."""
        size = 0
        for end in range(position, min(position + self._limit, len(self._statements))):
            text = self._statements[end].text
            size += len(text)
            if uses_savepoints(text):
                return max(end, position + 1)
            if changes_reading(text) or size > _LARGEST:
                return end + 1
        return min(position + self._limit, len(self._statements))

    async def _batch(self, position: int, end: int) -> bool:
        """Run several statements in one message; return whether they stand, or else leave no trace of them."""
        await self._set_savepoint()
        texts = [statement.text for statement in self._statements[position:end]]
        self._notices.clear()
        began = time.monotonic()
        try:
            await self._connection.execute("\n;".join(texts))
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
        else:
            elapsed = time.monotonic() - began
            if not self._notices or elapsed > _SLOW:
                self._adapt(elapsed)
                self._log(position, end - 1)
                return True
        await self._connection.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        return False

    async def _set_savepoint(self) -> None:
        # Not at the head of the batch's own message: where that cannot be parsed, none of it is run. And not one within
        # the other, batch by batch: the deeper they nest, the slower the server gets.
        release = f"RELEASE SAVEPOINT {_SAVEPOINT}; " if self._savepoint else ""
        await self._connection.execute(f"{release}SAVEPOINT {_SAVEPOINT}")
        self._savepoint = True

    async def _one(self, position: int) -> None:
        await self.release()
        statement = self._statements[position]
        self._notices.clear()
        try:
            await self._connection.execute(statement.text)
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            self._log(position, position)
            title = f"Statement {position + 1} of {len(self._statements)} failed:"
            raise statement_error(
                error, source=self._source, start=statement.offset, statement=statement.text, title=title
            ) from None
        self._log(position, position)

    def _adapt(self, elapsed: float) -> None:
        if elapsed < _QUICK:
            self._limit = min(self._limit * _GROWTH, _MOST)
        elif elapsed > _SLOW:
            self._limit = max(self._limit // 2, 1)

    def _log(self, first: int, last: int) -> None:
        """Log what the server said about the statements from `first` to `last`, with the place in the file."""
        if not self._notices:
            return
        lines = [self._source.place(self._statements[position].offset).line for position in (first, last)]
        where = f"{self._source.path}:{lines[0]}" + (f"-{lines[1]}" if last > first else "")
        for notice in self._notices:
            level = logging.WARNING if notice.severity == "WARNING" else logging.INFO
            logger.log(level, "%s: %s: %s", where, notice.severity, notice.message)
        self._notices.clear()


@asynccontextmanager
async def _listening(connection: asyncpg.Connection) -> AsyncIterator[list[asyncpg.PostgresLogMessage]]:
    """Collect what the server says besides its answers."""
    notices: list[asyncpg.PostgresLogMessage] = []

    def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
        notices.append(message)

    connection.add_log_listener(listen)
    try:
        yield notices
    finally:
        connection.remove_log_listener(listen)
