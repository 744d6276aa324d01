"""Nobody there, and somebody who says nothing; what comes and goes is in `faulty`."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

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
