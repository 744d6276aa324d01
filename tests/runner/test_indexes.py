"""Indexes that are built concurrently: watched, cleared up after, and never in the way of those who wait."""

import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import anyio
import asyncpg
import pytest

from dbinit import ExitCode, StatementError
from dbinit.readiness import Readiness
from tests.kit.patience import eventually_async
from tests.kit.process import UNNOTICED, finished, running

from .kit import Project

BUILD = "CREATE INDEX CONCURRENTLY one_id ON one (id);\n"
WAITERS = 5


@pytest.fixture
def indexed(project: Project) -> Project:
    project.write({"001_one.sql": "CREATE TABLE one AS SELECT n AS id FROM generate_series(1, 1000) n"})
    return project


async def is_valid(connection: asyncpg.Connection) -> bool | None:
    valid: bool | None = await connection.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('one_id')"
    )
    return valid


async def leave_invalid(connection: asyncpg.Connection) -> None:
    """Leave over what an interrupted build leaves over."""
    await connection.execute("INSERT INTO one VALUES (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY one_id ON one (id)")
    assert await is_valid(connection) is False


@pytest.mark.parametrize("statement", [BUILD, BUILD.replace("one_id", "IF NOT EXISTS one_id")])
async def test_an_invalid_left_over_is_built_again(
    statement: str, indexed: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await indexed.up()
    await leave_invalid(connection)
    indexed.write({"002_index.sql": statement})
    await indexed.up()
    assert await is_valid(connection) is True
    assert "one_id is invalid, as its build has failed or was interrupted; dropping it" in caplog.text


async def test_a_build_that_fails_leaves_nothing_over(indexed: Project, connection: asyncpg.Connection) -> None:
    await indexed.up()
    await connection.execute("INSERT INTO one VALUES (1)")
    indexed.write({"002_index.sql": BUILD.replace("INDEX", "UNIQUE INDEX")})
    with pytest.raises(StatementError, match="could not create unique index"):
        await indexed.up()
    assert await is_valid(connection) is None

    await connection.execute("DELETE FROM one WHERE ctid = (SELECT max(ctid) FROM one)")
    await indexed.up()
    assert await is_valid(connection) is True


@asynccontextmanager
async def held_up(project: Project) -> AsyncIterator[None]:
    """Have the table written to in a transaction that is open: a build waits for its end."""
    writer = await asyncpg.connect(project.url)
    try:
        async with writer.transaction():
            await writer.execute("INSERT INTO one VALUES (0)")
            yield
    finally:
        await writer.close()


async def test_its_progress_reaches_the_observer(indexed: Project, connection: asyncpg.Connection) -> None:
    await indexed.up()
    indexed.write({"002_index.sql": BUILD})
    details: list[str] = []
    seen = anyio.Event()

    def observe(readiness: Readiness) -> None:
        if readiness.detail:
            details.append(readiness.detail)
            seen.set()

    async with anyio.create_task_group() as tasks, held_up(indexed):
        tasks.start_soon(partial(indexed.up, observer=observe))
        with anyio.fail_after(20):
            await seen.wait()
    assert details == ["index one_id: waiting for writers before build, 0 of 1 done"]
    assert await is_valid(connection) is True


async def test_five_waiters_and_a_build_do_not_lock_each_other_out(
    indexed: Project, connection: asyncpg.Connection
) -> None:
    await indexed.up()
    indexed.write({"002_index.sql": BUILD, "003_two.sql": "CREATE TABLE two ()"})

    async def is_building() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_progress_create_index"))

    with ExitStack() as stack:
        async with held_up(indexed):
            starters = [stack.enter_context(indexed.start())]
            await eventually_async(is_building)
            starters += [stack.enter_context(indexed.start()) for _ in range(WAITERS)]
            for waiter in starters[1:]:
                waiter.wait_for("Another starter holds the migration lock")
        ends = [finished(starter, 60) for starter in starters]
    assert [end.code for end in ends] == [ExitCode.OK] * (WAITERS + 1), [end.err for end in ends]
    assert await is_valid(connection) is True


async def test_an_orphan_that_still_builds_is_waited_for(indexed: Project, connection: asyncpg.Connection) -> None:
    await indexed.up()
    indexed.write({"002_index.sql": BUILD})

    async def is_building() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_progress_create_index"))

    with ExitStack() as stack:
        async with held_up(indexed):
            killed = stack.enter_context(running(sys.executable, "-c", UNNOTICED, env=indexed.env()))
            await eventually_async(is_building)
            killed.popen.kill()
            killed.wait()
            second = stack.enter_context(indexed.start())
            second.wait_for("Another starter holds the migration lock")
            second.wait_for("CREATE INDEX CONCURRENTLY one_id")
        assert second.wait() == ExitCode.OK, second.err
        assert "invalid left-over" not in second.err
    assert await is_valid(connection) is True


async def test_whoever_builds_it_by_hand_is_waited_for(indexed: Project, connection: asyncpg.Connection) -> None:
    await indexed.up()
    indexed.write({"002_index.sql": BUILD.replace("one_id", "IF NOT EXISTS one_id")})

    async def is_building() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_progress_create_index"))

    by_hand = await asyncpg.connect(indexed.url)
    try:
        with ExitStack() as stack:
            async with anyio.create_task_group() as tasks, held_up(indexed):
                tasks.start_soon(by_hand.execute, BUILD)
                await eventually_async(is_building)
                start = stack.enter_context(indexed.start())
                start.wait_for("one_id is still being built by another session")
            assert start.wait() == ExitCode.OK, start.err
    finally:
        await by_hand.close()
    assert await is_valid(connection) is True


@pytest.mark.parametrize(("option", "parameter"), [("200ms", ""), (None, "?lock_timeout=200ms")])
async def test_a_build_waits_for_longer_than_others_may(
    option: str | None,
    parameter: str,
    indexed: Project,
    connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await indexed.up()
    indexed.write(
        {
            "002_index.sql": f"{BUILD}SELECT set_config('test.limit', current_setting('lock_timeout'), false);\n"
            "CREATE TABLE seen AS SELECT current_setting('test.limit') AS restored;\n"
        }
    )
    waits = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE INDEX C%'"
    )
    waits += " AND clock_timestamp() - query_start > '1s' AND datname = current_database())"

    async def has_waited() -> bool:
        return bool(await connection.fetchval(waits))

    async with anyio.create_task_group() as tasks, held_up(indexed):
        tasks.start_soon(partial(Project(indexed.folder, indexed.url + parameter).up, lock_timeout=option))
        await eventually_async(has_waited)
    assert await is_valid(connection) is True
    assert "did not get a lock" not in caplog.text
    assert await connection.fetchval("SELECT restored FROM seen") == "200ms"


async def leave_half_way(project: Project, statement: str) -> None:
    """Interrupt what works concurrently while it waits for a transaction that is open."""
    interrupted, other = await asyncpg.connect(project.url), await asyncpg.connect(project.url)
    pid = interrupted.get_server_pid()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'"

    async def is_waiting() -> bool:
        return bool(await other.fetchval(waits, pid))

    async def run() -> None:
        with pytest.raises(asyncpg.QueryCanceledError):
            await interrupted.execute(statement)

    try:
        async with held_up(project), anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await eventually_async(is_waiting)
            await other.execute("SELECT pg_cancel_backend($1)", pid)
    finally:
        await interrupted.close()
        await other.close()


@pytest.mark.parametrize("statement", ["REINDEX INDEX CONCURRENTLY one_id", "REINDEX (CONCURRENTLY) TABLE public.one"])
async def test_what_an_interrupted_rebuild_has_left_over_is_dropped(
    statement: str, indexed: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    indexed.write({"002_index.sql": BUILD})
    await indexed.up()
    await leave_half_way(indexed, statement)
    names = "SELECT array_agg(indexrelid::regclass::text) FROM pg_index WHERE indrelid = 'one'::regclass"
    assert sorted(await connection.fetchval(names)) == ["one_id", "one_id_ccnew"]

    indexed.write({"003_again.sql": statement})
    await indexed.up()
    assert await connection.fetchval(names) == ["one_id"]
    assert await is_valid(connection) is True
    assert "public.one_id_ccnew is invalid" in caplog.text


DETACH = "ALTER TABLE one * /* a /* b */ */ DETACH PARTITION part CONCURRENTLY;\n"


async def test_a_partition_that_was_left_half_detached_is_detached(
    project: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    project.write(
        {
            "001_one.sql": "CREATE TABLE one (id int) PARTITION BY LIST (id);\n"
            "CREATE TABLE part PARTITION OF one FOR VALUES IN (0);\n"
        }
    )
    await project.up()
    await leave_half_way(project, DETACH)

    project.write({"002_detach.sql": f"{DETACH}SELECT 1/0;\n"})
    with pytest.raises(StatementError, match="division by zero"):
        await project.up()
    assert await connection.fetchval("SELECT NOT relispartition FROM pg_class WHERE relname = 'part'")
    assert "part was left half detached; finishing that" in caplog.text

    # As if the process had been killed between the statement and its record.
    await connection.execute("UPDATE dbinit_migrations SET statements = 0, progress = '+' WHERE version = '002'")
    project.write({"002_detach.sql": f"{DETACH}SELECT 1;\n"})
    assert (await project.up()).migrations[0].version == "002"


async def test_a_build_waits_no_longer_than_its_script_says(indexed: Project) -> None:
    await indexed.up()
    indexed.write({"002_index.sql": f"SET lock_timeout = '150ms';\n{BUILD}"})
    async with held_up(indexed):
        with pytest.raises(StatementError, match="lock timeout"):
            await indexed.up(lock_timeout="200ms", lock_retries=0)
