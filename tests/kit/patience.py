"""Polling with a deadline, for whatever takes as long as it takes."""

import time
from collections.abc import Awaitable, Callable

import anyio


def eventually(holds: Callable[[], bool], limit: float = 40.0, say: Callable[[], str] = str) -> None:
    """Wait until `holds()` is true; fail with `say()` after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, say() or "it did not happen in time"
        time.sleep(0.02)


async def eventually_async(holds: Callable[[], Awaitable[bool]], limit: float = 40.0) -> None:
    """Wait until `await holds()` is true; fail after `limit` seconds."""
    with anyio.fail_after(limit):
        while not await holds():  # noqa: ASYNC110 - what is waited for is outside of this process
            await anyio.sleep(0.02)
