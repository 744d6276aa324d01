"""Connects for one piece of work: patiently, and again where the connection is lost."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from .access import Access
from .backoff import is_connection_loss
from .connect import Attempt
from .durations import format_duration
from .errors import NOTHING_APPLIED, PrivilegeError
from .losses import Losses
from .peer import check_locks, check_role
from .readiness import Phase, Step
from .settings import InitOptions
from .url import DatabaseUrl

__all__ = ["Connector"]

logger = logging.getLogger("dbinit")

_MAY_NOT_READ = (
    "this role cannot read the history: GRANT it USAGE on the schema and SELECT on the table, or act as their owner"
    " (DBINIT_ROLE), or name the schema of a history of its own (DBINIT_HISTORY_SCHEMA)"
)


class Connector:
    """Connects for one piece of work: a start, or a look at how things stand.

    Args:
        options: Where to, and how patiently.
        access: The ways to the database.
        step: Told of how far the work has come, each attempt to connect included.
    """

    def __init__(self, options: InitOptions, access: Access, step: Step) -> None:
        self._options = options
        self._access = access
        self.step = step
        """Told of how far the work has come."""
        self.losses = Losses(options, self._on_loss)
        """The losses of its connections."""

    @asynccontextmanager
    async def connected(self, url: DatabaseUrl) -> AsyncIterator[asyncpg.Connection]:
        """Connect, and report what PostgreSQL refuses to show.

        Raises:
            ConnectError: The database was not reached, or the connection broke in use.
            StatementError: PostgreSQL refused to show the history.
        """
        url = self.losses.where(url)
        async with self._access.connection(url, self.losses.options, self._on_attempt) as connection:
            logger.info("Successfully connected to database")
            try:
                yield connection
            except asyncpg.PostgresError as error:
                if is_connection_loss(error):
                    raise
                from .failure import statement_error  # noqa: PLC0415 - seldom needed

                failure = statement_error(error, title="PostgreSQL refused to show the history:")
                failure.outcome = NOTHING_APPLIED
                if isinstance(failure, PrivilegeError):
                    failure.advice = _MAY_NOT_READ
                raise failure from None

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[asyncpg.Connection]:
        """Connect as whoever may change the schema.

        Raises:
            DbInitError: As `connected()`; or the database has no locks, or there is no such role.
        """
        async with self.connected(self._options.migrating_url) as connection:
            check_locks(connection)
            await check_role(connection, self._options.home.role)
            yield connection

    @asynccontextmanager
    async def migrating_too(self) -> AsyncIterator[asyncpg.Connection]:
        """Make a second such connection, of which no more need be said.

        Raises:
            ConnectError: The database was not reached, or the connection broke in use.
        """
        url = self.losses.where(self._options.migrating_url)
        async with self._access.connection(url, self.losses.options, lambda _: None) as connection:
            yield connection

    def _on_loss(self) -> None:
        self.step(Phase.CONNECTING, attempt=0, statement=0, detail="")

    def _on_attempt(self, attempt: Attempt) -> None:
        self.step(Phase.CONNECTING, attempt=attempt.number)
        number = f"{attempt.number}/{attempt.of}" if attempt.of else f"{attempt.number}"
        if not attempt.failure:
            logger.info("Attempting to connect to database (attempt %s)...", number)
            return
        pause = format_duration(attempt.pause)
        logger.warning("Attempt %s failed: %s; the next one in %s at most", number, attempt.failure, pause)
