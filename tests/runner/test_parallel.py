"""Several migrations at a time: in the order that they need, each in its own transaction, and none lost."""

import anyio
import asyncpg
import pytest

from dbinit import DbInitError, ExitCode, SourceError, StatementError
from dbinit.lock import lock_key
from tests.kit.patience import eventually_async

from .kit import Project, history, relations

GATE = 77
FREE = "-- dbinit: depends none\n"
THROUGH_GATE = f"SELECT pg_advisory_xact_lock_shared({GATE});\n"
AT_GATE = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted"


async def at_gate(connection: asyncpg.Connection, expected: int) -> None:
    async def are_there() -> bool:
        return bool(await connection.fetchval(AT_GATE) == expected)

    await eventually_async(are_there)


async def test_independent_ones_run_at_the_same_time(project: Project, connection: asyncpg.Connection) -> None:
    names = [f"00{number}_x.sql" for number in range(1, 5)]
    project.write({name: f"{FREE}{THROUGH_GATE}CREATE TABLE t{name[:3]} ()" for name in names})
    await connection.execute("SELECT pg_advisory_lock($1)", GATE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: project.up(jobs=3, lock_timeout="0"))
        await at_gate(connection, 3)
        assert not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock_key("public"))
        await connection.execute("SELECT pg_advisory_unlock($1)", GATE)
    assert await relations(connection) == {"t001", "t002", "t003", "t004"}
    assert sorted(await history(connection)) == [(name[:3], "applied") for name in names]


async def test_what_is_needed_comes_before(project: Project, connection: asyncpg.Connection) -> None:
    project.write(
        {
            "001_a.sql": f"{FREE}{THROUGH_GATE}CREATE TABLE a (id int UNIQUE)",
            "002_b.sql": f"{FREE}CREATE TABLE b (id int UNIQUE)",
            "003_c.sql": "-- dbinit: depends 1, 2\nCREATE TABLE c (a int REFERENCES a (id), b int REFERENCES b (id))",
            "004_d.sql": "-- dbinit: depends 2\nCREATE TABLE d (b int REFERENCES b (id))",
            "repeatable_v.sql": "CREATE VIEW v AS SELECT a FROM c, d",
        }
    )

    async def has_d() -> bool:
        return bool(await connection.fetchval("SELECT to_regclass('d') IS NOT NULL"))

    await connection.execute("SELECT pg_advisory_lock($1)", GATE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: project.up(jobs=4, lock_timeout="0"))
        await eventually_async(has_d)
        assert await connection.fetchval("SELECT to_regclass('c')") is None
        await connection.execute("SELECT pg_advisory_unlock($1)", GATE)
    order = [what for what, _ in await history(connection)]
    assert order == ["002", "004", "001", "003", "v"]


async def test_the_last_one_waits_for_the_others_and_is_one_with_the_hook_behind_all(
    project: Project, connection: asyncpg.Connection
) -> None:
    await connection.execute("CREATE TABLE note (id serial, what text, xid text DEFAULT pg_current_xact_id()::text)")
    notes = {what: f"INSERT INTO note (what) VALUES ('{what}')" for what in ("001_a", "002_b", "003_c")}
    project.write({f"{what}.sql": f"{FREE}{THROUGH_GATE * (what == '001_a')}{note}" for what, note in notes.items()})
    project.write({"after_all.sql": "INSERT INTO note (what) VALUES ('after_all')"})

    async def has_second() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM note WHERE what = '002_b'"))

    await connection.execute("SELECT pg_advisory_lock($1)", GATE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: project.up(jobs=2, lock_timeout="0"))
        await at_gate(connection, 1)
        await eventually_async(has_second)
        await connection.execute("SELECT pg_advisory_unlock($1)", GATE)
    rows = await connection.fetch("SELECT what, xid FROM note ORDER BY xid::bigint, id")
    assert {row["what"] for row in rows[:2]} == {"001_a", "002_b"}
    assert [row["what"] for row in rows[2:]] == ["003_c", "after_all"]
    assert rows[2]["xid"] == rows[3]["xid"]


async def test_without_annotations_they_come_one_by_one(project: Project, connection: asyncpg.Connection) -> None:
    project.write({f"00{n}_x.sql": f"CREATE TABLE t{n} AS SELECT FROM t{n - 1}" for n in range(2, 7)})
    project.write({"001_x.sql": "CREATE TABLE t1 ()"})
    await project.up(jobs=4)
    assert [what for what, _ in await history(connection)] == ["001", "002", "003", "004", "005", "006"]


async def test_a_failure_lets_those_that_run_end_and_begins_no_more(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write(
        {
            "001_slow.sql": f"{FREE}{THROUGH_GATE}CREATE TABLE slow ()",
            "002_bad.sql": f"{FREE}SELECT 1/0",
            "003_later.sql": f"{FREE}CREATE TABLE later ()",
            "004_upon.sql": "-- dbinit: depends 1\nCREATE TABLE upon ()",
        }
    )
    caught: list[DbInitError] = []

    async def apply() -> None:
        with pytest.raises(StatementError) as found:
            await project.up(jobs=2, lock_timeout="0")
        caught.append(found.value)

    failed = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dbinit' AND datname = current_database()"

    async def has_failed() -> bool:  # and its connection is closed
        return bool(await connection.fetchval(failed) == 2)

    await connection.execute("SELECT pg_advisory_lock($1)", GATE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(apply)
        await at_gate(connection, 1)
        await eventually_async(has_failed)
        await connection.execute("SELECT pg_advisory_unlock($1)", GATE)
    assert caught[0].outcome.splitlines() == [
        "What failed was rolled back.",
        f"Done before, and kept: {project.path('001_slow.sql')}.",
        f"Failed: {project.path('002_bad.sql')}.",
        f"Not started: {project.path('003_later.sql')}, {project.path('004_upon.sql')}.",
    ]
    assert await relations(connection) == {"slow"}


async def test_two_that_fail_are_both_reported(project: Project, connection: asyncpg.Connection) -> None:
    names = ("001_a.sql", "002_b.sql")
    project.write(dict.fromkeys(names, f"{FREE}{THROUGH_GATE}SELECT 1/0"))
    await connection.execute("SELECT pg_advisory_lock($1)", GATE)
    async with anyio.create_task_group() as tasks:

        async def apply() -> None:
            with pytest.raises(StatementError) as found:
                await project.up(jobs=2, lock_timeout="0")
            said = str(found.value)
            assert all(f"{project.path(name)}:3:1" in said for name in names)
            assert said.count("division by zero") == 2

        tasks.start_soon(apply)
        await at_gate(connection, 2)
        await connection.execute("SELECT pg_advisory_unlock($1)", GATE)


async def test_a_deadlock_between_two_is_no_failure(
    project: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute("CREATE TABLE a (); CREATE TABLE b ()")
    meet = "DO $$ BEGIN\n  WHILE (SELECT count(*) FROM pg_locks WHERE relation = '{other}'::regclass"
    meet += " AND mode = 'ShareLock') = 0 AND NOT EXISTS (SELECT FROM dbinit_migrations) LOOP\n"
    meet += "    PERFORM pg_sleep(0.01);\n  END LOOP;\nEND $$;\n"
    script = FREE + "LOCK TABLE {one} IN SHARE MODE;\n" + meet + "ALTER TABLE {other} ADD COLUMN {one}_was_here int;\n"
    project.write({"001_a.sql": script.format(one="a", other="b"), "002_b.sql": script.format(one="b", other="a")})
    await project.up(jobs=2)

    assert ".sql ran into a deadlock; trying again in " in caplog.text
    assert sorted(await history(connection)) == [("001", "applied"), ("002", "applied")]
    columns = "SELECT count(*) FROM pg_attribute WHERE attname LIKE '%was_here'"
    assert await connection.fetchval(columns) == 2


async def test_settings_do_not_reach_the_next_on_the_same_connection(
    project: Project, connection: asyncpg.Connection
) -> None:
    setting = "SET search_path = '';\nSET ROLE pg_monitor;\nSELECT 1;\n"
    project.write({"001_a.sql": FREE + setting, "002_b.sql": "CREATE TABLE b ()", "003_c.sql": "CREATE TABLE c ()"})
    await project.up(jobs=2)
    assert await relations(connection) == {"b", "c"}


async def test_what_runs_step_by_step_is_gone_on_with(project: Project, connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TABLE a (id int)")
    script = FREE + "INSERT INTO a VALUES (1);\nVACUUM a;\nINSERT INTO a VALUES (2 / {});\n"
    project.write({"001_a.sql": script.format(0), "002_b.sql": f"{FREE}CREATE TABLE b ()"})
    with pytest.raises(StatementError, match="division by zero") as caught:
        await project.up(jobs=2)
    assert "The first 2 of 3 statements are applied" in caught.value.outcome

    project.write({"001_a.sql": script.format(1)})
    await project.up(jobs=2)
    assert [row["id"] for row in await connection.fetch("SELECT id FROM a ORDER BY id")] == [1, 2]
    assert sorted(await history(connection)) == [("001", "applied"), ("002", "applied")]


async def test_a_circle_and_an_unknown_version_are_refused(project: Project, connection: asyncpg.Connection) -> None:
    project.write({"001_a.sql": "-- dbinit: depends 2\nSELECT 1", "002_b.sql": "-- dbinit: depends 1, 9\nSELECT 1"})
    with pytest.raises(SourceError) as caught:
        await project.up(jobs=2)
    assert "it depends on 9, and there is no migration with that version" in str(caught.value)
    assert "depend on each other in a circle" in str(caught.value)
    assert await connection.fetchval("SELECT to_regclass('dbinit_migrations')") is None


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_a_number_of_jobs_that_is_none(jobs: str, project: Project) -> None:
    project.write({"001_a.sql": "SELECT 1"})
    assert project.run(DBINIT_JOBS=jobs).code == ExitCode.USAGE
