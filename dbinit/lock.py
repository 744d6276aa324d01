"""One starter at a time: an advisory lock that belongs to the transaction doing the work.

A lock of the session would outlive its client behind a transaction pooler, and would free itself while an orphaned
server process still works. A lock of the transaction does neither. It is polled: a session that blocks inside a
lock call holds a snapshot, and a concurrent index build elsewhere would wait for it.
"""

import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import asyncpg

from .durations import format_duration
from .errors import LockTimeoutError
from .transaction import ending_transaction

__all__ = ["LOCKED", "lock_key", "lock_or_fail", "locked_transaction", "until_unlocked"]

LOCKED = "dbinit: another starter holds the lock"
"""What the server says, as the text of an invalid number, where `lock_or_fail` does not get the lock."""

_POLL_FIRST, _POLL_MOST = 0.05, 0.5


def lock_key(schema: str) -> int:
    """Return the advisory lock's key for a history in `schema`; two histories do not wait for each other."""
    digest = hashlib.sha256(f"dbinit:{schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_or_fail(key: int) -> str:
    """Return the SQL that takes the lock for the transaction it stands in, or fails with `LOCKED`."""
    taken = f"pg_catalog.pg_try_advisory_xact_lock('{key}'::bigint)"
    return f"SELECT CAST(CASE WHEN {taken} THEN '0' ELSE '{LOCKED}' END AS integer);\n"


async def until_unlocked(
    connection: asyncpg.Connection, key: int, wait: timedelta, on_wait: Callable[[], None]
) -> None:
    """Wait until nobody holds the lock.

    Args:
        connection: A connection outside of any transaction.
        key: The lock's key, see `lock_key`.
        wait: How long to wait for another starter.
        on_wait: Called once, when another starter is found to hold it.

    Raises:
        LockTimeoutError: It was held for too long.
    """
    await _begin(connection, key, wait, on_wait)
    await connection.execute("ROLLBACK")


@asynccontextmanager
async def locked_transaction(
    connection: asyncpg.Connection, key: int, wait: timedelta, on_wait: Callable[[], None], *, reset: bool = False
) -> AsyncIterator[None]:
    """Hold the lock within a transaction, committed at the end and rolled back on any error.

    Args:
        connection: The connection to hold it on.
        key: The lock's key, see `lock_key`.
        wait: How long to wait for another starter.
        on_wait: Called once, when another starter is found to hold it.
        reset: Whether to take back behind it what was set within it.

    Raises:
        LockTimeoutError: It was not to be had in time.
        asyncpg.PostgresError: The commit failed (a deferred constraint, say).
    """
    await _begin(connection, key, wait, on_wait)
    async with ending_transaction(connection, reset=reset):
        yield


async def _begin(connection: asyncpg.Connection, key: int, wait: timedelta, on_wait: Callable[[], None]) -> None:
    # READ COMMITTED, whatever the default: what is read under the lock must be what its last holder committed.
    attempt = (
        f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT 1 WHERE pg_catalog.pg_try_advisory_xact_lock('{key}'::bigint)"
    )
    deadline = time.monotonic() + wait.total_seconds()
    pause = _POLL_FIRST
    waiting = False
    while await connection.execute(attempt) != "SELECT 1":
        await connection.execute("ROLLBACK")
        if not waiting:
            waiting = True
            on_wait()
        if time.monotonic() >= deadline:
            raise LockTimeoutError(
                f"another starter has held the migration lock for {format_duration(wait.total_seconds())}",
                advice="look for a dbinit in pg_stat_activity; if it works, raise DBINIT_LOCK_WAIT",
            )
        jittered = pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
        await anyio.sleep(max(0.0, min(jittered, deadline - time.monotonic())))
        pause = min(pause * 2, _POLL_MOST)
