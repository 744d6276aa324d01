"""A database that is gone without a word, machine and all: keepalives and what is not acknowledged tell."""

import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from dbinit import ExitCode
from tests.kit.patience import eventually_async
from tests.kit.process import running
from tests.kit.server import Server
from tests.kit.vanishing import vanishing

Write = Callable[[str], Path]

SOON = "keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=2000"
ROWS = "".join(f"{'x' * 1000}\n" for _ in range(60_000))


@pytest.mark.parametrize(
    ("script", "begun"),
    [
        ("SELECT pg_sleep(600);", "wait_event = 'PgSleep'"),
        (f"CREATE TABLE item (word text);\nCOPY item FROM stdin;\n{ROWS}\\.\n", "query LIKE 'COPY item%'"),
    ],
    ids=["waiting for an answer", "sending"],
)
async def test_a_statement_without_a_limit_ends_with_the_machine_that_runs_it(
    script: str, begun: str, server: Server, database: str, connection: asyncpg.Connection, write: Write
) -> None:
    async def has_begun() -> bool:
        others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return bool(await connection.fetchval(f"SELECT EXISTS ({others} AND {begun})"))

    with vanishing(server, database) as line:
        env = {"DATABASE_URL": f"{line.url}?{SOON}", "MIGRATION_PATH": str(write(script))}
        env |= {"DBINIT_CONNECT_DEADLINE": "1s"}
        with running(*line.inside, sys.executable, "-m", "dbinit", env=env) as start:
            await eventually_async(has_begun)
            line.vanish()
            assert start.wait(30) == ExitCode.UNREACHABLE, start.err
            assert "broke: " in start.err
            assert "no answer in time" in start.err
