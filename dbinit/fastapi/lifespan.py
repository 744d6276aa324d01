"""The lifespan: starts the work, opens the pool, and ends the process when the start fails for good."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from enum import Enum
from types import FrameType
from typing import Any, TypeVar

import anyio
from fastapi import FastAPI

from dbinit.model import Mode, OnFailure
from dbinit.settings import InitOptions

from .service import Service, state_of

__all__ = ["lifespan"]

_PATIENCE = 0.6  # seconds that a start has to end in, before its connections are cut
_E = TypeVar("_E", bound=Enum)
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any] | None]]


def lifespan(  # noqa: PLR0913 - keywords, each with a default
    options: InitOptions | None = None,
    *,
    mode: Mode | str | None = None,
    on_failure: OnFailure | str | None = None,
    inner: Lifespan | None = None,
    pool_size: int = 10,
    pool_init: Callable[..., Any] | None = None,
    statement_cache_size: int = 100,
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan for `FastAPI(lifespan=...)`.

    Args:
        options: What to do, and where. Default: read from the environment when the service starts.
        mode: `background` opens the port at once and applies meanwhile; `blocking` opens it once the schema is
            there; `verify` is like `background`, but applies nothing. Default: the options' mode.
        on_failure: `exit` ends the process with the error's exit code, `stay` leaves it at 503. Default: the
            options' choice. Outside the main thread (a test client) nothing is ended: `blocking` raises, the
            others stay.
        inner: Another lifespan to run within this one; in `blocking` mode it starts once the schema is there.
        pool_size: The most connections the pool holds.
        pool_init: Called with each new connection of the pool, as `asyncpg.create_pool(init=...)`.
        statement_cache_size: How many prepared statements each connection of the pool keeps. 0 keeps none, as a
            transaction pooler wants it.
    """

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        service = Service({"max_size": pool_size, "init": pool_init, "statement_cache_size": statement_cache_size})
        given = {"mode": mode, "on_failure": on_failure}
        prepared = service.prepare(lambda: _with_choices(options, given))
        if prepared:
            chosen, chosen_end = Mode(prepared.mode), OnFailure(prepared.on_failure)
        else:
            chosen = _asked_for(mode, "DBINIT_MODE", Mode.BACKGROUND)
            chosen_end = _asked_for(on_failure, "DBINIT_ON_FAILURE", OnFailure.EXIT)
        leaver = _Leaver(service, chosen_end)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_close, service)
            if chosen is Mode.BLOCKING:
                await leaver.start_blocking(chosen)
            else:
                await stack.enter_async_context(_running(leaver.start(chosen), service.terminate))
            state: dict[str, Any] = {}
            if inner is not None and not leaver.leaving:
                inner_state = await stack.enter_async_context(inner(app))
                state.update(inner_state if inner_state is not None else {})
            try:
                yield {**state, **state_of(service)}
            except asyncio.CancelledError:
                # Our own SystemExit cancels all tasks; passing that on would log a traceback of nobody's interest.
                if not leaver.leaving:
                    raise

    return run


def _with_choices(options: InitOptions | None, given: dict[str, Any]) -> InitOptions:
    chosen = {name: value for name, value in given.items() if value is not None}
    if options is None:
        return InitOptions.from_env(**chosen)
    return replace(options, **chosen)


def _asked_for(given: _E | str | None, variable: str, default: _E) -> _E:
    """Return what was asked for about a start whose settings cannot be read, as far as that much can be."""
    try:
        return type(default)(given or os.environ.get(variable))
    except ValueError:
        return default


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], hurry: Callable[[], None]) -> AsyncIterator[None]:
    """Run `work` beside the body, and cancel it when the body ends first; `hurry` it when it takes its time to end.

    A task group would wrap what the body raises into an ExceptionGroup.
    """
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({task}, timeout=_PATIENCE)
            if not task.done():
                hurry()
                await asyncio.wait({task})


async def _close(service: Service) -> None:
    with anyio.CancelScope(shield=True):
        await service.close()


class _Leaver:
    """Starts the service, and ends the process when that fails and ending it was asked for."""

    def __init__(self, service: Service, on_failure: OnFailure) -> None:
        self._service = service
        self._exits = on_failure is OnFailure.EXIT
        self.leaving = False

    async def start(self, mode: Mode) -> None:
        await self._service.start(mode)
        if self._service.failure and self._exits and _in_main_thread():
            self._leave(self._service.failure.exit_code)

    async def start_blocking(self, mode: Mode) -> None:
        """Start, and listen to signals meanwhile: uvicorn itself would wait until the start is over."""
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:

            def stop() -> None:
                scope.cancel()
                loop.call_later(_PATIENCE, self._service.terminate)

            with _on_signal(stop) as received:
                await self.start(mode)
        if received:
            self._leave(128 + received[0])
        elif self._service.failure and self._exits and not self.leaving:
            raise self._service.failure

    def _leave(self, code: int) -> None:
        """End the process with `code`, by the way that asyncio keeps open for it.

        SystemExit in a callback leaves the event loop at once, and whoever runs the loop then cancels all tasks,
        so that everything is released. Raised in the lifespan itself it would be caught, and logged at length.
        """
        self.leaving = True
        asyncio.get_running_loop().call_soon(_exit, int(code))


def _exit(code: int) -> None:
    raise SystemExit(code)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _on_signal(react: Callable[[], None]) -> Iterator[list[int]]:
    """React to SIGTERM and SIGINT, besides what is done about them already; yield those received."""
    received: list[int] = []
    if not _in_main_thread():
        yield received
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        loop.call_soon_threadsafe(react)
        previous = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield received
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
