"""Runs a script that controls its own transactions, step by step, so that an interrupted one goes on where it was.

How far it has come is recorded in the transaction that does the work: in the script's own before its COMMIT, or in one
made for a statement that stands outside of any. Only for what PostgreSQL refuses inside a transaction it is recorded
right behind, and right before that it is begun. The results that have become variables are recorded too: they decide
how the script goes on.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

import asyncpg

from .backoff import is_connection_loss
from .errors import NOTHING_APPLIED, DbInitError, FileChangedError, HistoryError, StatementError
from .executor import log_note, run_statement
from .failure import statement_error
from .indexes import concurrent_build, index_build
from .partitions import concurrent_detachment, finish_detachment
from .quoting import quote_name
from .readiness import Phase, Step
from .sql.facts import Footing, chains, concurrently, leading_words, sets_session
from .sql.reader import Reader
from .sql.statement import Result, Statement, Wanted
from .sql.survey import Survey, stance
from .timeouts import LockLimit
from .transaction import take_back, transaction

__all__ = ["Journey", "Progress"]

_BEGUN = "+"  # before the digest: the next statement, which cannot share its transaction with a record, was begun
# How the server refuses to make what is there, and to drop what is not.
_DONE_BEFORE = {"CREATE": frozenset({"42P04", "42P07", "42710"}), "DROP": frozenset({"3D000", "42704"})}


class Progress(Protocol):
    """How far a script has come, recorded as it goes on."""

    statements: int
    """How many of its statements have been run."""
    digest: str
    """What tells those statements, and their results, from others; empty before the first."""
    role: str
    """The role that they are run as; empty for whoever logged in."""

    async def advance(self, statements: int, digest: str, *, finished: bool) -> None:
        """Record it, inside the transaction that did the work.

        Raises:
            HistoryError: Another starter has gone on with the script.
        """


class Journey:
    """The way through one script.

    Args:
        connection: Where to run it; nobody else uses it, and the migration lock is held elsewhere.
        found: The script, and what is known of it.
        progress: How far it has come.
        step: Told of each statement.
        watcher: Another connection, from which to look how far an index has been built.
        lock_limit: How long a statement may wait for a lock; None behind a pooler, where nothing is set for a session.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        found: Survey,
        progress: Progress,
        step: Step,
        watcher: asyncpg.Connection,
        lock_limit: LockLimit | None,
    ) -> None:
        self._connection = connection
        self._watcher = watcher
        self._lock_limit = lock_limit
        self._progress = progress
        self._total = found.statements
        self._step = step
        self._path = found.script.path
        self._reader = Reader(found.script, found.context._replace(results=True), log_note)
        self._in_block = False
        self._resumed_at = progress.statements
        self._digest = hashlib.sha256()
        self._was_begun = progress.digest.startswith(_BEGUN)
        self._recorded, _, results = progress.digest.removeprefix(_BEGUN).partition(" ")
        self._results = _results_in(results, self._path)
        self._known = iter(tuple(self._results))

    async def go(self, finish: Callable[[], Awaitable[None]] | None = None) -> int:
        """Run what is left of the script; return how many statements it has in all.

        Args:
            finish: What is to be done in the transaction that records the end. Default: nothing.

        Raises:
            StatementError: PostgreSQL refused a statement; the error says how far the script has come.
            FileChangedError: What has been run of the script before is not what it begins with now.
        """
        try:
            async with _acting_as(self._connection, self._progress.role):
                number = await self._go()
                with _together_with(self._progress):
                    async with transaction(self._connection, self._progress.role, reset=True):
                        if finish:
                            await finish()
                        await self._advance(number, finished=True)
                return number
        except DbInitError as error:
            error.outcome = self._applied
            raise
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            failure = statement_error(error, title=f"PostgreSQL refused to record how far {self._path} has come:")
            failure.outcome = self._applied
            raise failure from None

    @property
    def _applied(self) -> str:
        """What stands, whatever fails behind it."""
        if not (done := self._progress.statements):
            return NOTHING_APPLIED
        applied = f"The first {done} of {self._total} statements {'is' if done == 1 else 'are'} applied"
        return f"{applied}; the next start goes on there."

    async def _go(self) -> int:
        settings = _Settings()
        number = 0
        for number, statement in enumerate(self._reader, start=1):
            self._digest.update(statement.text.encode() + b"\0")
            if number > self._resumed_at:
                with _together_with(self._progress):
                    await self._take(number, statement)
                continue
            settings.pass_by(statement)
            if statement.wanted is Wanted.VARIABLES and statement.receive and (known := next(self._known, None)):
                statement.receive(known)
            if number == self._resumed_at:
                await self._resume(settings)
        if number < self._resumed_at:
            await self._resume(settings)  # which refuses: of what was run, some is gone
        return number

    async def _resume(self, settings: "_Settings") -> None:
        if self._digest.hexdigest() != self._recorded:
            raise FileChangedError(
                f"{self._path} was interrupted behind statement {self._resumed_at}, and what stands before that"
                " has been edited since: where to go on cannot be known",
                advice="restore the file and start again; or finish it by hand, and delete its row from the history",
            )
        for statement in settings.kept:  # this session has not been told yet
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
        may_be_done = self._was_begun and number == self._resumed_at + 1
        if not may_be_done:
            await self._note(_BEGUN + self._progress.digest)
        async with self._patience(statement.text):
            try:
                await self._see_through(number, statement, begun=may_be_done)
            except StatementError as error:
                # An index that is there is a valid one: what was left over of a build has been dropped before.
                if may_be_done and error.sqlstate in _done_before(statement):
                    return
                if not may_be_done:
                    await self._note(self._progress.digest.removeprefix(_BEGUN))
                raise

    async def _see_through(self, number: int, statement: Statement, *, begun: bool) -> None:
        """Run what works concurrently, and see to what an interrupted one has left over."""
        if index := concurrent_build(statement.text):
            async with index_build(self._connection, self._watcher, index, self._step):
                await self._send(number, statement)
            return
        try:
            await self._send(number, statement)
        except StatementError as error:
            detachment = concurrent_detachment(statement.text)
            if not detachment or not await finish_detachment(self._connection, detachment, error.sqlstate, begun=begun):
                raise

    async def _note(self, digest: str) -> None:
        """Record whether the next statement was begun."""
        await self._progress.advance(self._progress.statements, digest, finished=False)

    @asynccontextmanager
    async def _patience(self, statement: str) -> AsyncIterator[None]:
        """Let what works concurrently wait for whom it must: it holds nobody up meanwhile."""
        limit = self._lock_limit if concurrently(statement) else None
        lifted = limit and await self._connection.execute(limit.lifting) == "SELECT 1"
        yield
        if limit and lifted:
            await self._connection.execute(limit.restoring)

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

    async def _advance(self, number: int, *, finished: bool = False) -> None:
        results = " " + json.dumps(self._results) if self._results else ""
        await self._progress.advance(number, self._digest.hexdigest() + results, finished=finished)


class _Settings:
    """What a script has set for its session, up to where it was interrupted."""

    def __init__(self) -> None:
        self.kept: list[Statement] = []
        self._before_block = 0

    def pass_by(self, statement: Statement) -> None:
        """Take note of a statement that was run before; a ROLLBACK takes back what was set in its block."""
        stands = stance(statement)
        if stands is Footing.ROLLBACK:
            del self.kept[self._before_block :]
        elif stands in {Footing.BEGIN, Footing.COMMIT}:
            self._before_block = len(self.kept)
        elif sets_session(statement.text):
            self.kept.append(statement)


def _results_in(recorded: str, path: str) -> list[Result]:
    try:
        return [Result(*result) for result in json.loads(recorded or "[]")]
    except (TypeError, ValueError):
        raise HistoryError(
            f"what the history says of how far {path} has come cannot be read",
            advice="restore the script's row; or finish it by hand, and delete the row",
        ) from None


def _done_before(statement: Statement) -> frozenset[str]:
    """Return the errors that mean that a statement was run before; one that makes others may be done by halves."""
    whole = statement.wanted is Wanted.NOTHING
    return _DONE_BEFORE.get(next(leading_words(statement.text), ""), frozenset()) if whole else frozenset()


@contextmanager
def _together_with(progress: Progress) -> Iterator[None]:
    """Take back what the body says of the progress when it fails: the record was rolled back, at a COMMIT as well."""
    before = progress.statements, progress.digest
    try:
        yield
    except BaseException:
        progress.statements, progress.digest = before
        raise


@asynccontextmanager
async def _acting_as(connection: asyncpg.Connection, role: str) -> AsyncIterator[None]:
    """Act as a role, if one is given, over all transactions of the body; whoever gets the session next does not."""
    if not role:
        yield
        return
    await connection.execute(f"SET ROLE {quote_name(role)}")
    try:
        yield
    finally:
        await take_back(connection, "RESET SESSION AUTHORIZATION; RESET ROLE")
