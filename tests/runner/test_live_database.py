"""A database in use: nobody stalls behind a migration that waits, and it is tried again until it has its locks."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from time import monotonic
from typing import Any

import anyio
import asyncpg
import pytest

from dbinit import StatementError
from dbinit.folders import HookCall, Hooks, Up
from tests.kit.patience import eventually_async
from tests.kit.server import Server

from .kit import Project

ALTER = "ALTER TABLE item ADD word text;\n"
LIMIT = timedelta(milliseconds=300)
# Far from the limit, as a machine that tests is a busy one; and far from the rest of the long transaction.
STALL = 1.5  # seconds


@pytest.fixture(autouse=True)
async def _item(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TABLE item (id int); INSERT INTO item VALUES (1)")


@asynccontextmanager
async def reporting(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Read the table in a transaction that goes on and on."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "reporting"})
    try:
        await connection.execute("BEGIN; LOCK TABLE item IN ACCESS SHARE MODE; SELECT 'PASSWORD ''c4nary'''")
        yield connection
    finally:
        await connection.close()


async def said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async def is_said() -> bool:
        return text in caplog.text

    await eventually_async(is_said)


Way = Callable[[Project], Coroutine[Any, Any, None]]


async def as_a_file(project: Project) -> None:
    project.write({"init-db.sql": ALTER})
    await Project(project.folder / "init-db.sql", project.url).up(lock_timeout=LIMIT)


async def as_a_file_step_by_step(project: Project) -> None:
    project.write({"init-db.sql": f"VACUUM item;\n{ALTER}"})
    await Project(project.folder / "init-db.sql", project.url).up(lock_timeout=LIMIT)


async def in_one_message(project: Project) -> None:
    project.write({"001_before.sql": "CREATE TABLE before ()", "002_item.sql": ALTER, "003_later.sql": "SELECT 1"})
    await project.up(lock_timeout=LIMIT)


async def by_an_annotation(project: Project) -> None:
    project.write({"001_item.sql": f"-- dbinit: lock-timeout 300ms\nINSERT INTO item VALUES (2);\n{ALTER}"})
    await project.up(lock_timeout="10m")


async def with_hooks(project: Project) -> None:
    seen: list[str] = []

    async def hook(call: HookCall) -> None:
        seen.append(call.hook.value)

    project.write({"001_item.sql": ALTER})
    await project.up(lock_timeout=LIMIT, hooks=Hooks(before_each=hook, after_each=hook))
    assert len(seen) > 2
    assert seen == ["before_each"] * (len(seen) - 1) + ["after_each"]


async def in_a_hook(project: Project) -> None:
    async def hook(call: HookCall) -> None:
        await call.connection.execute(ALTER)

    project.write({"001_item.sql": "SELECT 1"})
    await project.up(lock_timeout=LIMIT, hooks=Hooks(after_each=hook))


async def in_a_single_transaction(project: Project) -> None:
    project.write({"001_before.sql": "CREATE TABLE before ()", "002_item.sql": ALTER})
    await project.migrate(Up(single_transaction=True), lock_timeout=LIMIT)


async def several_at_a_time(project: Project) -> None:
    project.write({"001_item.sql": ALTER, "002_other.sql": "-- dbinit: depends none\nCREATE TABLE other ()"})
    await project.up(lock_timeout=LIMIT, jobs=2)


async def step_by_step(project: Project) -> None:
    project.write({"001_item.sql": f"INSERT INTO item VALUES (2);\nVACUUM item;\n{ALTER}"})
    await project.up(lock_timeout=LIMIT)


async def in_a_block(project: Project) -> None:
    project.write({"001_item.sql": f"BEGIN;\nINSERT INTO item VALUES (2);\n{ALTER}COMMIT;\nVACUUM item;\n"})
    await project.up(lock_timeout=LIMIT)


async def rehearsed(project: Project) -> None:
    project.write({"001_item.sql": ALTER})
    await project.migrate(Up(dry_run=True), lock_timeout=LIMIT)
    await project.up(lock_timeout=LIMIT)


WAYS: list[Way] = [
    as_a_file,
    as_a_file_step_by_step,
    in_one_message,
    by_an_annotation,
    with_hooks,
    in_a_hook,
    in_a_single_transaction,
    several_at_a_time,
    step_by_step,
    in_a_block,
    rehearsed,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_it_is_tried_again_until_nobody_is_in_the_way(
    way: Way, project: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with reporting(project.url) as blocker, anyio.create_task_group() as tasks:
        tasks.start_soon(way, project)
        await said(caplog, "did not get a lock in time; trying again in")
        await said(
            caplog, f"in the way: pid {blocker.get_server_pid()} (reporting, idle in transaction, its transaction"
        )
        await blocker.execute("ROLLBACK")
    assert "c4nary" not in caplog.text
    assert await connection.fetchval("SELECT count(*) FROM pg_attribute WHERE attname = 'word'") == 1
    assert await connection.fetchval("SELECT max(count) FROM (SELECT count(*) FROM item GROUP BY id) found") == 1
    watchers = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'dbinit'"
    )

    async def are_gone() -> bool:
        return not await connection.fetchval(watchers)

    await eventually_async(are_gone)


async def stall_of_a_reader(project: Project, limit: timedelta) -> float:
    """Return how long a reader waits at most, while a long transaction keeps a migration waiting."""
    project.write({"001_item.sql": ALTER})
    longest = 0.0
    reader = await asyncpg.connect(project.url)
    ended = monotonic() + 2 * STALL
    async with reporting(project.url) as blocker, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: project.up(lock_timeout=limit))

        async def report() -> None:
            await anyio.sleep(ended - monotonic())
            await blocker.execute("ROLLBACK")

        tasks.start_soon(report)
        while monotonic() < ended:
            began = monotonic()
            await reader.fetchval("SELECT count(*) FROM item")
            longest = max(longest, monotonic() - began)
    await reader.close()
    return longest


async def test_readers_do_not_stall_behind_a_migration_that_waits(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    assert await stall_of_a_reader(project, LIMIT) < STALL
    assert "did not get a lock in time" in caplog.text


async def test_without_the_limit_they_stall(project: Project) -> None:
    assert await stall_of_a_reader(project, timedelta()) > STALL


@pytest.mark.parametrize("retries", [0, 1])
async def test_in_the_end_the_error_says_how_often_and_who_was_in_the_way(
    retries: int, project: Project, connection: asyncpg.Connection
) -> None:
    project.write({"001_before.sql": "CREATE TABLE before ()", "002_item.sql": f"\n{ALTER}"})
    async with reporting(project.url) as blocker:
        with pytest.raises(StatementError) as caught:
            await project.up(lock_timeout=LIMIT, lock_retries=retries)
        pid = blocker.get_server_pid()
    error = caught.value
    assert (error.sqlstate, error.line) == ("55P03", 2)
    tries = "Tried 2 times" if retries else "Tried 1 time"
    assert f"{tries}; in the way: pid {pid} (reporting, idle in transaction" in error.message
    assert f"SELECT pg_terminate_backend({pid})" in error.advice
    assert f"Failed: {project.path('002_item.sql')}." in error.outcome
    assert await connection.fetchval("SELECT to_regclass('before') IS NOT NULL")


async def test_who_is_overtaken_between_two_tries_reads_the_history_again(
    project: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dbinit")
    project.write({"001_item.sql": ALTER})
    async with reporting(project.url) as blocker, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(lambda: project.up(lock_timeout=LIMIT))
        await said(caplog, "held by another dbinit")
        await said(caplog, "trying again in")
        await blocker.execute("ROLLBACK")
    assert await connection.fetchval("SELECT count(*) FROM dbinit_migrations") == 1
    assert caplog.text.count("Applied ") == 1


async def test_who_is_in_the_way_may_work_elsewhere_in_another_encoding(
    server: Server, project: Project, connection: asyncpg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    role, place = f"shared_{database}", f"{database}_latin"
    await connection.execute(f"CREATE ROLE {role}")
    await connection.execute(f"CREATE DATABASE {place} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    project.write({"001_item.sql": f"ALTER ROLE {role} CREATEDB"})
    other = await asyncpg.connect(server.url(place))
    try:
        await other.execute(f"BEGIN; ALTER ROLE {role} CREATEROLE /* caf\N{LATIN SMALL LETTER E WITH ACUTE} */")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: project.up(lock_timeout=LIMIT))
            await said(caplog, f"in the way: pid {other.get_server_pid()} ")
            await other.execute("ROLLBACK")
    finally:
        await other.close()
        await connection.execute(f"DROP DATABASE {place}")
        await connection.execute(f"DROP ROLE {role}")


# Two that wait for each other: the migration has one table and wants the other's, as soon as that one waits.
MEET = """
LOCK TABLE item;
DO $$ BEGIN
  WHILE to_regclass('met') IS NULL AND NOT EXISTS (
    SELECT FROM pg_locks WHERE relation = 'item'::regclass AND NOT granted
  ) LOOP PERFORM pg_sleep(0.01); END LOOP;
END $$;
LOCK TABLE other;
ALTER TABLE item ADD word text;
"""


SLEEPS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database())"


@asynccontextmanager
async def batch(project: Project, connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """Run the migrations, and have another session that does something when they have come to a halt."""
    # Whoever looks first for a deadlock is the one that fails.
    settings = {"application_name": "batch", "deadlock_timeout": "1min"}
    other = await asyncpg.connect(project.url, server_settings=settings)

    async def sleeps() -> bool:
        return bool(await connection.fetchval(SLEEPS))

    try:
        await other.execute("BEGIN; LOCK TABLE other")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(project.up)
            await eventually_async(sleeps)
            yield other
    finally:
        await other.close()


async def test_a_deadlock_is_tried_again_and_the_other_named(
    project: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute("CREATE TABLE other ()")
    project.write({"001_item.sql": MEET})
    async with batch(project, connection) as other:
        await other.execute("LOCK TABLE item; CREATE TABLE met (); COMMIT")
        pid = other.get_server_pid()
    assert "ran into a deadlock; trying again in " in caplog.text
    assert f"in the way: pid {pid} (batch, " in caplog.text
    assert await connection.fetchval("SELECT count(*) FROM pg_attribute WHERE attname = 'word'") == 1


# The block has its snapshot, and then another changes the row that it wants to change.
SNAPSHOT = """
INSERT INTO item VALUES (100);
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO item SELECT 1000 FROM item LIMIT 1;
DO $$ BEGIN
  WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 99) LOOP
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
UPDATE item SET id = id + 1;
COMMIT;
"""


@pytest.mark.parametrize("is_folder", [True, False], ids=["folder", "file"])
async def test_a_transaction_that_cannot_be_serialized_is_tried_again(
    is_folder: bool,  # noqa: FBT001 - a parameter of pytest
    project: Project,
    connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await connection.execute("CREATE TABLE other ()")
    project.write({"001_item.sql": SNAPSHOT})
    one = project if is_folder else Project(project.folder / "001_item.sql", project.url)
    async with batch(one, connection) as other:
        await other.execute("UPDATE item SET id = 10 WHERE id = 1; COMMIT; SELECT pg_advisory_lock(99)")
    assert "what another transaction has changed meanwhile; trying again in " in caplog.text
    found = await connection.fetch("SELECT id FROM item ORDER BY id")
    assert [row["id"] for row in found] == [11, 101, 1001]
