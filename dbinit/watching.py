"""Looks from beside who is in the way of a statement: that can only be seen while it waits."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import anyio
import asyncpg

from .activity import Session, blockers_of
from .errors import DbInitError

__all__ = ["Connect", "Watch", "watching"]

Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]

_LOOKS = 4  # within the time that a statement may wait
_SHORTEST, _LONGEST = 0.02, 1.0  # seconds between two looks
_LOOK_LIMIT = 1.0  # seconds for one


class Watch:
    """What is seen of one try after the other.

    Args:
        limit: How long a statement may wait for a lock, as a rule.
    """

    def __init__(self, limit: timedelta | None) -> None:
        self.blockers: list[Session] = []
        """Who was in the way when it was last looked, in this try."""
        self.limit = limit
        """How long a statement of this try may wait for a lock; None: that is not known, and nobody looks."""
        self._waiting = ""
        self._began = 0.0

    def begin(self, waiting: str, limit: timedelta | None) -> None:
        """Take note that a try begins.

        Args:
            waiting: A query for its server process, see `activity.holding`.
            limit: How long its statements may wait for a lock; None: nobody need look.
        """
        self.blockers = []
        self.limit, self._waiting, self._began = limit, waiting, time.monotonic()

    def end(self) -> None:
        """Take note that it has ended; what was seen is kept."""
        self._waiting = ""

    async def look_on(self, connect: Connect) -> None:
        """Look for as long as there are tries; a connection is made only where one takes long, and closed behind it."""
        while True:
            await anyio.sleep(self._pause)
            if self._is_due:
                try:
                    async with connect() as connection:
                        await self._look(connection)
                except (DbInitError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    self.end()  # who is in the way is good to know, and no more

    async def _look(self, connection: asyncpg.Connection) -> None:
        while self._is_due:
            with anyio.move_on_after(_LOOK_LIMIT, shield=True):  # a query cancelled half-way would spoil the connection
                self.blockers = await blockers_of(connection, self._waiting) or self.blockers
            await anyio.sleep(self._pause)

    @property
    def _pause(self) -> float:
        wanted = self.limit.total_seconds() / _LOOKS if self.limit else _LONGEST
        return min(max(wanted, _SHORTEST), _LONGEST)

    @property
    def _is_due(self) -> bool:
        if not self._waiting or self.limit is None:
            return False
        return time.monotonic() - self._began >= self.limit.total_seconds() / 2


@asynccontextmanager
async def watching(connect: Connect, limit: timedelta | None) -> AsyncIterator[Watch]:
    """Watch what is run meanwhile.

    Args:
        connect: Makes another connection.
        limit: How long a statement may wait for a lock, as a rule.
    """
    watch = Watch(limit)
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.look_on, connect)
        try:
            yield watch
        except Exception as error:  # noqa: BLE001 - raised again below; the task group would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure:
        raise failure
