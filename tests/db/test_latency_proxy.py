"""The proxy that other tests and the benchmarks count round trips with, and rely on for its delay."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.kit.latency import LatencyProxy
from tests.kit.patience import eventually_async
from tests.kit.server import Server

DELAY = 0.01
LOGIN = 3  # the startup message, and two messages of SCRAM


@pytest.fixture
def proxy(server: Server) -> Iterator[LatencyProxy]:
    with LatencyProxy(server.port, DELAY) as started:
        yield started


@pytest.fixture
def far_url(proxy: LatencyProxy, database_url: str) -> str:
    parts = urlsplit(database_url)
    login, _, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}", query="sslmode=disable").geturl()


async def test_counts_the_round_trips_of_a_bare_connection(proxy: LatencyProxy, far_url: str) -> None:
    connection = await asyncpg.connect(far_url)
    counts = [proxy.round_trips]
    await connection.execute("SELECT 1; SELECT 2; CREATE TABLE t (a int)")
    counts.append(proxy.round_trips)
    await connection.fetch("SELECT $1::int", 1)  # prepared, then run
    counts.append(proxy.round_trips)
    async with connection.transaction():
        await connection.fetch("SELECT $1::int", 2)  # known already
    counts.append(proxy.round_trips)
    await connection.close()  # is not answered
    counts.append(proxy.round_trips)
    assert counts == [LOGIN, LOGIN + 1, LOGIN + 3, LOGIN + 6, LOGIN + 6]


async def test_counts_those_of_all_connections(proxy: LatencyProxy, far_url: str) -> None:
    for _ in range(3):
        connection = await asyncpg.connect(far_url)
        await connection.close()
    assert proxy.round_trips == 3 * LOGIN


async def test_delays_each_round_trip_once(proxy: LatencyProxy, far_url: str) -> None:
    connection = await asyncpg.connect(far_url)
    waits = [await _seconds(connection, "SELECT 1") for _ in range(21)]
    assert (proxy.round_trips, proxy.delays) == (LOGIN + 21, LOGIN + 21)
    assert min(waits) >= DELAY
    await connection.close()


async def test_delays_a_long_message_once(proxy: LatencyProxy, far_url: str) -> None:
    connection = await asyncpg.connect(far_url)
    await connection.execute(f"SELECT '{'x' * (16 << 20)}' = ''")
    assert (proxy.round_trips, proxy.delays) == (LOGIN + 1, LOGIN + 1)
    await connection.close()


async def test_ends_what_the_server_ends(far_url: str) -> None:
    far = await asyncpg.connect(far_url)
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await far.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert far.is_closed()


async def test_ends_what_the_client_ends(far_url: str, connection: asyncpg.Connection) -> None:
    far = await asyncpg.connect(far_url)
    process = far.get_server_pid()
    far.terminate()

    async def gone() -> bool:
        return await connection.execute(f"SELECT 1 FROM pg_stat_activity WHERE pid = {process}") == "SELECT 0"

    await eventually_async(gone)


async def _seconds(connection: asyncpg.Connection, statement: str) -> float:
    began = time.perf_counter()
    await connection.execute(statement)
    return time.perf_counter() - began
