"""What a start costs when there is nothing to do, and how soon a late server is noticed."""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
from fastapi import FastAPI

from benchmarks.measure import Row, compare, time_call, time_command
from dbinit import Initializer, InitOptions
from dbinit.fastapi import lifespan
from tests.kit.server import Server

_BARE = """
import asyncio, sys, asyncpg
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.fetchval("SELECT 1")
    await connection.close()
asyncio.run(main())
"""


def imports(runs: int = 15) -> list[Row]:
    """Import `dbinit` and `dbinit.fastapi` in a fresh process, against what they are built on."""
    pairs = [("dbinit.initializer", "asyncpg"), ("dbinit.fastapi", "asyncpg, fastapi")]
    return [
        compare(
            f"python -c 'import {ours}'",
            f"python -c 'import {theirs}'",
            [(time_command("-c", f"import {ours}"), time_command("-c", f"import {theirs}")) for _ in range(runs)],
        )
        for ours, theirs in pairs
    ]


async def lifespan_to_ready(url: str, script: Path, runs: int = 100) -> Row:
    """From the lifespan's start to ready on an initialised database, in a process that runs already."""
    options = InitOptions(database_url=url, migrations_path=script, mode="blocking")
    async with Initializer(options):
        pass

    async def bare() -> None:
        connection = await asyncpg.connect(url)
        await connection.fetchval("SELECT 1")
        opened.append(connection)

    async def ours() -> None:
        await run.__aenter__()

    opened: list[asyncpg.Connection] = []
    pairs = []
    for _ in range(runs):
        run = lifespan(options)(FastAPI())
        mine, theirs = await time_call(ours), await time_call(bare)
        await run.__aexit__(None, None, None)
        await opened.pop().close()
        pairs.append((mine, theirs))
    return compare("lifespan start to ready, nothing to do", "asyncpg.connect + one query", pairs)


def one_shot(url: str, script: Path, runs: int = 31) -> Row:
    """`python -m dbinit` with nothing to do, against a bare process that connects and runs one query."""
    ours = ["-m", "dbinit", "--url", url, "--path", str(script)]
    pairs = [(time_command(*ours), time_command("-c", _BARE, url)) for _ in range(runs)]
    return compare("python -m dbinit, nothing to do", "bare process, asyncpg + one query", pairs)


def late_server(server: Server, script: Path, runs: int = 5) -> Row:
    """From the first connection that a late server accepts to the end of a waiting one-shot with nothing to do."""
    waits = []
    for _ in range(runs):
        server.stop()
        command = [sys.executable, "-m", "dbinit", "--url", server.url(), "--path", str(script)]
        waiting = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "DB_RETRY_DELAY": "20s"})
        assert waiting.stderr is not None
        while b"failed" not in waiting.stderr.readline():
            pass
        server.start(wait=False)
        accepted = asyncio.run(_first_accepted(server.url()))
        waiting.wait(60)
        waits.append(time.perf_counter() - accepted)
    return Row("late server accepts to one-shot ended", statistics.median(waits) * 1000, "ms", runs=runs)


async def _first_accepted(url: str) -> float:
    while True:
        try:
            connection = await asyncpg.connect(url)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.005)
            continue
        accepted = time.perf_counter()
        await connection.close()
        return accepted


def rows(server: Server) -> list[Row]:
    """Measure on a database with the schema of the example service."""
    with tempfile.TemporaryDirectory() as name:
        script = Path(name) / "init-db.sql"
        script.write_bytes(Path(__file__).parents[1].joinpath("scripts/init-db.sql").read_bytes())
        return [
            *imports(),
            asyncio.run(lifespan_to_ready(server.url(), script)),
            one_shot(server.url(), script),
            late_server(server, script),
        ]
