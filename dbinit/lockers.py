"""Who keeps the history from being read: somebody who has locked its table, which the server's answer does not say."""

import asyncpg

from .activity import find_sessions, locking
from .errors import LockTimeoutError
from .model import Home
from .transaction import rollback

__all__ = ["raise_if_locked"]


async def raise_if_locked(
    connection: asyncpg.Connection, home: Home, table: str, error: TimeoutError | asyncpg.LockNotAvailableError
) -> None:
    """Raise `LockTimeoutError` where a table was not read in time because somebody has it to himself.

    Args:
        connection: Where it was read; a transaction that is open there is rolled back.
        home: Where the table is.
        table: Its name.
        error: What came of it; also that of a peer which answers no more.
    """
    await rollback(connection)
    if connection.is_closed():
        return
    try:
        lockers = await find_sessions(connection, locking(home.schema, table))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return
    if not lockers:
        return
    end = f"; if it is stuck, SELECT pg_terminate_backend({lockers[0].pid}) ends it" if lockers[0].pid else ""
    raise LockTimeoutError(
        f"the history in {home.schema}.{table} is locked, and was not read in time;"
        f" in the way: {'; '.join(str(locker) for locker in lockers)}",
        advice=f"start again when that has ended{end}",
    ) from error
