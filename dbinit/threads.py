"""Work in a thread that nobody has to wait for: one that reads standard input may never end."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Unawaited", "in_thread"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(work: Callable[_P, _T], *arguments: _P.args, **more: _P.kwargs) -> _T:
    """Do some work in a thread, so that the event loop goes on meanwhile; cancelled, the thread is left to itself.

    It keeps neither the event loop nor the process from ending, as those of asyncio and anyio do.
    """
    loop = asyncio.get_running_loop()
    end: asyncio.Future[_T] = loop.create_future()

    def run() -> None:
        try:
            result = work(*arguments, **more)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            tell(_fail, error)
        else:
            tell(_succeed, result)

    def tell(how: Callable[..., None], what: object) -> None:
        try:
            loop.call_soon_threadsafe(how, end, what)
        except RuntimeError:  # the loop has been closed: nobody waits any more
            return

    threading.Thread(target=run, name="dbinit", daemon=True).start()
    return await end


class Unawaited(ThreadPoolExecutor):
    """A default executor for an event loop of our own, at whose end nobody waits for what it has begun.

    asyncio looks names up in it, and a name server that does not answer is waited for up to a minute.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> "Future[_T]":
        """Do some work in a thread of its own."""
        future: Future[_T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                future.set_exception(error)

        threading.Thread(target=run, name="dbinit", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as inherited
        """Leave the threads to themselves."""


def _succeed(end: "asyncio.Future[_T]", result: _T) -> None:
    if not end.done():
        end.set_result(result)


def _fail(end: "asyncio.Future[object]", error: BaseException) -> None:
    if not end.done():
        end.set_exception(error)
