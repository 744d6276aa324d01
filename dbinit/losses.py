"""A lost connection is not the end of the work: it is begun again, as long as that leads somewhere.

Whoever begins again reads the history first, so that nothing is done twice.
"""

import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import anyio

from .backoff import delays
from .durations import format_duration
from .errors import NOTHING_APPLIED, ConnectError, ConnectionLostError, DemotedError
from .settings import InitOptions
from .url import DatabaseUrl

__all__ = ["Losses"]

logger = logging.getLogger("dbinit")

# A script that crashes the server each time must not do so for ever: each crash is everybody's.
_MOST_IN_A_ROW = 3
_T = TypeVar("_T")


class Losses:
    """The losses of one start, and what follows from them.

    Args:
        options: How patiently to connect at first.
        on_loss: Called at each loss after which the work is begun again.
    """

    def __init__(self, options: InitOptions, on_loss: Callable[[], None]) -> None:
        self._options = options
        self._on_loss = on_loss
        self._history: object = None
        self._has_looked = False
        self._in_a_row = 0
        self._in_vain = 0  # those of them behind which the history had been read
        self._since = math.inf  # by time.monotonic(): for how long it has not been read
        self._lost: ConnectionLostError | None = None
        self._demoted = False

    def seen(self, history: object) -> None:
        """Take note of what the history says; where it has come further, the losses are counted anew.

        Args:
            history: Anything that is equal as long as the history says the same.
        """
        self._has_looked = True
        if history != self._history:
            self._history, self._in_a_row, self._in_vain = history, 0, 0

    @property
    def options(self) -> InitOptions:
        """How patiently to connect: the database was there before, so that only the deadline counts."""
        return replace(self._options, retry_attempts=0) if self._lost else self._options

    def where(self, url: DatabaseUrl) -> DatabaseUrl:
        """Return where to connect to: a primary, once a standby was met where something is to be written."""
        if not self._demoted or url.driver.get("target_session_attrs", "any") != "any":
            return url
        return url._replace(driver={**url.driver, "target_session_attrs": "primary"})

    async def outlast(self, work: Callable[[], Awaitable[_T]], *, until: float | None = None) -> _T:
        """Do some work, again from its beginning when the connection is lost.

        Args:
            work: What to do; it connects by itself, and reads the history before anything else.
            until: By `time.monotonic()`, when to give up. Default: when the connection has been lost three times in a
                row without the history having come any further; where not even the history could be read, as behind
                a pooler whose server is away, when that has taken as long as connecting may.

        Raises:
            ConnectionLostError: It was lost too often.
            DbInitError: As the work does.
        """
        while True:
            try:
                return await work()
            except ConnectionLostError as error:
                self._take(error, until)
            except ConnectError as error:
                if self._lost:
                    error.outcome = error.outcome.replace(NOTHING_APPLIED, self._lost.outcome)
                raise
            await self._pause()

    def _take(self, error: ConnectionLostError, until: float | None) -> None:
        self._lost = error
        self._in_a_row += 1
        self._in_vain += self._has_looked
        self._since = time.monotonic() if self._has_looked else min(self._since, time.monotonic())
        self._has_looked = False
        self._demoted = self._demoted or isinstance(error, DemotedError)
        if until is not None and time.monotonic() >= until:
            raise error
        if until is None and self._left <= 0:
            error.message += f"; it has been so for {format_duration(self._deadline)}"
            raise error
        if until is None and self._in_vain >= _MOST_IN_A_ROW:
            error.message += f"; that was the last of {_MOST_IN_A_ROW} times in a row, with nothing gained in between"
            error.advice = f"look into the server's log for why it breaks; then {error.advice}"
            raise error
        logger.warning("%s; connecting again", error.message)
        self._on_loss()

    async def _pause(self) -> None:
        """Wait before the work is begun again, unless it is for the first time."""
        if self._in_a_row > 1:
            pauses = delays(self._options.retry_delay.total_seconds(), random.random)
            pause = next(islice(pauses, self._in_a_row - 2, None))
            await anyio.sleep(min(pause, max(self._left, 0)))

    @property
    def _deadline(self) -> float:
        return self._options.connect_deadline.total_seconds()

    @property
    def _left(self) -> float:
        """How many seconds there are left until the history has to be read."""
        return self._since + self._deadline - time.monotonic()
