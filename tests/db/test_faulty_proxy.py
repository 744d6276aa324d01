"""The proxy that fails as it is told to: a test that relies on it must be able to."""

from collections.abc import Iterator

import anyio
import asyncpg
import pytest

from tests.kit.faulty import FaultyProxy
from tests.kit.server import Server

_BROKEN = (OSError, asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError)


@pytest.fixture
def line(server: Server) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def url(server: Server, database: str, line: FaultyProxy) -> str:
    return server.url(database).replace(f":{server.port}/", f":{line.port}/")


async def test_what_is_committed_is_not_told(url: str, line: FaultyProxy, connection: asyncpg.Connection) -> None:
    ours = await asyncpg.connect(url)
    line.lose_commit(2)
    await ours.execute("BEGIN; CREATE TABLE one (); COMMIT")
    with pytest.raises(_BROKEN):
        await ours.execute("BEGIN; CREATE TABLE two (); COMMIT")

    assert await connection.fetchval("SELECT to_regclass('one') IS NOT NULL AND to_regclass('two') IS NOT NULL")
    await (await asyncpg.connect(url)).close()


@pytest.mark.parametrize("way", ["to_server", "to_client"])
async def test_a_connection_is_cut_behind_a_byte(way: str, url: str, line: FaultyProxy) -> None:
    ours = await asyncpg.connect(url)
    line.cut_after(**{way: 70})
    before = getattr(line, way)
    with pytest.raises(_BROKEN):
        await ours.fetchval("SELECT repeat('x', 100) -- " + 100 * "y")

    assert getattr(line, way) == before + 70
    await (await asyncpg.connect(url)).close()


async def test_a_frozen_line_says_nothing_and_can_be_cut(url: str, line: FaultyProxy) -> None:
    ours = await asyncpg.connect(url)
    line.freeze()
    with pytest.raises(TimeoutError):
        await ours.execute("SELECT 1", timeout=0.3)
    with pytest.raises(TimeoutError):
        await asyncpg.connect(url, timeout=0.3)
    line.cut()
    line.thaw()
    await (await asyncpg.connect(url)).close()
    ours.terminate()


async def test_it_refuses_and_hangs_until_it_admits(url: str, line: FaultyProxy) -> None:
    line.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(url)
    line.admit()
    line.hang()
    with pytest.raises(TimeoutError):
        await asyncpg.connect(url, timeout=0.3)
    line.admit()
    with anyio.fail_after(10):
        await (await asyncpg.connect(url)).close()
