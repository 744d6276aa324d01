"""SIGTERM wherever a start may be: gone within a second, with nothing left behind."""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from dbinit.lock import lock_key
from tests.kit.faulty import FaultyProxy
from tests.kit.patience import eventually, eventually_async
from tests.kit.process import Process, dbinit, finished
from tests.kit.server import Server
from tests.kit.service import serving

Write = Callable[[str], Path]
GATE = 4713
GATED = f"SELECT pg_advisory_xact_lock_shared({GATE});\nCREATE TABLE item (id int);\n"
STEPWISE = f"CREATE TABLE first (id int);\nVACUUM first;\n{GATED}"
LIMIT = 1.0
OF_UVICORN = 1.5  # seconds more that a service has: its server looks for signals every 0.1 s, and ends in its own time


@pytest.fixture
def line(server: Server) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def env(line: FaultyProxy, server: Server, database: str) -> dict[str, str]:
    """Settings that lead to the database by way of the proxy."""
    url = server.url(database).replace(f":{server.port}/", f":{line.port}/")
    return {"DATABASE_URL": url, "DBINIT_SENTINEL": "", "DB_RETRY_DELAY": "30s"}


@asynccontextmanager
async def gate(connection: asyncpg.Connection, waiting: int = 1) -> AsyncIterator[None]:
    """Keep scripts from going on; leave when so many are waiting for that in the body."""

    async def are_there() -> bool:
        there = f"SELECT count(*) FROM pg_locks WHERE objid = {GATE} AND NOT granted"
        return bool(await connection.fetchval(there) == waiting)

    await connection.execute(f"SELECT pg_advisory_lock({GATE})")
    yield
    await eventually_async(are_there)


def end(process: Process, code: int = 128 + signal.SIGTERM, limit: float = LIMIT) -> None:
    """Send the signal, and see the process end in time."""
    began = time.monotonic()
    process.send(signal.SIGTERM)
    ended = finished(process, 10)
    took = time.monotonic() - began
    assert took < limit, ended.err
    assert ended.code == code, ended.err


async def assert_nothing_is_left(connection: asyncpg.Connection, *tables: str) -> None:
    """See that there is no other session, the lock is free, and there are these tables besides the history."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    async def alone() -> bool:
        return bool(await connection.fetchval(others) == 0)

    await eventually_async(alone, 5.0)
    assert await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock_key("public"))
    found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert [row["tablename"] for row in found if not row["tablename"].startswith("dbinit")] == list(tables)


@pytest.mark.parametrize("frozen", [False, True], ids=["alive", "frozen"])
@pytest.mark.parametrize("kind", ["whole", "step by step", "several"])
async def test_in_a_statement(
    kind: str,
    frozen: bool,  # noqa: FBT001 - a case
    env: dict[str, str],
    line: FaultyProxy,
    connection: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    for number in range(1, 4) if kind == "several" else [1]:
        text = STEPWISE if kind == "step by step" else GATED.replace("item", f"item{number}")
        (folder / f"{number}_x.sql").write_text(f"-- dbinit: depends none\n{text}")
    with dbinit("--path", str(folder), env={**env, "DBINIT_JOBS": "2"}) as process:
        async with gate(connection, 2 if kind == "several" else 1):
            pass
        if frozen:
            line.freeze()
        end(process)

    line.thaw()
    await connection.execute(f"SELECT pg_advisory_unlock({GATE})")
    if not frozen:  # a server that does not hear of the end goes on until it does
        await assert_nothing_is_left(connection, *(["first"] if kind == "step by step" else []))


async def test_while_connecting_again(
    env: dict[str, str], line: FaultyProxy, connection: asyncpg.Connection, write: Write
) -> None:
    with dbinit("--path", str(write(GATED)), env=env) as process:
        async with gate(connection):
            pass
        line.refuse()
        line.cut()
        process.wait_for("Attempt 1 failed")
        end(process)


async def test_while_connecting_again_to_a_peer_that_says_nothing(
    env: dict[str, str], line: FaultyProxy, connection: asyncpg.Connection, write: Write
) -> None:
    with dbinit("--path", str(write(GATED)), env=env) as process:
        async with gate(connection):
            pass
        line.hang()
        line.cut()
        process.wait_for("connecting again")
        end(process)


@pytest.mark.parametrize("kind", ["standard input", "a pipe", "a pipe with a writer who says nothing"])
def test_while_a_script_is_waited_for(kind: str, env: dict[str, str], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.sql"
    with ExitStack() as stack:
        read, write = os.pipe()
        stack.callback(os.close, read)
        stack.callback(os.close, write)
        path = "-" if kind == "standard input" else str(pipe)
        if path != "-":
            os.mkfifo(pipe)
        process = stack.enter_context(dbinit("--path", path, env=env, stdin=read))
        process.wait_for("Initializing")
        if kind == "a pipe with a writer who says nothing":
            writer = os.open(pipe, os.O_RDWR)
            stack.callback(os.close, writer)
            os.write(writer, b"SELECT 1;\n")
        end(process)


def opens(pipe: Path, writers: list[int]) -> bool:
    """Open a pipe to write to it, if somebody reads from it."""
    with suppress(OSError):
        writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    return bool(writers)


@pytest.mark.parametrize("mode", ["blocking", "background"])
@pytest.mark.parametrize("kind", ["frozen", "pipe"])
async def test_a_service(
    mode: str, kind: str, env: dict[str, str], line: FaultyProxy, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    script = tmp_path / "init.sql"
    writers: list[int] = []
    if kind == "pipe":
        os.mkfifo(script)
    else:
        script.write_text(STEPWISE)  # two connections, which would be released one after the other
    with serving(tmp_path, {**env, "MIGRATION_PATH": str(script), "DBINIT_MODE": mode}) as service:
        if kind == "pipe":
            eventually(lambda: opens(script, writers))
        else:
            async with gate(connection):
                pass
            line.freeze()
        began = time.monotonic()
        service.process.send(signal.SIGTERM)
        ended = finished(service.process, 10)
        took = time.monotonic() - began

    for writer in writers:
        os.close(writer)
    line.thaw()
    assert took < LIMIT + OF_UVICORN
    assert ended.code in {128 + signal.SIGTERM, -signal.SIGTERM, 0}
