"""Taking back: by number, to a version, without the files; and what cannot be taken back."""

import asyncpg
import pytest

from dbinit import ExitCode, Outcome, StatementError
from dbinit.folders import Down, PlanError, Redo, Version
from dbinit.migrations.version import ZERO

from .kit import CHAIN, Project, history, relations


async def test_the_last_ones_are_taken_back(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    await project.up()
    report = await project.migrate(Down(2))

    assert report.outcome is Outcome.REVERTED
    assert [(run.action, run.version) for run in report.migrations] == [("revert", "003"), ("revert", "002")]
    assert await relations(connection) == {"one"}
    assert (await history(connection))[3:] == [("003", "reverted"), ("002", "reverted")]


@pytest.mark.parametrize(("target", "left"), [("1", {"one"}), ("3", {"one", "two", "three"}), ("0", set[str]())])
async def test_all_that_are_newer_are_taken_back(
    target: str, left: set[str], project: Project, connection: asyncpg.Connection
) -> None:
    project.write(CHAIN)
    await project.up()
    assert project.run("down", "--to", target).code == ExitCode.OK
    assert await relations(connection) == left


async def test_where_nothing_is_newer_it_says_so(project: Project) -> None:
    project.write(CHAIN)
    await project.up()
    end = project.run("down", "--to", "3")
    assert end.code == ExitCode.OK
    assert "Nothing newer is applied, nothing to take back" in end.err


async def test_a_down_file_beside_is_as_good(project: Project, connection: asyncpg.Connection) -> None:
    project.write({"001_one.sql": "CREATE TABLE one ()", "001_one.down.sql": "DROP TABLE one"})
    await project.up()
    await project.migrate(Down())
    assert await relations(connection) == set()


async def test_the_history_knows_the_way_back_when_the_files_are_gone(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write(
        {
            **CHAIN,
            "004_four.sql": "CREATE TABLE four ();\n-- dbinit: down\n-- dbinit: no-transaction\nDROP TABLE four;\n",
        }
    )
    await project.up()
    project.remove("003_three.sql", "004_four.sql")
    project.write({"002_two.sql": CHAIN["002_two.sql"].replace("DROP", "SELECT 1/0; DROP")})

    await project.migrate(Down(target=Version.parse("2")))
    assert await relations(connection) == {"one", "two"}
    assert (await history(connection))[-2:] == [("004", "reverted"), ("003", "reverted")]


async def test_an_error_in_what_the_history_knows_says_where_it_comes_from(project: Project) -> None:
    project.write({**CHAIN, "004_four.sql": "SELECT 1;\n-- dbinit: down\nSELECT 1;\nSELECT 1/0;\n"})
    await project.up()
    project.remove("004_four.sql")
    with pytest.raises(StatementError, match="down part of 4 in the history") as caught:
        await project.migrate(Down())
    assert caught.value.line == 4


async def test_an_irreversible_one_is_named_before_anything_is_touched(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({**CHAIN, "002_two.sql": "CREATE TABLE two (id int)"})
    await project.up()
    with pytest.raises(PlanError, match=r"migration 002 \(two\) is irreversible"):
        await project.migrate(Down(target=ZERO))
    assert await relations(connection) == {"one", "two", "three"}


@pytest.mark.parametrize("count", [0, 4, -1])
async def test_as_many_as_there_are_not_is_an_error(count: int, project: Project) -> None:
    project.write(CHAIN)
    await project.up()
    with pytest.raises(PlanError, match=f"the number of migrations that can be taken back is 3, not {count}"):
        await project.migrate(Down(count))


async def test_a_version_that_was_not_applied_leads_nowhere(project: Project) -> None:
    project.write(CHAIN)
    with pytest.raises(PlanError, match="migration 2 was not applied"):
        await project.migrate(Down(target=Version.parse("2")))
    assert project.run("down", "1", "--to", "2").code == ExitCode.USAGE
    assert project.run("down", "0").code == ExitCode.USAGE


async def test_what_another_stays_upon_stays(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    project.write({"004_four.sql": "-- dbinit: depends 3\nCREATE TABLE four ();\n-- dbinit: down\nDROP TABLE four"})
    project.write({"002_two.sql": "-- dbinit: depends none\nCREATE TABLE two ();\n-- dbinit: down\nDROP TABLE two"})
    await project.up()
    await project.migrate(Down(2))
    assert await relations(connection) == {"one", "two"}


async def test_a_failure_on_the_way_back_keeps_what_was_taken_back(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({**CHAIN, "002_two.sql": "CREATE TABLE two ();\n-- dbinit: down\nDROP TABLE two;\nDROP TABLE none;"})
    await project.up()
    with pytest.raises(StatementError) as caught:
        await project.migrate(Down(3))
    assert caught.value.line == 4
    assert await relations(connection) == {"one", "two"}


async def test_redo_takes_back_and_applies_what_is_there_now(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    await project.up()
    project.write({"003_three.sql": CHAIN["003_three.sql"].replace("id int", "id bigint")})
    report = await project.migrate(Redo())

    assert [run.action for run in report.migrations] == ["revert", "apply"]
    kind = "SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'three'::regclass AND attname = 'id'"
    assert await connection.fetchval(kind) == "bigint"
    assert (await project.up()).outcome is Outcome.CURRENT


async def test_redo_without_a_file_touches_nothing(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    await project.up()
    project.remove("003_three.sql")
    with pytest.raises(PlanError, match=r"the file of migration 003 \(three\) is not in"):
        await project.migrate(Redo())
    assert await relations(connection) == {"one", "two", "three"}


async def test_a_way_back_that_was_interrupted_is_gone_on_with(
    project: Project, connection: asyncpg.Connection
) -> None:
    down = "-- dbinit: down\n-- dbinit: no-transaction\nDELETE FROM one WHERE id = 1;\n{}DROP TABLE one;\n"
    up = "CREATE TABLE one (id int);\nINSERT INTO one VALUES (1);\n"
    project.write({"001_one.sql": up + down.format("SELECT 1/0;\n")})
    await project.up()
    with pytest.raises(StatementError):
        await project.migrate(Down())
    assert await history(connection) == [("001", "applied"), ("001", "reverting")]
    with pytest.raises(PlanError, match="taken back half-way; finish that with down"):
        await project.up()

    project.write({"001_one.sql": up + down.format("")})
    await project.migrate(Down())
    assert await history(connection) == [("001", "applied"), ("001", "reverted")]
    assert await relations(connection) == set()


async def test_what_went_with_it_comes_back_with_it(project: Project, connection: asyncpg.Connection) -> None:
    project.write({"001_one.sql": "CREATE TABLE one (id int);\n-- dbinit: down\nDROP TABLE one CASCADE;\n"})
    project.write({"repeatable_view.sql": "CREATE OR REPLACE VIEW v AS SELECT id FROM one"})
    await project.up()
    await project.migrate(Down())
    assert await connection.fetchval("SELECT to_regclass('v')") is None
    await project.up()
    assert await connection.fetchval("SELECT to_regclass('v')") == "v"

    await project.migrate(Redo())
    assert await connection.fetchval("SELECT to_regclass('v')") == "v"
    assert (await project.up()).outcome is Outcome.CURRENT


async def test_a_redo_that_fails_tells_its_two_halves_apart(project: Project) -> None:
    project.write({"001_one.sql": "CREATE TABLE one ();\n-- dbinit: down\nDROP TABLE another"})
    await project.up()
    with pytest.raises(StatementError) as caught:
        await project.migrate(Redo())
    path = project.path("001_one.sql")
    assert caught.value.outcome.endswith(f"Failed: {path} (to be taken back).\nNot started: {path}.")
