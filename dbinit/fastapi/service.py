"""What a running service knows of its start; it lives in the lifespan's state, and so in every request's scope."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from dbinit.errors import ConnectError, DbInitError
from dbinit.initializer import Initializer
from dbinit.model import Mode
from dbinit.readiness import Phase, Readiness
from dbinit.settings import InitOptions

__all__ = ["Pulse", "Service", "service_of"]

logger = logging.getLogger("dbinit")

_KEY = "dbinit"


class Service:
    """The start of one service: runs it, remembers how it ended, and holds the pool.

    Args:
        pool_arguments: Handed to `asyncpg.create_pool`.
    """

    def __init__(self, pool_arguments: dict[str, Any]) -> None:
        self.pool: asyncpg.Pool | None = None
        self.failure: DbInitError | None = None
        self.pulse: Pulse | None = None
        self._initializer: Initializer | None = None
        self._pool_arguments = pool_arguments
        self._resources = AsyncExitStack()

    @property
    def readiness(self) -> Readiness:
        """How far the start has come; failed where not even the settings could be read."""
        if self._initializer is None:
            if self.failure is None:
                return Readiness()
            return Readiness(phase=Phase.FAILED, error=type(self.failure).__name__)
        return self._initializer.readiness

    @property
    def ready(self) -> bool:
        """Whether the schema is there and requests can be served."""
        return self.pool is not None and self.failure is None

    def prepare(self, read_options: Callable[[], InitOptions]) -> InitOptions | None:
        """Read the options; None, with the failure noted, where they cannot be used."""
        try:
            options = read_options()
        except DbInitError as error:
            self._fail(error)
            return None
        self._initializer = Initializer(options)
        self._resources.push_async_callback(self._initializer.close)
        self.pulse = Pulse(self._initializer.ping)
        return options

    async def start(self, mode: Mode) -> None:
        """Bring the schema into being, or in `verify` mode wait for it; a failure is logged and noted, not raised."""
        initializer = self._initializer
        if initializer is None:
            return
        try:
            await (initializer.verify() if mode is Mode.VERIFY else initializer.initialize())
            self.pool = await self._resources.enter_async_context(initializer.pool(**self._pool_arguments))
        except DbInitError as error:
            self._fail(error)
        except Exception as error:
            # An exception that escaped from here would end the lifespan behind the server's back.
            logger.exception("The start failed unexpectedly")
            self.failure = DbInitError(f"unexpected {type(error).__name__}")

    def terminate(self) -> None:
        """Cut the connections of a start that was cancelled and takes too long to end."""
        if self._initializer is not None:
            self._initializer.terminate()

    async def close(self) -> None:
        """Close the pool and whatever the start still holds."""
        self.pool = None
        await self._resources.aclose()

    def _fail(self, error: DbInitError) -> None:
        self.failure = error
        logger.error("%s", error)


class Pulse:
    """Asks the database for a sign of life: one question at a time, its answer kept for a while.

    Args:
        ping: Raises `ConnectError` when there is none within the seconds it is given.
        limit: Seconds that a caller waits at most.
        max_age: Seconds that an answer is good for.
    """

    def __init__(self, ping: Callable[[float], Awaitable[None]], *, limit: float = 0.6, max_age: float = 5.0) -> None:
        self._ping = ping
        self._limit = limit
        self._max_age = max_age
        self._asked = 0.0
        self._question: asyncio.Task[bool] | None = None

    async def beats(self) -> bool:
        """Tell whether the database answers; however many ask at once, it is asked once."""
        stale = time.monotonic() - self._asked > self._max_age
        if self._question is None or (self._question.done() and stale):
            self._asked = time.monotonic()
            self._question = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait({self._question}, timeout=self._limit)
        return bool(done) and self._question.result()

    async def _ask(self) -> bool:
        try:
            await self._ping(self._limit)
        except ConnectError:
            return False
        return True


def service_of(scope: MutableMapping[str, Any]) -> Service | None:
    """Return the service a request belongs to; None where no lifespan ran."""
    service = scope.get("state", {}).get(_KEY)
    return service if isinstance(service, Service) else None


def state_of(service: Service) -> dict[str, Any]:
    """Return the lifespan state that `service_of` finds again."""
    return {_KEY: service}
