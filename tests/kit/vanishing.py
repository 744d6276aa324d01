"""A line on which everything vanishes from one moment on, as when a machine or a cable is gone: nobody says so.

Two network namespaces with a cable between them; Linux and root's rights are needed.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kit.patience import eventually
from tests.kit.process import Process, running
from tests.kit.server import Server

__all__ = ["Line", "vanishing"]

_NEAR, _FAR = "10.255.255.1", "10.255.255.2"
_PORT = 5432
_RELAY = """
import asyncio, sys

async def passed(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()

async def serve(reader, writer):
    there = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(passed(reader, there[1]), passed(there[0], writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(serve, sys.argv[2], int(sys.argv[3]))
    print("listening", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class Line(NamedTuple):
    """A line to a server.

    Attributes:
        inside: What a command begins with that is to run at its near end.
        url: The server's URL there.
        vanish: Has the line swallow all from now on.
    """

    inside: tuple[str, ...]
    url: str
    vanish: Callable[[], None]


@contextmanager
def vanishing(server: Server, database: str) -> Iterator[Line]:
    """Lay a line to a server; skip the test where that is not allowed."""
    with ExitStack() as stack:
        try:
            near, far = (stack.enter_context(running("unshare", "--net", "sleep", "600")) for _ in range(2))
            _set_up(near, far)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("NOT PROVED ON A LINE THAT VANISHES: it takes Linux, iproute2 and root's rights")
        socket = str(server.folder / f".s.PGSQL.{server.port}")
        relay = stack.enter_context(running(*_inside(far), sys.executable, "-c", _RELAY, socket, _FAR, str(_PORT)))
        relay.wait_for("listening")
        url = server.url(database).replace(f"127.0.0.1:{server.port}", f"{_FAR}:{_PORT}")
        # It receives, and no answer comes back.
        yield Line(_inside(near), url, lambda: _ip(far, "route", "add", "blackhole", f"{_NEAR}/32"))


def _set_up(near: Process, far: Process) -> None:
    for end in (near, far):
        _await_own_namespace(end)
    _ip(near, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(far.popen.pid))
    for end, name, address in ((near, "near", _NEAR), (far, "far", _FAR)):
        _ip(end, "address", "add", f"{address}/30", "dev", name)
        _ip(end, "link", "set", name, "up")


def _await_own_namespace(end: Process) -> None:
    ours = Path("/proc/self/ns/net").readlink()
    theirs = Path(f"/proc/{end.popen.pid}/ns/net")
    eventually(lambda: end.popen.poll() is not None or theirs.readlink() != ours)


def _inside(end: Process) -> tuple[str, ...]:
    return ("nsenter", "--target", str(end.popen.pid), "--net")


def _ip(end: Process, *arguments: str) -> None:
    subprocess.run([*_inside(end), "ip", *arguments], check=True, capture_output=True, timeout=10)
