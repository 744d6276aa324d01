"""Twenty processes at once on an empty database, with a script that must not run twice."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import asyncpg

from dbinit import ExitCode
from dbinit.lock import lock_key
from tests.kit.patience import eventually_async
from tests.kit.process import Finished, finished, run_dbinit, running

STARTERS = 20
BARRIER = 42
# Whoever runs it waits at the barrier, until the test has seen all of them connected.
SCRIPT = f"""
SELECT pg_advisory_xact_lock_shared({BARRIER});
CREATE TABLE item (id int PRIMARY KEY, word text);
INSERT INTO item VALUES (1, 'one'), (2, 'two');
"""
WITHOUT_LOCK = """
import sys
import dbinit.lock
from dbinit.cli import main

async def begin_without_lock(connection, key, wait, step, also="NULL"):
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")

dbinit.lock._begin = begin_without_lock
sys.exit(main())
"""
Write = Callable[[str], Path]


CONNECTED = ""
BLOCKED = "AND wait_event_type = 'Lock'"


async def start_at_once(
    connection: asyncpg.Connection, path: Path, url: str, *command: str, until: str = CONNECTED
) -> list[Finished]:
    """Let all of them come as far as `until` before one of them can finish; return how each ended."""
    env = {"DATABASE_URL": url, "MIGRATION_PATH": str(path), "DBINIT_SENTINEL": "", "DBINIT_LOCK_TIMEOUT": "0"}
    ours = "datname = current_database() AND application_name = 'dbinit'"

    async def all_there() -> bool:
        count = await connection.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {ours} {until}")
        return bool(count == STARTERS)

    await connection.execute("SELECT pg_advisory_lock($1)", BARRIER)
    with ExitStack() as stack:
        starters = [stack.enter_context(running(sys.executable, *command, env=env)) for _ in range(STARTERS)]
        await eventually_async(all_there, 60)
        await connection.execute("SELECT pg_advisory_unlock($1)", BARRIER)
        return [finished(starter, 60) for starter in starters]


async def test_one_of_twenty_starters_applies_and_all_succeed(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    ends = await start_at_once(connection, write(SCRIPT), database_url, "-m", "dbinit")

    assert [end.code for end in ends] == [ExitCode.OK] * STARTERS
    assert sum("Applied " in end.err for end in ends) == 1
    assert sum("Database already initialized, skipping migration" in end.err for end in ends) == STARTERS - 1
    assert await connection.fetchval("SELECT count(*) FROM dbinit_history") == 1
    assert await connection.fetchval("SELECT count(*) FROM item") == 2


async def test_without_the_lock_the_same_starters_fail(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    # Each of them has looked, found nothing, and waits at the barrier or for what another has not committed yet.
    ends = await start_at_once(connection, write(SCRIPT), database_url, "-c", WITHOUT_LOCK, until=BLOCKED)

    assert sum(end.code == ExitCode.FAILED for end in ends) == STARTERS - 1
    assert await connection.fetchval("SELECT count(*) FROM dbinit_history") == 1, (
        "the transaction still guards the rows"
    )


async def test_a_lock_held_for_too_long_is_an_error_of_its_own(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    env = {
        "DATABASE_URL": database_url,
        "MIGRATION_PATH": str(write("CREATE TABLE item ()")),
        "DBINIT_LOCK_WAIT": "300ms",
    }
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", lock_key("public"))
        end = run_dbinit(env=env)

    assert end.code == ExitCode.LOCKED
    assert "Another starter holds the migration lock" in end.err
    assert "held the migration lock for 300ms" in end.err
    assert await connection.fetchval("SELECT to_regclass('item')") is None


async def test_histories_in_different_schemas_do_not_wait_for_each_other(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    env = {"DATABASE_URL": database_url, "MIGRATION_PATH": str(write("CREATE TABLE item ()")), "DBINIT_LOCK_WAIT": "0"}
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", lock_key("public"))
        end = run_dbinit(env={**env, "DBINIT_HISTORY_SCHEMA": "other"})

    assert end.code == ExitCode.OK
