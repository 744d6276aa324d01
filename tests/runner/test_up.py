"""Applying: each migration with its row in one transaction, in order, as far as is wanted, and once."""

from contextlib import ExitStack

import asyncpg
import pytest

from dbinit import ExitCode, HistoryError, Outcome, Report, StatementError
from dbinit.folders import Down, PlanError, Up, Version
from dbinit.readiness import Phase, Readiness
from tests.kit.patience import eventually_async
from tests.kit.process import finished

from .kit import CHAIN, Project, history, relations

STARTERS = 20
BARRIER = 4242


async def test_each_is_recorded_in_its_own_transaction(project: Project, connection: asyncpg.Connection) -> None:
    project.write(
        {
            name: f"{text[:26]}; CREATE TABLE x{name[:3]} AS SELECT pg_current_xact_id()"
            for name, text in {
                "001_a.sql": "CREATE TABLE one (id int) ",
                "002_b.sql": "CREATE TABLE two (id int) ",
            }.items()
        }
    )
    report = await project.up()

    assert report.outcome is Outcome.APPLIED
    assert [(run.version, run.statements) for run in report.migrations] == [("001", 2), ("002", 2)]
    rows = await connection.fetch("SELECT version, xmin::text::int FROM dbinit_migrations ORDER BY id")
    made = [await connection.fetchval(f"SELECT pg_current_xact_id::text::int FROM x{row['version']}") for row in rows]
    assert [row["xmin"] for row in rows] == made
    assert made[0] != made[1]


async def test_the_order_is_that_of_the_numbers(project: Project, connection: asyncpg.Connection) -> None:
    names = ["9_a.sql", "10_b.sql", "100_c.sql", "0011_d.sql", "18446744073709551615_e.sql"]
    project.write({"0_begin.sql": "CREATE TABLE seen (n serial, what text)"})
    project.write({name: f"INSERT INTO seen (what) VALUES ('{name}')" for name in sorted(names)})
    await project.up()

    seen = await connection.fetch("SELECT what FROM seen ORDER BY n")
    assert [row["what"] for row in seen] == ["9_a.sql", "10_b.sql", "0011_d.sql", "100_c.sql", names[-1]]


async def test_a_failure_keeps_what_was_before_and_leaves_nothing_of_its_own(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({**CHAIN, "002_two.sql": "CREATE TABLE two (id int);\nINSERT INTO two VALUES (1/0);\n"})
    with pytest.raises(StatementError) as caught:
        await project.up()

    assert (caught.value.line, caught.value.column) == (2, 1)
    assert caught.value.outcome.splitlines() == [
        "What failed was rolled back.",
        f"Done before, and kept: {project.path('001_one.sql')}.",
        f"Failed: {project.path('002_two.sql')}.",
        f"Not started: {project.path('003_three.sql')}.",
    ]
    assert await history(connection) == [("001", "applied")]
    assert await relations(connection) == {"one"}


async def test_what_is_applied_already_costs_nothing(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    await project.up()
    before = await history(connection)

    assert (await project.up()).outcome is Outcome.CURRENT
    assert await project.pending() == []
    assert await history(connection) == before


async def test_a_target_is_the_last_one_applied(project: Project, connection: asyncpg.Connection) -> None:
    project.write({**CHAIN, "repeatable_view.sql": "CREATE VIEW v AS SELECT 1"})
    await project.migrate(Up(target=Version.parse("2")))
    assert await history(connection) == [("001", "applied"), ("002", "applied")]

    # An unset variable of a shell means neither all of them nor the working directory.
    assert project.run("up", "--target", "").code == project.run("up", "--path", "").code == ExitCode.USAGE
    with pytest.raises(PlanError, match="there is no migration 7"):
        await project.migrate(Up(target=Version.parse("7")))
    await project.up()
    assert await history(connection) == [
        ("001", "applied"),
        ("002", "applied"),
        ("003", "applied"),
        ("view", "applied"),
    ]


async def test_a_repeatable_one_runs_again_when_it_is_edited(project: Project, connection: asyncpg.Connection) -> None:
    project.write({"001_one.sql": "SELECT 1", "repeatable_view.sql": "CREATE OR REPLACE VIEW v AS SELECT 1 AS n"})
    await project.up()
    project.write({"repeatable_view.sql": "CREATE OR REPLACE VIEW v AS SELECT 2 AS n"})
    await project.up()

    assert await connection.fetchval("SELECT n FROM v") == 2
    assert (await project.up()).outcome is Outcome.CURRENT


async def test_a_late_one_is_refused_or_allowed(project: Project, connection: asyncpg.Connection) -> None:
    project.write({name: CHAIN[name] for name in ("001_one.sql", "003_three.sql")})
    await project.up()
    project.write(CHAIN)

    end = project.run()
    assert end.code == ExitCode.HISTORY
    assert f"{project.path('002_two.sql')} comes late" in end.err
    assert "allow it (--allow-missing, or DBINIT_ALLOW_MISSING=yes)" in end.err
    end = project.run("up", "--allow-missing")
    assert end.code == ExitCode.OK, end.err
    assert [what for what, _ in await history(connection)] == ["001", "003", "002"]


async def test_edited_vanished_and_unknown_ones_are_named_at_once(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write(CHAIN)
    await project.up()
    project.write({"001_one.sql": "CREATE TABLE other (id int)", "004_four.sql": "CREATE TABLE four ()"})
    project.remove("002_two.sql")

    with pytest.raises(PlanError) as caught:
        await project.up()
    assert caught.value.exit_code is ExitCode.HISTORY
    edited, vanished = caught.value.problems
    assert edited.startswith(f"{project.path('001_one.sql')} was edited")
    assert vanished.startswith("migration 002 (two) was applied, and its file has vanished")
    assert await relations(connection) == {"one", "two", "three"}


async def test_line_ends_and_a_byte_order_mark_are_no_edit(project: Project) -> None:
    project.write(CHAIN)
    await project.up()
    project.write({name: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() for name, text in CHAIN.items()})
    assert (await project.up()).outcome is Outcome.CURRENT


@pytest.mark.parametrize("says", ["", "-- dbinit: compatible-with 003\n"])
async def test_a_database_ahead_of_the_files_is_refused(says: str, project: Project) -> None:
    project.write({**CHAIN, "004_four.sql": f"{says}CREATE TABLE four ()"})
    await project.up()
    project.remove("003_three.sql", "004_four.sql")
    with pytest.raises(PlanError, match=r"the database is ahead of .*, which ends with 002") as caught:
        await project.up()
    assert caught.value.exit_code is ExitCode.HISTORY


async def test_a_database_ahead_of_the_files_is_served_if_its_newest_migration_says_so(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.write({**CHAIN, "004_four.sql": "-- dbinit: compatible-with 001\nCREATE TABLE four ()"})
    await project.up()
    project.remove("003_three.sql", "004_four.sql")
    assert (await project.up()).outcome is Outcome.CURRENT
    assert "the database is ahead of the files, by migration 004 (four)" in caplog.text


async def test_twenty_starters_apply_each_once(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    project.write(
        {
            "000_wait.sql": f"SELECT pg_advisory_xact_lock_shared({BARRIER}); CREATE TABLE seen (n int PRIMARY KEY)",
            "004_alone.sql": "INSERT INTO seen VALUES (4); VACUUM seen; INSERT INTO seen VALUES (5)",
            "005_last.sql": "INSERT INTO seen VALUES (6)",
        }
    )
    connected = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'dbinit'"
    )

    async def all_connected() -> bool:
        return bool(await connection.fetchval(connected) >= STARTERS)

    await connection.execute("SELECT pg_advisory_lock($1)", BARRIER)
    with ExitStack() as stack:
        starters = [stack.enter_context(project.start(DBINIT_LOCK_TIMEOUT="0")) for _ in range(STARTERS)]
        await eventually_async(all_connected, 60)
        await connection.execute("SELECT pg_advisory_unlock($1)", BARRIER)
        ends = [finished(starter, 60) for starter in starters]

    assert [end.code for end in ends] == [ExitCode.OK] * STARTERS, [end.err for end in ends if end.code]
    assert [what for what, _ in await history(connection)] == ["000", "001", "002", "003", "004", "005"]
    assert sum(end.err.count("Applied ") for end in ends) == 6
    assert all("Applied " in end.err or "Database already initialized" in end.err for end in ends)


async def test_starters_of_different_images_end_with_the_newest(
    project: Project, connection: asyncpg.Connection
) -> None:
    older = Project(project.folder.with_name("older"), project.url)
    project.write({**CHAIN, "004_four.sql": "-- dbinit: compatible-with 2\nCREATE TABLE four ()"})
    older.write({name: CHAIN[name] for name in ("001_one.sql", "002_two.sql")})
    with ExitStack() as stack:
        starters = [stack.enter_context(image.start()) for image in (older, project, older, project)]
        ends = [finished(starter) for starter in starters]

    assert [end.code for end in ends] == [ExitCode.OK] * 4, [end.err for end in ends]
    assert [what for what, _ in await history(connection)] == ["001", "002", "003", "004"]


async def test_who_waits_says_so_and_goes_on_behind_the_other(project: Project, connection: asyncpg.Connection) -> None:
    project.write(
        {**CHAIN, "001_one.sql": f"SELECT pg_advisory_xact_lock_shared({BARRIER}); CREATE TABLE one (id int)"}
    )
    await connection.execute("SELECT pg_advisory_lock($1)", BARRIER)
    with project.start(DBINIT_LOCK_TIMEOUT="0") as first:
        first.wait_for("Running 3 migrations")
        blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND mode = 'ShareLock'"

        async def is_blocked() -> bool:
            return bool(await connection.fetchval(blocked))

        await eventually_async(is_blocked)
        with project.start() as second:
            second.wait_for("Another starter holds the migration lock")
            second.wait_for("held by another dbinit")
            second.wait_for(f"ago): SELECT pg_advisory_xact_lock_shared({BARRIER})\n")
            await connection.execute("SELECT pg_advisory_unlock($1)", BARRIER)
            assert (first.wait(), second.wait()) == (ExitCode.OK, ExitCode.OK), second.err
            assert "Running" not in second.err
    assert [what for what, _ in await history(connection)] == ["001", "002", "003"]


async def test_an_observer_sees_each_migration(project: Project) -> None:
    project.write(CHAIN)
    seen: list[Readiness] = []
    await project.up(observer=seen.append)

    applying = [(found.file, found.migration, found.migrations) for found in seen if found.phase is Phase.APPLYING]
    expected = [(project.path(name), number, 3) for number, name in enumerate(CHAIN, start=1)]
    assert list(dict.fromkeys(applying)) == expected
    assert seen[-2].phase is Phase.READY


async def test_a_foreign_schema_without_a_history_is_refused(
    project: Project, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dbinit")
    await connection.execute("CREATE TABLE users ()")
    project.write(CHAIN)
    with pytest.raises(HistoryError, match="no history of migrations") as caught:
        await project.up()
    assert "baseline VERSION" in caught.value.advice
    assert await relations(connection) == {"users"}
    assert "Running" not in caplog.text

    assert (await project.up(sentinel="")).outcome is Outcome.APPLIED
    assert caplog.text.count("Running 3 migrations") == 1


async def test_verify_applies_nothing_and_waits_for_another(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    initializer = project.initializer(lock_wait="100ms")
    with pytest.raises(HistoryError, match=r"3 pending migrations of .*, from .*001_one\.sql on"):
        await initializer.verify()
    await initializer.close()
    assert await relations(connection) == set()

    await project.up()
    initializer = project.initializer()
    report: Report = await initializer.verify()
    await initializer.close()
    assert report.outcome is Outcome.CURRENT


async def test_what_was_taken_back_is_applied_again(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    await project.up()
    await project.migrate(Down(2))
    await project.up()
    assert [what for what, _ in await history(connection)] == ["001", "002", "003", "003", "002", "002", "003"]
    assert await relations(connection) == {"one", "two", "three"}


async def test_the_time_of_each_is_its_own(project: Project) -> None:
    project.write(
        {"001_quick.sql": "CREATE TABLE quick ()", "002_slow.sql": "INSERT INTO quick SELECT FROM pg_sleep(0.5)"}
    )
    quick, slow = (await project.up()).migrations
    assert slow.seconds >= 0.5
    assert quick.seconds < 0.5 * slow.seconds
