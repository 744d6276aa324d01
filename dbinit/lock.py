"""One starter at a time: an advisory lock that belongs to the transaction doing the work.

A lock of the session would outlive its client behind a transaction pooler, and would free itself while an orphaned
server process still works. A lock of the transaction does neither. It is polled: a session that blocks inside a
lock call holds a snapshot, and a concurrent index build elsewhere would wait for it.

Where work cannot be one transaction, or is done by several, the lock is held on a connection of its own, and those who
work beside share another one: the lock is only had where nobody does that any more.
"""

import hashlib
import logging
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import asyncpg

from .activity import Session, find_holder, note
from .backoff import delays, is_connection_loss
from .durations import format_duration
from .errors import LockTimeoutError, UnsupportedDatabaseError
from .readiness import Phase, Step
from .timeouts import no_end, notice_end
from .transaction import ending_transaction, take_back

__all__ = [
    "LOCKED",
    "OVERTAKEN",
    "hold_for",
    "lock_key",
    "lock_or_fail",
    "locked_transaction",
    "raise_if_unsupported",
    "until_unlocked",
    "working_beside",
    "works_beside",
]

logger = logging.getLogger("dbinit")

LOCKED = "dbinit: another starter holds the lock"
"""What the server says, as the text of an invalid number, where `lock_or_fail` does not get the lock."""

OVERTAKEN = "the connection that held the migration lock was lost, and another starter has it"
"""What is wrong where `works_beside` is not met."""

_POLL_FIRST, _POLL_MOST = 0.05, 0.5  # seconds
_LOOK_EVERY, _SAY_EVERY = 2.0, 10.0  # seconds
# CockroachDB has the functions, and for years they did nothing; nor is what it does to a schema whole within a
# transaction. Those of YugabyteDB are real from 2025.1 on (2.27 of its previews); before, a setting silences the error
# that they are none. Others say so themselves.
_PRETENDERS = "^CockroachDB|-YB-(2[.](1?[0-9]|2[0-6])|2024)[.]"
_PRETENDS = "dbinit: this database only pretends to have advisory locks: "
_MISSING = frozenset({"0A000", "42883"})  # SQLSTATEs: not supported, no such function


def lock_key(schema: str) -> int:
    """Return the advisory lock's key for a history in `schema`; two histories do not wait for each other."""
    digest = hashlib.sha256(f"dbinit:{schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_or_fail(key: int) -> str:
    """Return the SQL that takes the lock for the transaction it stands in, or fails with `LOCKED`.

    While that transaction lasts, the server notices within a second that its client is gone.
    """
    return f"SELECT CAST({_taken(key, '0', LOCKED)} AS integer), {notice_end()};\n"


def raise_if_unsupported(error: asyncpg.PostgresError) -> None:
    """Raise `UnsupportedDatabaseError` where that is why the lock was not taken."""
    message = getattr(error, "message", None) or ""
    _, pretends, version = message.partition(_PRETENDS)
    if pretends:
        name = re.split(r" on | \(", version, maxsplit=1)[0]
        raise UnsupportedDatabaseError.without_locks(f"this is {name}: its advisory locks do not lock") from None
    if error.sqlstate in _MISSING and "advisory" in message:
        raise UnsupportedDatabaseError.without_locks(f"this database has no advisory locks: {message}") from None


async def until_unlocked(connection: asyncpg.Connection, key: int, wait: timedelta, step: Step) -> None:
    """Wait until nobody holds the lock.

    Args:
        connection: A connection outside of any transaction.
        key: The lock's key, see `lock_key`.
        wait: How long to wait for another starter.
        step: Told of the waiting.

    Raises:
        LockTimeoutError: It was held for too long.
    """
    await _begin(connection, key, wait, step)
    await connection.execute("ROLLBACK")


@asynccontextmanager
async def locked_transaction(
    connection: asyncpg.Connection,
    key: int,
    wait: timedelta,
    step: Step,
    *,
    also: str = "NULL",
    reset: bool = False,
) -> AsyncIterator[None]:
    """Hold the lock within a transaction, committed at the end and rolled back on any error.

    While it lasts, the server notices within a second that its client is gone.

    Args:
        connection: The connection to hold it on.
        key: The lock's key, see `lock_key`.
        wait: How long to wait for another starter.
        step: Told of the waiting.
        also: A SQL expression that is evaluated once the lock is held, in the same round trip. Default: none.
        reset: Whether to take back behind it what was set within it.

    Raises:
        LockTimeoutError: It was not to be had in time.
        UnsupportedDatabaseError: The database only pretends to have such locks.
        asyncpg.PostgresError: The commit failed (a deferred constraint, say).
    """
    await _begin(connection, key, wait, step, also)
    async with ending_transaction(connection, reset=reset):
        yield


async def hold_for(guard: asyncpg.Connection, what: str) -> None:
    """Let the transaction that holds the lock be idle while `what` is done elsewhere, for as long as that takes."""
    said = note(f"holds the lock while {what} runs on another connection")
    await guard.execute(f"{said}{no_end()}")


def works_beside(key: int) -> str:
    """Return a SQL condition by which a transaction works for the holder of the lock, on a connection beside.

    The lock is free as soon as its holder ends, while a server process beside still works: until that transaction
    ends, too, nobody gets the lock. It is not met where another starter has the lock already.
    """
    return f"pg_catalog.pg_try_advisory_xact_lock_shared('{_beside(key)}'::bigint)"


@asynccontextmanager
async def working_beside(connection: asyncpg.Connection, key: int) -> AsyncIterator[None]:
    """Work for the holder of the lock as `works_beside` says, over all transactions of a session.

    Raises:
        asyncpg.ConnectionDoesNotExistError: The connection that held the lock was lost, and another starter has it.
    """
    beside = f"'{_beside(key)}'::bigint"
    if await connection.execute(f"SELECT 1 WHERE pg_catalog.pg_try_advisory_lock_shared({beside})") != "SELECT 1":
        raise asyncpg.ConnectionDoesNotExistError(OVERTAKEN)
    try:
        yield
    finally:
        await take_back(connection, f"SELECT pg_catalog.pg_advisory_unlock_shared({beside})")


async def _begin(connection: asyncpg.Connection, key: int, wait: timedelta, step: Step, also: str = "NULL") -> None:
    # READ COMMITTED, whatever the default: what is read under the lock must be what its last holder committed.
    attempt = (
        f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {notice_end()}, {also}"
        f" WHERE CAST({_taken(key, 'true', 'false')} AS boolean)"
    )
    waiting = _Waiting(connection, key, step)
    deadline = time.monotonic() + wait.total_seconds()
    pauses = delays(_POLL_FIRST, random.random, cap=_POLL_MOST)
    while not await _begins(connection, attempt):
        await waiting.tell()
        if time.monotonic() >= deadline:
            raise waiting.given_up(wait)
        await anyio.sleep(max(0.0, min(next(pauses), deadline - time.monotonic())))


async def _begins(connection: asyncpg.Connection, attempt: str) -> bool:
    """Begin a transaction that holds the lock; return whether there is one now."""
    try:
        if await connection.execute(attempt) == "SELECT 1":
            return True
    except asyncpg.PostgresError as error:
        if not is_connection_loss(error):
            await connection.execute("ROLLBACK")
            raise_if_unsupported(error)
        raise
    await connection.execute("ROLLBACK")
    return False


def _taken(key: int, yes: str, no: str) -> str:
    """Return an expression that takes the lock if it can, and says so by a text; the others are never evaluated."""
    beside = f"'{_beside(key)}'::bigint"
    # Only a look whether it is free: whoever has the lock need not keep that one as well.
    nobody = f"CASE WHEN pg_catalog.pg_try_advisory_lock({beside}) THEN pg_catalog.pg_advisory_unlock({beside}) END"
    pretends = f"pg_catalog.concat('{_PRETENDS}', pg_catalog.version())"
    return (
        f"CASE WHEN pg_catalog.version() OPERATOR(pg_catalog.~) '{_PRETENDERS}' THEN {pretends}"
        f" WHEN NOT pg_catalog.pg_try_advisory_xact_lock('{key}'::bigint) THEN '{no}'"
        f" WHEN {nobody} THEN '{yes}' ELSE '{no}' END"
    )


def _beside(key: int) -> int:
    """Return the key of the lock that those share who work beside the holder of the lock with `key`."""
    return lock_key(f"beside {key}")


class _Waiting:
    """Tells who holds the lock: at first, when that changes, and now and then."""

    def __init__(self, connection: asyncpg.Connection, key: int, step: Step) -> None:
        self._connection = connection
        self._key = key
        self._step = step
        self._began: float | None = None
        self._looked = self._said = 0.0
        self._holder: Session | None = None

    async def tell(self) -> None:
        now = time.monotonic()
        is_first = self._began is None
        if not is_first and now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        before, self._holder = self._holder, await self._look() or self._holder
        is_another = self._holder and (before is None or before.pid != self._holder.pid)
        if is_first:
            self._began = now
            self._say("Another starter holds the migration lock; waiting for it to finish")
        elif is_another or now - self._said >= _SAY_EVERY:
            self._say(f"Still waiting for the migration lock, for {format_duration(now - (self._began or now))} now")

    def given_up(self, wait: timedelta) -> LockTimeoutError:
        """Return the error for a lock that was held for longer than `wait`."""
        end = f"; if it is stuck, SELECT pg_terminate_backend({self._holder.pid}) ends it" if self._holder else ""
        return LockTimeoutError(
            f"another starter has held the migration lock for {format_duration(wait.total_seconds())}{self._who}",
            advice=f"look for a dbinit in pg_stat_activity; if it works, raise DBINIT_LOCK_WAIT{end}",
        )

    async def _look(self) -> Session | None:
        try:
            return await find_holder(self._connection, self._key, _beside(self._key))
        except asyncpg.PostgresError as error:
            if is_connection_loss(error):
                raise
            return None  # this role may not ask: that is no reason not to wait

    def _say(self, what: str) -> None:
        logger.info("%s%s", what, self._who or "...")
        self._said = self._looked
        self._step(Phase.WAITING, detail=f"pid {self._holder.pid} holds the lock" if self._holder else "")

    @property
    def _who(self) -> str:
        if self._holder is None:
            return ""
        kind = "another dbinit" if self._holder.is_dbinit else "no dbinit by its name"
        return f"; it is held by {kind}, {self._holder}"
