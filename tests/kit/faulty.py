"""A way to a server that fails when and as it is told to: refuses, hangs, delays, freezes, cuts, loses an answer."""

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from tests.kit.server import free_port

_BUFFER = 1 << 16
_LOOK_EVERY = 0.1  # seconds
_AT_ONCE = struct.pack("ii", 1, 0)  # of SO_LINGER: closing drops what is on its way, and resets
# CommandComplete with the tag COMMIT, https://www.postgresql.org/docs/current/protocol-message-formats.html
_COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"


class FaultyProxy:
    """Passes bytes between clients and a server; use it as a context manager.

    What it is told holds until it is told otherwise; a cut or a lost answer happens once.

    Args:
        target: The server's port.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        """Seconds by which each piece of data is held up, either way."""
        self.accepted = 0
        """How many clients have connected so far."""
        self.cuts = 0
        """How many connections have been cut so far."""
        self.to_server = self.to_client = 0
        """How many bytes have been passed so far, over all connections."""
        self._flows = threading.Event()
        self._flows.set()
        self._hangs = self._refuses = self._closing = False
        self._budgets: dict[str, int] = {}
        self._commits = 0
        self._lock = threading.Lock()
        self._lines: set[_Line] = set()
        self._threads: list[threading.Thread] = []
        # Of a port that is refused for a while, nobody else on this host gets hold.
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self.thaw()
        self.cut()
        self._stop_listening()
        for thread in self._threads:
            thread.join()

    def refuse(self) -> None:
        """Refuse connections from now on; those that there are stay."""
        self._refuses = True
        self._stop_listening()

    def hang(self) -> None:
        """Accept connections from now on, and say nothing to them; those that there are stay."""
        self._hangs = True

    def admit(self) -> None:
        """Accept connections and serve them, as in the beginning."""
        self._hangs = False
        if self._refuses:
            self._refuses = False
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._begin(self._accept)

    def freeze(self) -> None:
        """Go on accepting, but let no further byte through; the kernel still acknowledges what is sent."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """Cut all connections; whoever connects then is served."""
        with self._lock:
            lines = tuple(self._lines)
        for line in lines:
            line.cut()

    def cut_after(self, *, to_server: int | None = None, to_client: int | None = None) -> None:
        """Cut a connection once so many more bytes have been passed, over all connections; it gets no more than those.

        Args:
            to_server: Bytes on the way to the server.
            to_client: Bytes on the way back.
        """
        with self._lock:
            wanted = {"to_server": to_server, "to_client": to_client}
            self._budgets = {way: number for way, number in wanted.items() if number is not None}

    def lose_commit(self, number: int = 1) -> None:
        """Cut a connection when the server has committed for the `number`th time from now on, and keep that to us."""
        with self._lock:
            self._commits = number

    def allowed(self, way: str, data: bytes) -> bytes | None:
        """Return what is passed of the data that go this way, None for all; the connection is cut behind it."""
        with self._lock:
            budget = self._budgets.get(way)
            kept = data if budget is None else data[:budget]
            setattr(self, way, getattr(self, way) + len(kept))
            if budget is None:
                return None
            self._budgets[way] = budget - len(kept)
            if self._budgets[way]:
                return None
            self._budgets = {}
            return kept

    def loses(self, commits: int) -> bool:
        """Tell whether the last of so many commits, which have been seen just now, is one that nobody is to hear of."""
        with self._lock:
            if not self._commits or not commits:
                return False
            self._commits = max(self._commits - commits, 0)
            return not self._commits

    def flows(self, limit: float) -> bool:
        """Wait while all is frozen, for `limit` seconds at most; tell whether it is not."""
        return self._flows.wait(limit)

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._begin(self._serve, _Line(self, client))

    def _serve(self, line: "_Line") -> None:
        with self._lock:
            self._lines.add(line)
        try:
            while self._hangs and not (line.is_cut or self._closing):
                time.sleep(_LOOK_EVERY)
            line.serve(self.target)
        finally:
            with self._lock:
                self._lines.discard(line)
                self.cuts += line.is_cut


class _Line:
    """One connection."""

    def __init__(self, proxy: FaultyProxy, client: socket.socket) -> None:
        self.is_cut = False
        self._proxy = proxy
        self._client = client
        self._tail = b""

    def cut(self) -> None:
        """Have it cut by its own thread."""
        self.is_cut = True

    def serve(self, target: int) -> None:
        """Pass bytes until either end, or we, have had enough."""
        with self._client:
            with suppress(OSError), socket.create_connection(("127.0.0.1", target)) as server:
                self._pass(server)
                if self.is_cut:
                    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            if self.is_cut:
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)

    def _pass(self, server: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._client, selectors.EVENT_READ, ("to_server", server))
            ready.register(server, selectors.EVENT_READ, ("to_client", self._client))
            while not self.is_cut:
                for key, _ in ready.select(_LOOK_EVERY):
                    assert isinstance(key.fileobj, socket.socket)
                    way, other = key.data
                    data = key.fileobj.recv(_BUFFER)
                    time.sleep(self._proxy.delay)
                    while not self._proxy.flows(_LOOK_EVERY) and not self.is_cut:
                        pass
                    if not data or self.is_cut:
                        return
                    self._forward(way, other, data)

    def _forward(self, way: str, other: socket.socket, data: bytes) -> None:
        if way == "to_client" and self._is_lost(data):
            self.is_cut = True
            return
        kept = self._proxy.allowed(way, data)
        other.sendall(data if kept is None else kept)
        self.is_cut = self.is_cut or kept is not None

    def _is_lost(self, data: bytes) -> bool:
        seen = self._tail + data
        self._tail = seen[-len(_COMMITTED) + 1 :]
        return self._proxy.loses(seen.count(_COMMITTED))
