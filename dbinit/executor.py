"""Runs the statements of ONE script on a connection, many in a round trip.

Inside a transaction, several statements go out as one message, behind a savepoint. When such a batch fails, or when it
says something (a NOTICE carries no statement), it is rolled back to the savepoint and run again one by one: so result,
error and log are those of single statements, and only what goes smoothly goes fast. As a sequence does not go back, a
batch that adds or changes rows is not run again for the sake of the log, and definitions have batches of their own.
Batches grow while they are quick, so that little is ever repeated and progress still moves.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from .backoff import is_connection_loss
from .failure import statement_error
from .sql.facts import Company, company
from .sql.script import Statement
from .sql.text import hide_passwords

__all__ = ["run_statements"]

logger = logging.getLogger("dbinit")

_FIRST, _GROWTH, _MOST = 8, 4, 512
_LARGEST = 256 * 1024  # characters in a message
_QUICK, _SLOW = 0.2, 1.0  # seconds for a batch
_SAVEPOINT = "dbinit_batch"


async def run_statements(
    connection: asyncpg.Connection,
    statements: Iterator[Statement],
    total: int,
    on_statement: Callable[[int], None],
    *,
    done: int = 0,
) -> None:
    """Run the statements in their order. Call it inside a transaction, which the caller rolls back on an error.

    Args:
        connection: Where to run them.
        statements: What to run; taken as it is needed.
        total: How many there are.
        on_statement: Called with the number of the statement that is next, from 1, before each message.
        done: How many have been run before.

    Raises:
        StatementError: PostgreSQL refused one; the error says which, where and why.
    """
    async with _listening(connection) as notices:
        run = _Run(connection, total, notices, on_statement, done)
        for statement in statements:
            await run.add(statement)
        await run.flush()
        await run.release()


class _Run:
    def __init__(
        self,
        connection: asyncpg.Connection,
        total: int,
        notices: list[asyncpg.PostgresLogMessage],
        on_statement: Callable[[int], None],
        done: int,
    ) -> None:
        self._connection = connection
        self._total = total
        self._notices = notices
        self._on_statement = on_statement
        self._done = done
        self._batch: list[Statement] = []
        self._size = 0
        self._company = Company.NONE
        self._limit = _FIRST
        self._savepoint = False

    async def add(self, statement: Statement) -> None:
        """Take a statement; run those before it that cannot go with it, and at once what cannot wait."""
        together = company(statement.text)
        full = len(self._batch) >= self._limit or self._size > _LARGEST
        if full or together is not self._company or together is Company.NONE:
            await self.flush()
        self._batch.append(statement)
        self._size += len(statement.text)
        self._company = together
        if statement.data is not None:  # they are gone once the next statement is read
            await self.flush()

    async def flush(self) -> None:
        """Run the statements taken, as one message if that goes smoothly, and one by one if not."""
        batch, self._batch, self._size = self._batch, [], 0
        if not batch:
            return
        self._on_statement(self._done + 1)
        if len(batch) == 1 or not await self._at_once(batch):
            for statement in batch:
                await self._one(statement)
            self._limit = 1 if len(batch) > 1 else min(self._limit * _GROWTH, _MOST)
        self._on_statement(self._done)

    async def release(self) -> None:
        """Give up the savepoint; what follows may need to be outside of it (COPY ... FREEZE)."""
        if self._savepoint:
            self._savepoint = False
            await self._connection.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")

    async def _at_once(self, batch: Sequence[Statement]) -> bool:
        """Run several statements in one message; return whether they stand, or else leave no trace of them."""
        await self._set_savepoint()
        self._notices.clear()
        began = time.monotonic()
        try:
            await self._connection.execute("\n;".join(statement.text for statement in batch))
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
        else:
            elapsed = time.monotonic() - began
            if not self._notices or self._company is Company.ROWS or elapsed > _SLOW:
                self._done += len(batch)
                self._adapt(elapsed)
                self._log(batch[0], batch[-1])
                return True
        await self._connection.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        return False

    async def _set_savepoint(self) -> None:
        # Not at the head of the batch's own message: where that cannot be parsed, none of it is run. And not one within
        # the other, batch by batch: the deeper they nest, the slower the server gets.
        release = f"RELEASE SAVEPOINT {_SAVEPOINT}; " if self._savepoint else ""
        await self._connection.execute(f"{release}SAVEPOINT {_SAVEPOINT}")
        self._savepoint = True

    async def _one(self, statement: Statement) -> None:
        await self.release()
        self._notices.clear()
        try:
            if statement.data is None:
                await self._connection.execute(statement.text)
            else:
                await self._copy(statement.text, statement.data)
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            self._log(statement, statement)
            title = f"Statement {self._done + 1} of {self._total} failed:"
            raise statement_error(error, statement=statement, title=title) from None
        self._done += 1
        self._log(statement, statement)

    async def _copy(self, statement: str, data: Iterator[str]) -> None:
        async def encoded() -> AsyncIterator[bytes]:
            for chunk in data:
                yield chunk.encode()

        # The public copy_to_table() builds a statement of its own; the script's is to be sent as it stands.
        await self._connection._copy_in(statement, encoded(), None)  # type: ignore[attr-defined]  # noqa: SLF001

    def _adapt(self, elapsed: float) -> None:
        if elapsed < _QUICK:
            self._limit = min(self._limit * _GROWTH, _MOST)
        elif elapsed > _SLOW:
            self._limit = max(self._limit // 2, 1)

    def _log(self, first: Statement, last: Statement) -> None:
        """Log what the server said about the statements from `first` to `last`, with the place in the file."""
        if not self._notices:
            return
        where = f"{first.source.path}:{first.place.line}" + (f"-{last.place.line}" if last is not first else "")
        for notice in self._notices:
            level = logging.WARNING if notice.severity == "WARNING" else logging.INFO
            logger.log(level, "%s: %s: %s", where, notice.severity, hide_passwords(notice.message))
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
