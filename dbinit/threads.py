"""Work in a thread that nobody has to wait for: one that reads standard input may never end."""

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["in_thread"]

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


def _succeed(end: "asyncio.Future[_T]", result: _T) -> None:
    if not end.done():
        end.set_result(result)


def _fail(end: "asyncio.Future[object]", error: BaseException) -> None:
    if not end.done():
        end.set_exception(error)
