"""Hooks: files and callables, where they run, and what becomes of their failures."""

import asyncpg
import pytest

from dbinit import DbInitError, ExitCode, StatementError
from dbinit.folders import Down, Hook, HookCall, HookError, Hooks, Redo, Up

from .kit import CHAIN, Project, history, relations

NOTE = "INSERT INTO note VALUES (DEFAULT, '{}', pg_current_xact_id()::text);\n"
TABLE = "CREATE TABLE IF NOT EXISTS note (id serial, what text, xid text);\n"
FILES = {
    "before_all.sql": TABLE + NOTE.format("before_all"),
    "before_each.sql": NOTE.format("before_each"),
    "after_each.sql": NOTE.format("after_each"),
    "after_all.sql": NOTE.format("after_all"),
}


async def notes(connection: asyncpg.Connection) -> list[str]:
    return [row["what"] for row in await connection.fetch("SELECT what FROM note ORDER BY id")]


def recorder(calls: list[HookCall]) -> Hooks:
    async def record(call: HookCall) -> None:
        calls.append(call)

    return Hooks(before_all=record, before_each=record, after_each=record, after_all=record, on_error=record)


@pytest.mark.parametrize("jobs", [1, 2])
async def test_files_run_around_all_and_in_the_transaction_of_each(
    jobs: int, project: Project, connection: asyncpg.Connection
) -> None:
    project.write({"001_one.sql": NOTE.format("one"), "002_two.sql": NOTE.format("two"), **FILES})
    await project.up(jobs=jobs)

    each = ["before_each", "one", "after_each", "before_each", "two", "after_each"]
    assert await notes(connection) == ["before_all", *each, "after_all"]
    xids = [row["xid"] for row in await connection.fetch("SELECT xid FROM note ORDER BY id")]
    assert xids[1] == xids[2] == xids[3]
    assert xids[4] == xids[5] == xids[6] == xids[7]
    # The one before all is part of the first transaction, where there is a first one.
    assert (xids[0] == xids[1]) is (jobs == 1)
    assert len(set(xids)) == 3 - (jobs == 1)


async def test_they_run_only_where_something_is_applied(project: Project, connection: asyncpg.Connection) -> None:
    project.write({**CHAIN, **FILES})
    await project.up()
    before = await notes(connection)
    await project.up()
    await project.migrate(Down())
    assert await notes(connection) == before


async def test_callables_are_told_what_they_are_called_for(project: Project) -> None:
    project.write({name: CHAIN[name] for name in ("001_one.sql", "002_two.sql")})
    calls: list[HookCall] = []
    await project.up(hooks=recorder(calls))

    path, other = project.path("001_one.sql"), project.path("002_two.sql")
    assert [(call.hook, call.path, call.version, call.name) for call in calls] == [
        (Hook.BEFORE_ALL, "", "", ""),
        (Hook.BEFORE_EACH, path, "001", "one"),
        (Hook.AFTER_EACH, path, "001", "one"),
        (Hook.BEFORE_EACH, other, "002", "two"),
        (Hook.AFTER_EACH, other, "002", "two"),
        (Hook.AFTER_ALL, "", "", ""),
    ]


@pytest.mark.parametrize("request_", [Up(), Up(jobs=2), Up(single_transaction=True)], ids=["up", "jobs", "single"])
async def test_a_callable_works_in_the_transaction_of_the_migration(
    request_: Up, project: Project, connection: asyncpg.Connection
) -> None:
    async def fill(call: HookCall) -> None:
        await call.connection.execute("INSERT INTO one VALUES ($1)", int(call.version))

    project.write(CHAIN)
    await project.migrate(request_, hooks=Hooks(after_each=fill))
    xmins = "SELECT one.xmin::text = m.xmin::text FROM one JOIN dbinit_migrations m ON m.id = one.id"
    assert [row[0] for row in await connection.fetch(xmins)] == [True] * 3


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ValueError("no such thing"), "ValueError: no such thing"),
        (FileNotFoundError(2, "No such file"), "FileNotFoundError"),
        (KeyError("missing"), "KeyError: 'missing'"),
    ],
)
@pytest.mark.parametrize("jobs", [1, 2])
async def test_a_callable_that_fails_fails_its_step(
    jobs: int, failure: Exception, said: str, project: Project, connection: asyncpg.Connection
) -> None:
    async def fail(call: HookCall) -> None:
        if call.version == "002":
            raise failure

    project.write(CHAIN)
    with pytest.raises(HookError, match=f"the hook after_each for .*002_two.sql failed: {said}") as caught:
        await project.up(hooks=Hooks(after_each=fail), jobs=jobs)
    assert f"Failed: {project.path('002_two.sql')}." in caught.value.outcome
    assert await relations(connection) == {"one"}
    assert await history(connection) == [("001", "applied")]


async def test_sql_of_a_callable_that_fails_fails_its_step(project: Project, connection: asyncpg.Connection) -> None:
    async def fail(call: HookCall) -> None:
        await call.connection.execute("SELECT 1/0")

    project.write(CHAIN)
    with pytest.raises(HookError, match="division by zero"):
        await project.up(hooks=Hooks(before_each=fail))
    assert await relations(connection) == set()


async def test_a_file_that_fails_is_named_with_its_line(project: Project, connection: asyncpg.Connection) -> None:
    project.write({**CHAIN, "after_each.sql": "SELECT 1;\nSELECT 1/0;\n"})
    with pytest.raises(StatementError) as caught:
        await project.up()
    assert f"{project.path('after_each.sql')}:2:1" in caught.value.message
    assert await relations(connection) == set()


@pytest.mark.parametrize("hook", ["before_all", "after_all"])
async def test_one_about_all_that_fails_fails_the_run(
    hook: str, project: Project, connection: asyncpg.Connection
) -> None:
    project.write({**CHAIN, f"{hook}.sql": "SELECT 1/0"})
    assert project.run().code == ExitCode.FAILED
    assert await relations(connection) == (set() if hook == "before_all" else {"one", "two"})


@pytest.mark.parametrize(
    ("request_", "more"),
    [
        (Up(), ""),
        (Up(), "VACUUM one;\n"),
        (Up(jobs=2), ""),
        (Up(jobs=2), "VACUUM one;\n"),
        (Up(single_transaction=True), ""),
    ],
    ids=["up", "up by steps", "jobs", "jobs by steps", "single"],
)
async def test_the_one_behind_all_that_fails_is_run_with_the_next_start(
    request_: Up, more: str, project: Project, connection: asyncpg.Connection
) -> None:
    """It meets nothing that the last migration has set, and what it sets itself does no harm to the history."""
    project.write({**CHAIN, "003_three.sql": f"CREATE TABLE three ();\n{more}SET search_path = '';\n"})
    project.write({"after_all.sql": "INSERT INTO seen SELECT count(*) FROM one, three;\nSET ROLE pg_monitor;\n"})
    with pytest.raises(StatementError, match=r'relation "seen" does not exist') as caught:
        await project.migrate(request_)
    assert project.path("after_all.sql") in caught.value.message
    assert f"Failed: {project.path('003_three.sql')}." in caught.value.outcome
    assert await project.pending() == (["one", "two", "three"] if request_.single_transaction else ["three"])

    await connection.execute("CREATE TABLE seen (n int)")
    for _ in range(2):
        await project.migrate(request_)
        assert await project.pending() == []
        assert await connection.fetchval("SELECT count(*) FROM seen") == 1


@pytest.mark.parametrize(("jobs", "more"), [(1, ""), (1, "VACUUM note;\n"), (2, "")], ids=["one", "steps", "jobs"])
async def test_the_lock_is_held_from_the_one_before_all_to_the_end_of_the_first(
    jobs: int, more: str, project: Project, connection: asyncpg.Connection
) -> None:
    """Who waits for it finds the first migration applied, and never runs that hook as well."""
    holder = """
        INSERT INTO public.note (what, xid) SELECT '{}', virtualtransaction FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    """
    project.write({"before_all.sql": TABLE + holder.format("before_all") + "SET search_path = ''"})
    project.write({"001_one.sql": holder.format("one") + more, "002_two.sql": "INSERT INTO note VALUES (DEFAULT)"})
    await project.up(jobs=jobs)
    found = await connection.fetch("SELECT what, xid FROM note WHERE what IS NOT NULL ORDER BY id")
    assert [row["what"] for row in found] == ["before_all", "one"]
    assert found[0]["xid"] == found[1]["xid"]


async def test_on_error_runs_behind_the_rollback_and_knows_why(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({**CHAIN, "003_three.sql": "INSERT INTO one VALUES (1);\nSELECT 1/0;\n"})
    facts = ", ".join(f"current_setting('dbinit.{name}', true)" for name in ("sqlstate", "message", "migration"))
    project.write(
        {"on_error.sql": f"INSERT INTO one VALUES (7);\nCREATE TABLE told AS SELECT ARRAY[{facts}] AS facts;\n"}
    )
    calls: list[HookCall] = []
    with pytest.raises(StatementError) as caught:
        await project.up(hooks=recorder(calls))

    last, path = calls[-1], project.path("003_three.sql")
    assert (last.hook, last.error, last.path, last.version) == (Hook.ON_ERROR, caught.value, path, "003")
    assert await connection.fetchval("SELECT array_agg(id) FROM one") == [7]
    assert await connection.fetchval("SELECT facts FROM told") == ["22012", caught.value.message, path]


async def test_on_error_that_fails_does_not_hide_the_error(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.write({"001_one.sql": "SELECT 1/0", "on_error.sql": "SELECT nonsense"})
    with pytest.raises(DbInitError, match="division by zero"):
        await project.up()
    assert "The hook on_error failed" in caplog.text


@pytest.mark.parametrize("request_", [Up(dry_run=True), Down(), Redo()], ids=lambda request: type(request).__name__)
async def test_on_error_runs_only_where_something_was_to_be_applied(
    project: Project, connection: asyncpg.Connection, request_: Up | Down | Redo
) -> None:
    project.write({"001_one.sql": TABLE + "-- dbinit: down\nSELECT 1/0"})
    await project.up()
    project.write({"002_two.sql": "SELECT 1/0"} if isinstance(request_, Up) else {})
    project.write({"on_error.sql": "INSERT INTO note VALUES (DEFAULT)"})
    calls: list[HookCall] = []
    with pytest.raises(DbInitError, match="division by zero"):
        await project.migrate(request_, hooks=recorder(calls))
    assert Hook.ON_ERROR not in [call.hook for call in calls]
    assert await connection.fetchval("SELECT count(*) FROM note") == 0


async def test_a_rehearsal_runs_all_but_the_one_on_an_error_and_keeps_nothing(
    project: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    project.write({"001_one.sql": "CREATE TABLE one ()", "002_two.sql": "CREATE TABLE two ()", **FILES})
    calls: list[HookCall] = []
    await project.migrate(Up(dry_run=True), hooks=recorder(calls))
    each = [Hook.BEFORE_EACH, Hook.AFTER_EACH]
    assert [call.hook for call in calls] == [Hook.BEFORE_ALL, *each, *each, Hook.AFTER_ALL]
    assert await relations(connection) == set()
    assert "The hook on_error is not rehearsed" in caplog.text
    assert "after_all is not rehearsed" not in caplog.text

    project.write({"003_three.sql": "VACUUM one"})
    calls.clear()
    await project.migrate(Up(dry_run=True), hooks=recorder(calls))
    assert [call.hook for call in calls] == [Hook.BEFORE_ALL, *each, *each]
    assert "The hook after_all is not rehearsed: it may need what a migration makes that is not" in caplog.text


async def test_what_runs_step_by_step_has_them_around_it(project: Project, connection: asyncpg.Connection) -> None:
    project.write({"001_one.sql": "CREATE TABLE one ();\nVACUUM one;\n" + NOTE.format("one"), **FILES})
    await project.up()
    assert await notes(connection) == ["before_all", "before_each", "one", "after_each", "after_all"]


@pytest.mark.parametrize("jobs", [1, 2])
async def test_those_that_stand_are_not_run_again_with_what_is_tried_again_and_what_they_set_is(
    jobs: int, project: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute("CREATE SEQUENCE tries")
    lost = "SELECT pg_terminate_backend(pg_backend_pid()) FROM nextval('tries') n WHERE n = 1;\n"
    busy = "DO $$ BEGIN IF nextval('tries') < 5 THEN RAISE 'busy' USING ERRCODE = '55P03'; END IF; END $$;\n"
    told = "INSERT INTO note (what) VALUES (current_setting('hooked.word'));\n"
    project.write({"001_one.sql": f"VACUUM note;\n{lost}{busy}{told}", "002_two.sql": "SELECT 1", **FILES})
    project.write({"before_each.sql": NOTE.format("before_each") + "SET hooked.word = 'kept';\n"})
    await project.up(jobs=jobs)
    assert ("connecting again" in caplog.text, caplog.text.count("trying again")) == (True, 2)
    both = ["before_each", "kept", "after_each", "before_each", "after_each"]
    assert await notes(connection) == ["before_all", *both, "after_all"]


async def test_one_that_fails_behind_a_migration_step_by_step_is_run_with_the_next_start(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write(
        {"001_one.sql": "CREATE TABLE one ();\nVACUUM one;\n", "after_each.sql": "INSERT INTO seen VALUES (1)"}
    )
    with pytest.raises(StatementError) as caught:
        await project.up()
    assert caught.value.outcome.startswith("The first 2 of 2 statements are applied; the next start goes on there.")
    assert await history(connection) == [("001", "unfinished")]

    await connection.execute("CREATE TABLE seen (n int)")
    await project.up()
    assert await history(connection) == [("001", "applied")]
    assert await connection.fetchval("SELECT count(*) FROM seen") == 1
