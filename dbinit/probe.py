"""Does anybody answer? Much as pg_isready asks: cheap, and without a login."""

import asyncio
import os
import socket
from collections.abc import Sequence

import anyio

from .url import DatabaseUrl

__all__ = ["answers"]

_LIMIT = 1.0
# What libpq and asyncpg try where no host is given; asyncio has no such sockets on Windows.
_SOCKETS = ("/run/postgresql", "/var/run/postgresql", "/tmp") if hasattr(socket, "AF_UNIX") else ()  # noqa: S108
_DEFAULT_HOSTS = (*_SOCKETS, "localhost")


async def answers(url: DatabaseUrl) -> bool:
    """Tell whether any of the hosts would let us in; each is given a second to answer."""
    for host, port in _addresses(url):
        with anyio.move_on_after(_LIMIT):
            try:
                if await _probe(host, port, url):
                    return True
            except OSError:
                continue
    return False


async def _probe(host: str, port: int, url: DatabaseUrl) -> bool:
    if host.startswith("/"):
        reader, writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    else:
        reader, writer = await asyncio.open_connection(host, port)
    try:
        user = url.user or os.environ.get("PGUSER") or "postgres"
        fields = [b"user", user.encode(), b"database", (url.database or user).encode(), b"", b""]
        body = (196608).to_bytes(4, "big") + b"\0".join(fields)  # protocol 3.0
        writer.write((len(body) + 4).to_bytes(4, "big") + body)
        answer = await reader.read(1024)
    finally:
        writer.close()
    # An error other than "starting up" (57P03) and "no slots left" (53300) is an answer too: the server is there.
    not_yet = answer[:1] == b"E" and (b"C57P03\0" in answer or b"C53300\0" in answer)
    return bool(answer) and not not_yet


def _addresses(url: DatabaseUrl) -> Sequence[tuple[str, int]]:
    hosts = url.hosts or tuple(filter(None, os.environ.get("PGHOST", "").split(","))) or _DEFAULT_HOSTS
    ports = url.ports or tuple(int(port) for port in (os.environ.get("PGPORT") or "5432").split(","))
    return url._replace(hosts=hosts, ports=ports).places
