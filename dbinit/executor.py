"""Runs the statements of ONE script on a connection, many in a round trip.

Inside a transaction, several statements go out as one message, which begins with a savepoint. When such a batch fails,
or when it says something (a NOTICE carries no statement), it is rolled back to the savepoint and run again one by one:
so result, error and log are those of single statements, and only what goes smoothly goes fast. As a sequence does not
go back, a batch that adds or changes rows is not run again for the sake of the log, and definitions have batches of
their own. Batches grow while they are quick, so that little is ever repeated and progress still moves.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import asyncpg

from .backoff import is_connection_loss
from .failure import statement_error
from .notices import collecting, passing_on
from .patience import committing, patient
from .query import fetch_text
from .sql.context import Note
from .sql.facts import Company, Footing, company, footing
from .sql.reader import Reader
from .sql.statement import Result, Statement, Wanted, unrunnable
from .sql.survey import Survey
from .sql.text import hide_passwords
from .transaction import stopping_with

__all__ = ["execute_for", "log_note", "place_of", "run_script", "run_statement"]

logger = logging.getLogger("dbinit")

_FIRST, _GROWTH, _MOST = 64, 8, 2048
_LARGEST = 256 * 1024  # characters in a message
_SLOW = 1.0  # seconds for a batch
_SAVEPOINT = "dbinit_batch"
# Where a message cannot be parsed, nothing of it is run, and so the savepoint at its head is not set. The number of the
# batch, a setting that goes back with the savepoint, tells which one that is.
_BATCH = "dbinit.batch"


async def run_script(connection: asyncpg.Connection, found: Survey, on_statement: Callable[[int], None]) -> int:
    """Run a script. Call it inside a transaction, which the caller rolls back on an error.

    Args:
        connection: Where to run it.
        found: The script, and what is known of it.
        on_statement: Called with the number of the statement that is next, from 1, before each message.

    Returns:
        How many statements were run.

    Raises:
        StatementError: PostgreSQL refused one; the error says which, where and why.
        ScriptError: Something cannot be run, as it turned out on the way.
    """
    run = _Run(connection, found.statements, on_statement)
    for statement in Reader(found.script, found.context._replace(results=True), run.note):
        if statement.patchwork:
            _refuse_blocks(statement)
        await run.add(statement)
    await run.flush()
    return run.done  # the end of the transaction gives the savepoint up


async def run_statement(connection: asyncpg.Connection, statement: Statement, number: int, total: int) -> None:
    """Run one statement.

    Args:
        connection: Where to run it.
        statement: The statement.
        number: Which one it is, from 1.
        total: How many there are, as far as that is known.

    Raises:
        StatementError: PostgreSQL refused it; the error says where and why.
        ScriptError: What it returned cannot be run.
    """
    await _Run(connection, total, lambda _: None, done=number - 1).one(statement)


def log_note(note: Note) -> None:
    r"""Log what a script says (`\\echo`)."""
    place = f"{note.source.path}:{note.source.place(note.offset).line}"
    logger.log(logging.WARNING if note.warning else logging.INFO, "%s: %s", place, hide_passwords(note.text))


class _Run:
    def __init__(
        self,
        connection: asyncpg.Connection,
        total: int,
        on_statement: Callable[[int], None],
        *,
        done: int = 0,
    ) -> None:
        self.done = done
        self._connection = connection
        self._total = total
        self._on_statement = on_statement
        self._batch: list[Statement] = []
        self._notes: list[tuple[int, Note]] = []  # with how many statements of the batch stand before each
        self._size = 0
        self._company = Company.NONE
        self._limit = _FIRST
        self._number = 0  # of the batch behind whose savepoint we are; 0 for none
        self._before: Sequence[Statement] = ()  # what has been run behind it

    def note(self, note: Note) -> None:
        """Take what the script says, to be logged when what stands before it has been run."""
        self._notes.append((len(self._batch), note))

    async def add(self, statement: Statement) -> None:
        """Take a statement; run those before it that cannot go with it, and at once what cannot wait."""
        alone = statement.together or statement.wanted is not Wanted.NOTHING
        together = Company.NONE if alone else company(statement.text)
        full = len(self._batch) >= self._limit or self._size > _LARGEST
        if full or together is not self._company or together is Company.NONE:
            await self.flush()
        self._batch.append(statement)
        self._size += len(statement.text)
        self._company = together
        # The data of a COPY are gone, and a result is needed, once the next statement is read.
        if statement.data is not None or statement.wanted is not Wanted.NOTHING:
            await self.flush()

    async def flush(self) -> None:
        """Run the statements taken, as one message if that goes smoothly, and one by one if not."""
        batch, self._batch, self._size = self._batch, [], 0
        if batch:
            self._on_statement(self.done + 1)
            if len(batch) == 1 or not await self._at_once(batch):
                await self._one_by_one(batch)
                self._limit = 1 if len(batch) > 1 else min(self._limit * _GROWTH, _MOST)
            self._on_statement(self.done)
        self._log_notes(len(batch))

    async def release(self) -> None:
        """Give up the savepoint; what follows may need to be outside of it (COPY ... FREEZE)."""
        if self._number:
            self._number = 0
            await self._connection.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")

    async def _one_by_one(self, batch: Sequence[Statement]) -> None:
        await self.release()
        for index, statement in enumerate(batch):
            self._log_notes(index)
            await self.one(statement)

    async def _at_once(self, batch: Sequence[Statement]) -> bool:
        """Run several statements in one message; return whether they stand, or else leave no trace of them."""
        if not self._number:
            await self._connection.execute(f"{_mark(0)}; SAVEPOINT {_SAVEPOINT}")
            self._before = ()
        self._number += 1
        # One savepoint takes the place of the other: the deeper they nest, the slower the server gets.
        head = f"RELEASE SAVEPOINT {_SAVEPOINT}; {_mark(self._number)}; SAVEPOINT {_SAVEPOINT};\n"
        began = time.monotonic()
        try:
            with collecting(self._connection) as notices, patient(self._connection, [found.text for found in batch]):
                await self._connection.execute(head + "\n;".join(statement.text for statement in batch))
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
        else:
            elapsed = time.monotonic() - began
            if not notices or self._company is Company.ROWS or elapsed > _SLOW:
                self.done += len(batch)
                self._before = batch
                self._adapt(elapsed)
                notices.log(place_of((batch[0], batch[-1])))
                return True
        await self._go_back()
        return False

    async def _go_back(self) -> None:
        """Roll the batch back, and run what stood before it again if that went with it."""
        reached = (
            f"ROLLBACK TO SAVEPOINT {_SAVEPOINT};"
            f" SELECT 1 WHERE pg_catalog.current_setting('{_BATCH}') OPERATOR(pg_catalog.=) '{self._number}'"
        )
        if await self._connection.execute(reached) == "SELECT 1":
            return
        before, self._before = self._before, ()
        self.done -= len(before)
        await self._one_by_one(before)

    async def one(self, statement: Statement) -> None:
        """Run a statement by itself, and then what it returns, if that is wanted."""
        try:
            with passing_on(self._connection, place_of((statement,))), patient(self._connection, [statement.text]):
                result = await self._result(statement)
            for generated in statement.receive(result) if statement.receive and result else ():
                await self.one(generated)
                self.done -= 1
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            title = f"Statement {self.done + 1} of {self._total} failed:"
            raise statement_error(error, statement=statement, title=title) from None
        except ValueError as error:
            raise unrunnable(statement.source, statement.offset, str(error)) from None
        self.done += 1

    async def _result(self, statement: Statement) -> Result | None:
        if statement.data is not None:
            await self._copy(statement.text, statement.data)
        elif statement.wanted is Wanted.NOTHING:
            await self._connection.execute(statement.text)
        else:
            return await fetch_text(self._connection, statement.text)
        return None

    async def _copy(self, statement: str, data: Iterator[bytes]) -> None:
        async def sent() -> AsyncIterator[bytes]:
            for chunk in data:
                yield chunk

        # The driver, while it waits until it may write on, does not hear that the connection is lost.
        async with stopping_with(self._connection, "it was closed while data were copied"):
            # The public copy_to_table() builds a statement of its own; the script's is to be sent as it stands.
            await self._connection._copy_in(statement, sent(), None)  # type: ignore[attr-defined]  # noqa: SLF001

    def _adapt(self, elapsed: float) -> None:
        within = int(len(self._before) * _SLOW / elapsed) if elapsed else _MOST
        self._limit = max(1, min(within, self._limit * _GROWTH, _MOST))

    def _log_notes(self, reached: int) -> None:
        """Log what the script says before its statement `reached` of the batch."""
        while self._notes and self._notes[0][0] <= reached:
            log_note(self._notes.pop(0)[1])


def place_of(statements: Sequence[Statement]) -> str:
    """Return file and lines of some statements, one at least, for the log."""
    first, last = statements[0], statements[-1]
    return f"{first.source.path}:{first.place.line}" + (f"-{last.place.line}" if last is not first else "")


async def execute_for(connection: asyncpg.Connection, message: str, where: str) -> None:
    """Execute SQL of our own; what the server says meanwhile, as a deferred trigger may, is about `where`."""
    with passing_on(connection, where), committing(connection):
        await connection.execute(message)


def _mark(number: int) -> str:
    return f"SET LOCAL {_BATCH} = '{number}'"


def _refuse_blocks(statement: Statement) -> None:
    """Refuse what only a result has made a BEGIN or a COMMIT: the script runs in one transaction already."""
    if footing(statement.text) not in {Footing.PLAIN, Footing.ALONE}:
        reason = "the value of a variable must not begin or end a transaction"
        raise unrunnable(statement.source, statement.offset, reason, "write BEGIN and COMMIT into the script itself")
