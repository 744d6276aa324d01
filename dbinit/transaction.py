"""A transaction that always ends: committed, or rolled back whatever cancels us."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import asyncpg

from .patience import committing
from .roles import acting_as

__all__ = [
    "RESET",
    "RESET_SETTINGS",
    "ending_transaction",
    "is_standby",
    "read_only_transaction",
    "rollback",
    "stopping_with",
    "take_back",
    "transaction",
]

RESET_SETTINGS = "RESET SESSION AUTHORIZATION; RESET ALL;\n"
"""Makes the session what it was when it began; inside a transaction."""
RESET = f"BEGIN; {RESET_SETTINGS} COMMIT;\n"
"""Does so in a transaction of its own."""

_ROLLBACK_LIMIT = 1.0


@asynccontextmanager
async def ending_transaction(connection: asyncpg.Connection, *, reset: bool = False) -> AsyncIterator[None]:
    """Commit the transaction that has begun, or roll it back on any error.

    With `reset`, what was set in it is taken back in the same message: behind a transaction pooler the session is
    somebody else's afterwards.

    The rollback is shielded from cancellation, but not waited for for ever: closing the connection does the same.
    (asyncpg's own `transaction()` leaves the rollback out when it is cancelled by an anyio scope.)
    """
    try:
        yield
        with committing(connection):
            await connection.execute(f"COMMIT; {RESET}" if reset else "COMMIT")
    except BaseException:
        await rollback(connection)
        raise


async def rollback(connection: asyncpg.Connection) -> None:
    """Roll back the transaction that may be open, or end the connection; whatever cancels us, within a second."""
    await _execute_or_end(connection, "ROLLBACK")


async def take_back(connection: asyncpg.Connection, commands: str) -> None:
    """Take back what was set or held for a session, or end the connection; whatever cancels us, within two seconds."""
    await rollback(connection)
    await _execute_or_end(connection, commands)


async def _execute_or_end(connection: asyncpg.Connection, commands: str) -> None:
    with anyio.move_on_after(_ROLLBACK_LIMIT, shield=True) as scope:
        try:
            await connection.execute(commands)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            connection.terminate()
    if scope.cancelled_caught:
        connection.terminate()


async def is_standby(connection: asyncpg.Connection) -> bool:
    """Tell whether the server is a standby, after it has refused to write; so is one that has gone away since."""
    try:
        asked = "ROLLBACK; SELECT 1 WHERE pg_catalog.pg_is_in_recovery()"
        return await connection.execute(asked, timeout=_ROLLBACK_LIMIT) == "SELECT 1"
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return True


@asynccontextmanager
async def stopping_with(
    connection: asyncpg.Connection, reason: str = "the connection that held the migration lock was closed"
) -> AsyncIterator[None]:
    """Stop the body when a connection is lost.

    Args:
        connection: The connection: one beside, as what it held is lost with it, or one that is written to.
        reason: What to say then.

    Raises:
        asyncpg.ConnectionDoesNotExistError: It was lost.
    """
    with anyio.CancelScope() as scope:

        def stop(_: object) -> None:
            scope.cancel()

        connection.add_termination_listener(stop)
        try:
            yield
        finally:
            connection.remove_termination_listener(stop)
    if scope.cancelled_caught:
        raise asyncpg.ConnectionDoesNotExistError(reason)


@asynccontextmanager
async def transaction(connection: asyncpg.Connection, role: str = "", *, reset: bool = False) -> AsyncIterator[None]:
    """Do something whole or not at all, as `role` if that is given; `reset` is that of `ending_transaction`.

    What others commit meanwhile is seen, whatever the default.
    """
    await connection.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED; {acting_as(role)}")
    async with ending_transaction(connection, reset=reset):
        yield


@asynccontextmanager
async def read_only_transaction(connection: asyncpg.Connection, role: str = "") -> AsyncIterator[None]:
    """Read as of one transaction, which a pooler keeps on one server connection, as `role` if that is given."""
    await connection.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {acting_as(role)}")
    async with ending_transaction(connection):
        yield
