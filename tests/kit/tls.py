"""TLS in front of a server that has none of its own, and certificates for it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
import trustme

_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


class Front:
    """What listens in front of a server: where, and how many clients have come so far."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.accepted = 0
        self.encrypted = 0


@asynccontextmanager
async def tls_in_front(
    target: int, certificate: trustme.LeafCert | None, host: str = "127.0.0.1", clients: trustme.CA | None = None
) -> AsyncIterator[Front]:
    """Take clients as PostgreSQL does that has TLS, and pass what they say on to a server.

    Args:
        target: The server's port.
        certificate: What to show to clients; None for no TLS at all.
        host: The address to listen at.
        clients: Who has to have signed a certificate of theirs; None where they need none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        certificate.configure_cert(context)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        clients.configure_trust(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        front.accepted += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            begun = await reader.readexactly(len(_SSL_REQUEST))
            if begun == _SSL_REQUEST:
                writer.write(b"S" if certificate else b"N")
                if certificate:
                    await writer.start_tls(context)
                    front.encrypted += 1
                begun = b""
            await _pass_on(begun, reader, writer, target)
        writer.transport.abort()

    server = await asyncio.start_server(serve, host, 0)
    front = Front(host, server.sockets[0].getsockname()[1])
    async with server:
        yield front


async def _pass_on(begun: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
    behind, before = await asyncio.open_connection("127.0.0.1", target)
    before.write(begun)
    async with anyio.create_task_group() as both:
        for source, sink in ((reader, before), (behind, writer)):
            both.start_soon(_copy, source, sink)
    before.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
    else:
        sink.close()


def written(authority: trustme.CA, folder: Path) -> Path:
    """Return the file that an authority's certificate has been written to."""
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def own_address() -> str:
    """Return an address of this machine that is not loopback; skips the test where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses where from
            address: str = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback: there is no host that is not local")
    return address
