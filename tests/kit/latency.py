"""A server far away: what a client sends takes its time to get there, and the round trips are counted."""

import asyncio
import selectors
import threading
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from typing import Self

_BUFFER = 1 << 20


class LatencyProxy:
    """Passes bytes between clients and a server, with a delay in each round trip; use it as a context manager.

    It delays, it does not throttle: a client's first bytes behind an answer are held, and what it goes on to send
    streams on behind them. To establish a connection takes no delay.

    Args:
        target: The server's port.
        delay: Seconds in each round trip; kept to about half a millisecond.
    """

    def __init__(self, target: int, delay: float) -> None:
        self.target = target
        self.delay = delay
        self.port = 0
        self.round_trips = 0
        """How often the server has answered what a client had sent, in all connections so far."""
        self.delays = 0
        """How often a client's bytes have been held."""
        # select() waits to the microsecond, where epoll rounds up to a millisecond.
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._listening = threading.Event()
        self._closing = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_BUFFER)
        self.port = listener.sockets[0].getsockname()[1]
        self._listening.set()
        await self._closing.wait()
        listener.close()  # and the runner cancels the connections that are left

    async def _serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        with suppress(OSError):
            try:
                server, to_server = await asyncio.open_connection("127.0.0.1", self.target, limit=_BUFFER)
                try:
                    line = _Line(self)
                    await asyncio.gather(line.ask(client, to_server), line.answer(server, to_client))
                finally:
                    to_server.close()
            finally:
                to_client.close()


class _Line:
    """One connection. Whoever ends it ends both ways of it."""

    def __init__(self, proxy: LatencyProxy) -> None:
        self._proxy = proxy
        self._asked = False

    async def ask(self, client: StreamReader, to_server: StreamWriter) -> None:
        while data := await client.read(_BUFFER):
            if not self._asked:
                await asyncio.sleep(self._proxy.delay)
                self._proxy.delays += 1
                self._asked = True
            to_server.write(data)
            await to_server.drain()
        to_server.close()

    async def answer(self, server: StreamReader, to_client: StreamWriter) -> None:
        while data := await server.read(_BUFFER):
            self._proxy.round_trips += self._asked
            self._asked = False
            to_client.write(data)
            await to_client.drain()
        to_client.close()
