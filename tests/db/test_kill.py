"""A start that is killed while a long statement runs: the next takes over at once, and ends as if nothing had been."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic

import asyncpg
import pytest

from dbinit import ExitCode
from tests.kit.databases import execute, fresh_database
from tests.kit.patience import eventually_async
from tests.kit.process import UNNOTICED, run_dbinit, running
from tests.kit.server import Server

TAKEN_OVER = 3.0  # seconds, with a start of Python in them
NO_HISTORY = "--exclude-table=*.dbinit_migrations"
ITEM = "CREATE TABLE item (id serial PRIMARY KEY);\nINSERT INTO item DEFAULT VALUES;\n"
PACE = "CREATE TABLE pace AS SELECT {} AS seconds"
# As long as the table says, which the test changes in between; and with a lock that the next one wants, too.
LONG = "DO $$ BEGIN LOCK TABLE item; PERFORM pg_sleep(seconds) FROM pace; END $$;\n"
MORE = "INSERT INTO item DEFAULT VALUES;\n"
KINDS = {
    "a file": {"init-db.sql": ITEM + LONG + MORE},
    "a file, step by step": {"init-db.sql": f"{ITEM}VACUUM item;\n{LONG}{MORE}"},
    "a folder": {"001_item.sql": ITEM + LONG + MORE},
    "a folder, step by step": {"001_item.sql": f"{ITEM}VACUUM item;\n{LONG}{MORE}"},
    "a folder, several at a time": {
        "001_item.sql": ITEM + LONG + MORE,
        "002_other.sql": "-- dbinit: depends none\nCREATE TABLE other ();\n",
    },
}
SLEEPS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database())"


def written(files: Mapping[str, str], folder: Path) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder / "init-db.sql" if "init-db.sql" in files else folder


@pytest.fixture
def undisturbed(server: Server) -> Iterator[str]:
    """The name of another database, where nothing takes long."""
    with fresh_database(server) as name:
        asyncio.run(execute(server, PACE.format(0), name))
        yield name


async def kill_in_mid_statement(connection: asyncpg.Connection, *command: str, env: Mapping[str, str]) -> None:
    async def sleeps() -> bool:
        return bool(await connection.fetchval(SLEEPS))

    with running(sys.executable, *command, env=env) as process:
        await eventually_async(sleeps)
        process.popen.kill()
        process.wait()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_next_start_takes_over_at_once(
    kind: str, server: Server, database: str, undisturbed: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    path = written(KINDS[kind], tmp_path)
    env = {"DATABASE_URL": server.url(database), "MIGRATION_PATH": str(path), "DBINIT_JOBS": "2"}
    await connection.execute(PACE.format(60))
    await kill_in_mid_statement(connection, "-m", "dbinit", env=env)
    await connection.execute("UPDATE pace SET seconds = 0")
    began = monotonic()
    end = run_dbinit(env=env)
    taken = monotonic() - began

    assert end.code == ExitCode.OK, end.err
    assert taken < TAKEN_OVER
    assert await connection.fetchval("SELECT string_agg(id::text, ' ') FROM item") == "1 2"
    assert run_dbinit(env={**env, "DATABASE_URL": server.url(undisturbed)}).code == ExitCode.OK
    assert server.dump(database, NO_HISTORY) == server.dump(undisturbed, NO_HISTORY)


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_gets_the_lock_while_the_dead_one_still_works_unnoticed(
    kind: str, connection: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    path = written(KINDS[kind], tmp_path)
    env = {"DATABASE_URL": database_url, "MIGRATION_PATH": str(path), "DBINIT_JOBS": "2", "DBINIT_LOCK_WAIT": "1s"}
    await connection.execute(PACE.format(60))
    await kill_in_mid_statement(connection, "-c", UNNOTICED, env=env)
    end = run_dbinit(env=env)
    assert end.code == ExitCode.LOCKED, end.err
    assert "dbinit, active" in end.err
