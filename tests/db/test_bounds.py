"""Whatever asks a database that says nothing gives up in time: waiting, pinging, pools."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
from fastapi import HTTPException

from dbinit import ConnectError, Initializer
from dbinit.access import Access
from dbinit.fastapi import connection
from dbinit.transaction import rollback
from tests.kit.faulty import FaultyProxy
from tests.kit.network import silent_peer
from tests.kit.server import Server
from tests.kit.starts import options

LIMIT = "300ms"


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Initializer]:
    with silent_peer() as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/x"
        yield Initializer(options(url, tmp_path, connect_timeout=LIMIT, connect_deadline="600ms", retry_attempts=0))


async def test_waiting_and_pinging(silent: Initializer) -> None:
    for ask in (silent.wait(), silent.ping(0.3)):
        with anyio.fail_after(2.0), pytest.raises(ConnectError):
            await ask


async def test_several_hosts_have_no_more_time_than_the_deadline(tmp_path: Path) -> None:
    with ExitStack() as stack:
        hosts = ",".join(f"127.0.0.1:{stack.enter_context(silent_peer())}" for _ in range(20))
        patience = {"connect_timeout": LIMIT, "connect_deadline": "500ms", "retry_attempts": 0}
        with anyio.fail_after(3.0), pytest.raises(ConnectError):
            await Initializer(options(f"postgresql://postgres@{hosts}/x", tmp_path, **patience)).wait()


async def test_a_server_in_another_role_is_no_sign_of_life(database_url: str, tmp_path: Path) -> None:
    initializer = Initializer(options(f"{database_url}?target_session_attrs=standby", tmp_path))
    with pytest.raises(ConnectError, match="is a primary"):
        await initializer.ping(5.0)
    async with initializer.pool() as pool:
        with pytest.raises(HTTPException) as caught:
            await anext(connection(pool))
    assert caught.value.status_code == HTTPStatus.SERVICE_UNAVAILABLE


async def test_a_rollback_that_is_not_answered_ends_the_connection(server: Server, database: str) -> None:
    with FaultyProxy(server.port) as line:
        lent = await asyncpg.connect(server.url(database).replace(f":{server.port}/", f":{line.port}/"))
        await lent.execute("BEGIN")
        line.freeze()
        with anyio.fail_after(5.0):
            await rollback(lent)
        assert lent.is_closed()


async def test_a_pool_that_connects(silent: Initializer) -> None:
    with anyio.fail_after(2.0):
        async with silent.pool() as pool:
            with pytest.raises(TimeoutError):
                await pool.acquire()


async def test_a_pool_whose_line_freezes_takes_back_what_it_lent_and_closes(
    server: Server, database: str, tmp_path: Path
) -> None:
    with FaultyProxy(server.port) as line:
        url = server.url(database).replace(f":{server.port}/", f":{line.port}/")
        with anyio.fail_after(8.0):
            async with Initializer(options(url, tmp_path)).pool() as pool, pool.acquire() as other:
                async with asynccontextmanager(connection)(pool) as lent:
                    assert await lent.fetchval("SELECT 1") == await other.fetchval("SELECT 1") == 1
                    line.freeze()
                assert pool.get_size() == 1
                other.terminate()


@pytest.mark.skipif(sys.platform != "linux", reason="others call the options otherwise, or lack them")
@pytest.mark.parametrize(("parameters", "idle"), [("", 10), ("?keepalives_idle=7", 7)])
async def test_connections_and_pools_have_keepalives(
    parameters: str, idle: int, database_url: str, tmp_path: Path
) -> None:
    chosen = options(f"{database_url}{parameters}", tmp_path)
    access = Access()
    async with (
        access.connection(chosen.url, chosen, print) as own,
        access.pool(chosen.url, 10) as pool,
        pool.acquire() as lent,
    ):
        assert [keepalives(opened) for opened in (own, lent)] == [(1, idle, 5, 3, 25_000)] * 2
    await access.close()


def keepalives(opened: Any) -> tuple[int, ...]:
    sock = opened._transport.get_extra_info("socket")  # noqa: SLF001 - asyncpg offers no public way
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    values = [sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
    return (sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *values)
