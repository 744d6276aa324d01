"""The ways to the database that a start and its service have, and the end of all of them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import asyncpg

from .connect import FAILURES, Attempt, connect_arguments, connected, set_keepalive
from .diagnosis import diagnose
from .peer import doubt
from .settings import InitOptions
from .url import DatabaseUrl

__all__ = ["Access"]

logger = logging.getLogger("dbinit")

_POOL_RELEASE_LIMIT = 3.0  # seconds


class Access:
    """The ways to the database; `close()` them in the end."""

    def __init__(self) -> None:
        self._resources = AsyncExitStack()
        self._embedded: dict[str, DatabaseUrl] = {}
        self._doubted: set[str] = set()
        self._used: set[asyncpg.Connection] = set()
        self._farewells: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def connection(
        self, url: DatabaseUrl, options: InitOptions, on_attempt: Callable[[Attempt], None]
    ) -> AsyncIterator[asyncpg.Connection]:
        """Connect with backoff, and close the connection at the end, whatever happens.

        Args:
            url: Where to connect to.
            options: How patiently.
            on_attempt: Told of every attempt, and of its failure.

        Raises:
            ConnectError: The database was not reached, or the connection broke in use.
        """
        url = await self._resolve(url)
        async with connected(url, options, on_attempt, self._farewells.append) as connection:
            self._warn(connection, url)
            self._used.add(connection)
            try:
                yield connection
            finally:
                self._used.discard(connection)

    @asynccontextmanager
    async def pool(self, url: DatabaseUrl, limit: float, **arguments: Any) -> AsyncIterator[asyncpg.Pool]:
        """Open a pool of connections.

        Args:
            url: Where to connect to.
            limit: Seconds for each attempt to connect.
            **arguments: Handed to `asyncpg.create_pool`, instead of ours.

        Raises:
            ConnectError: The server of an `embedded:` URL could not be started.
        """
        url = await self._resolve(url)
        settings = {**url.session, **arguments.pop("server_settings", {})}
        init = partial(self._prepare, url, arguments.pop("init", None))
        known = {**connect_arguments(url), "server_settings": settings, "init": init, "timeout": limit, "min_size": 0}
        pool = await asyncpg.create_pool(**{**known, **arguments})
        try:
            yield pool
        finally:
            with anyio.move_on_after(_POOL_RELEASE_LIMIT, shield=True) as scope:
                await pool.close()
            if scope.cancelled_caught:
                pool.terminate()

    async def ping(self, url: DatabaseUrl, limit: float) -> None:
        """Ask the database for a sign of life on a connection of its own.

        Args:
            url: Where to connect to.
            limit: Seconds for the whole of it.

        Raises:
            ConnectError: There was none in time.
        """
        url = await self._resolve(url)
        connection: asyncpg.Connection | None = None
        try:
            async with asyncio.timeout(limit):
                connection = await asyncpg.connect(**connect_arguments(url))
                self._warn(connection, url)
                await connection.execute("SELECT 1")
        except FAILURES as error:
            raise diagnose(error, url) from None
        finally:
            if connection is not None:
                connection.terminate()

    async def close(self) -> None:
        """See the goodbyes through, and stop what was started. Safe to call more than once."""
        if self._farewells:
            await asyncio.wait(self._farewells)
        await self._resources.aclose()

    def terminate(self) -> None:
        """Cut the connections in use, without a goodbye."""
        for connection in self._used:
            connection.terminate()

    async def _resolve(self, url: DatabaseUrl) -> DatabaseUrl:
        """Return where to connect to; an embedded server is started on first use and kept until `close()`."""
        if url.embedded is None:
            return url
        if url.embedded not in self._embedded:
            from .embedded import embedded_server  # noqa: PLC0415 - an extra, and not needed on the usual way

            started = await self._resources.enter_async_context(embedded_server(Path(url.embedded)))
            self._embedded[url.embedded] = started
        return self._embedded[url.embedded]

    async def _prepare(
        self,
        url: DatabaseUrl,
        init: Callable[[asyncpg.Connection], Awaitable[None]] | None,
        connection: asyncpg.Connection,
    ) -> None:
        """Look at a new connection of the pool before anybody uses it."""
        self._warn(connection, url)
        set_keepalive(connection, url)
        if init is not None:
            await init(connection)

    def _warn(self, connection: asyncpg.Connection, url: DatabaseUrl) -> None:
        """Say once of each URL when others on the way could read or take over its connections."""
        if url.setting not in self._doubted and (found := doubt(connection)):
            self._doubted.add(url.setting)
            logger.warning("The connection to %s %s: set sslmode=verify-full in %s", url, found, url.setting)
