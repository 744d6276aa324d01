"""The network on a bad day: nobody there, somebody who says nothing, and a line that freezes."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from tests.kit.server import free_port


def dead_port() -> int:
    """Return a port that refuses connections."""
    return free_port()


@contextmanager
def silent_peer() -> Iterator[int]:
    """Yield a port that accepts connections and says nothing: the kernel does so for whoever listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


class Proxy:
    """Passes bytes between clients and a server, until it is told to freeze; use it as a context manager.

    Args:
        target: The server's port.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._flows = threading.Event()
        self._flows.set()
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        """How many clients have connected so far."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self.thaw()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def freeze(self) -> None:
        """Go on accepting, but let no further byte through."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            self._flows.wait()
            try:
                with socket.create_connection(("127.0.0.1", self._target)) as server:
                    self._pass(client, server)
            except OSError:
                return

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while not self._closing:
                for key, _ in ready.select(0.1):
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(65536)
                    self._flows.wait()
                    if not data:
                        return
                    key.data.sendall(data)
