"""What is said and recorded without running anything: status, plan, baseline, repair, new."""

import json
import re
from typing import Any

import asyncpg
import pytest

from dbinit import ExitCode, Outcome
from dbinit.folders import Baseline, PlanError, Repair, Version
from dbinit.verbs import new_migration
from tests.kit.process import Finished

from .kit import CHAIN, Project, history, relations


def said(end: Finished) -> Any:
    return json.loads(end.out)


async def test_status_names_each_and_its_exit_code_says_whether_something_is_pending(project: Project) -> None:
    project.write({name: CHAIN[name] for name in ("001_one.sql", "002_two.sql")})
    await project.up()
    assert project.run("status", "--exit-code").code == ExitCode.OK

    project.write(CHAIN)
    end = project.run("status", "--exit-code", "--json")
    assert end.code == ExitCode.FAILED
    found = said(end)
    assert (found["format"], found["pending"]) == ("native", 1)
    statuses = [(row["version"], row["name"], row["status"]) for row in found["migrations"]]
    assert statuses == [("001", "one", "applied"), ("002", "two", "applied"), ("003", "three", "pending")]
    assert found["migrations"][0]["applied_at"] is not None
    assert project.run("status").code == ExitCode.OK


@pytest.mark.parametrize("change", ["edit", "remove"])
async def test_status_says_what_up_would_refuse(change: str, project: Project) -> None:
    project.write(CHAIN)
    await project.up()
    if change == "edit":
        project.write({"001_one.sql": "CREATE TABLE other ()"})
    else:
        (project.folder / "001_one.sql").unlink()

    end = project.run("status", "--exit-code")
    assert end.code == project.run("up").code == ExitCode.HISTORY
    assert "up would refuse: " in end.out
    assert project.run("status").code == ExitCode.OK
    (conflict,) = said(project.run("status", "--json"))["conflicts"]
    assert "001" in conflict


async def test_an_edited_repeatable_one_is_pending(project: Project) -> None:
    project.write({"001_one.sql": "SELECT 1", "repeatable_v.sql": "SELECT 1"})
    await project.up()
    assert said(project.run("status", "--json"))["pending"] == 0
    project.write({"repeatable_v.sql": "SELECT 2"})
    end = project.run("status", "--json", "--exit-code")
    assert (end.code, said(end)["pending"]) == (ExitCode.FAILED, 1)


@pytest.mark.parametrize(
    ("table", "said_of_it"),
    [
        ("users", "the database has the table users, but no history of migrations"),
        ("schema_migrations", "(public.schema_migrations of dbmate), and dbinit has none"),
    ],
)
async def test_who_looks_is_told_of_a_schema_that_was_there_before_and_changes_nothing(
    table: str, said_of_it: str, project: Project, connection: asyncpg.Connection
) -> None:
    await connection.execute(f"CREATE TABLE {table} (version text)")
    project.write(CHAIN)
    for command in ("up", "plan"):
        end = project.run(command)
        assert end.code == ExitCode.HISTORY
        assert said_of_it in end.err

    end = project.run("status", "--exit-code")
    assert end.code == ExitCode.HISTORY
    assert said_of_it in end.out.partition("up would refuse: ")[2]
    (conflict,) = said(project.run("status", "--json"))["conflicts"]
    assert said_of_it in conflict
    assert project.run("plan", DBINIT_SENTINEL="").code == ExitCode.OK
    assert await connection.fetchval("SELECT to_regclass('dbinit_migrations')") is None


async def test_plan_says_what_would_run_and_how(project: Project, connection: asyncpg.Connection) -> None:
    project.write({**CHAIN, "002_two.sql": "SELECT 1;\n\nCREATE INDEX CONCURRENTLY x ON one (id);\n"})
    steps = said(project.run("plan", "--target", "2", "--json"))["steps"]
    assert [(step["version"], step["statements"], step["transaction"]) for step in steps] == [
        ("001", 1, True),
        ("002", 2, False),
    ]
    assert steps[1]["because"].startswith("line 3: CREATE INDEX CONCURRENTLY")
    assert await relations(connection) == set()


async def test_a_plan_that_cannot_be_names_all_that_cannot_be_read(project: Project) -> None:
    project.write({"001_one.sql": "SELECT 'open;\n", "002_two.sql": "SELECT 1;\n\\connect elsewhere\n"})
    end = project.run()
    assert end.code == ExitCode.FAILED
    assert f"{project.path('001_one.sql')}:1:8" in end.err
    assert f"{project.path('002_two.sql')}:2:1" in end.err

    status = project.run("status", "--exit-code")
    assert status.code == ExitCode.HISTORY
    refusal = status.out.partition("up would refuse: ")[2]
    assert f"{project.path('001_one.sql')}:1:8" in refusal
    assert f"{project.path('002_two.sql')}:2:1" in refusal


async def test_a_baseline_records_without_running(project: Project, connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TABLE users (); CREATE TABLE one (id int); CREATE TABLE two (id int)")
    project.write(CHAIN)
    report = await project.migrate(Baseline(Version.parse("2")))
    assert (report.outcome, report.statements) == (Outcome.RECORDED, 0)
    assert await history(connection) == [("001", "baseline"), ("002", "baseline")]

    await project.up()
    assert await relations(connection) == {"users", "one", "two", "three"}
    with pytest.raises(PlanError, match="there is a history already"):
        await project.migrate(Baseline(Version.parse("2")))


async def test_a_baseline_needs_a_version_that_there_is(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    assert project.run("baseline", "8").code == ExitCode.HISTORY
    assert project.run("baseline", "first").code == ExitCode.USAGE
    assert project.run("down", "0").code == ExitCode.USAGE
    assert await connection.fetchval("SELECT to_regclass('dbinit_migrations')") is None


async def test_repair_accepts_an_edit_and_shows_it(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    await project.up()
    project.write({"001_one.sql": CHAIN["001_one.sql"].replace("id int", "id bigint")})
    end = project.run("repair")

    assert end.code == ExitCode.OK, end.err
    assert end.err.count("is a folder of native migrations") == 1
    assert "-CREATE TABLE one (id int);" in end.out
    assert "+CREATE TABLE one (id bigint);" in end.out
    assert (await project.up()).outcome is Outcome.CURRENT
    assert (await project.migrate(Repair())).outcome is Outcome.CURRENT
    assert [what for what, _ in await history(connection)] == ["001", "002", "003", "001"]


async def test_the_difference_is_shown_before_it_is_accepted(project: Project) -> None:
    project.write(CHAIN)
    await project.up()
    assert project.run("repair").out == "nothing to repair\n"
    project.write({"001_one.sql": CHAIN["001_one.sql"].replace("id int", "id bigint")})
    project.url += "&" if "?" in project.url else "?"
    project.url += "options=-c%20default_transaction_read_only=on"
    end = project.run("repair")
    assert end.code == ExitCode.FAILED
    assert "+CREATE TABLE one (id bigint);" in end.out


async def test_a_repaired_one_keeps_its_place_for_the_way_back(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write(CHAIN)
    await project.up()
    project.write({"001_one.sql": CHAIN["001_one.sql"].replace("id int", "id bigint")})
    await project.migrate(Repair())
    assert project.run("down").code == ExitCode.OK
    assert await relations(connection) == {"one", "two"}


NEW = {
    "native": (["001_add_books.sql"], "002_more.sql"),
    "golang-migrate": (["000001_add_books.down.sql", "000001_add_books.up.sql"], "000002_more.up.sql"),
    "goose": (["00001_add_books.sql"], "00002_more.sql"),
    "flyway": (["V1__add_books.sql"], "V2__more.sql"),
    "dbmate": ([r"\d{14}_add_books.sql"], r"\d{14}_more.sql"),
    "sqlx": ([r"\d{14}_add_books.down.sql", r"\d{14}_add_books.up.sql"], r"\d{14}_more.up.sql"),
}


@pytest.mark.parametrize("name", NEW)
def test_a_new_migration_is_named_as_its_owner_names_it(name: str, project: Project) -> None:
    files, second = NEW[name]
    new_migration(project.folder, name, "add books")
    created = sorted(file.name for file in project.folder.iterdir())
    assert len(created) == len(files)
    assert all(re.fullmatch(pattern, found) for pattern, found in zip(files, created, strict=True)), created

    for file in project.folder.iterdir():
        file.write_text(file.read_text().replace("\n\n", "\nSELECT 1;\n") or "SELECT 1;\n")
    again = new_migration(project.folder, None, "more").data["created"]
    assert any(re.fullmatch(second, path.rpartition("/")[2]) for path in again)


def test_a_new_migration_needs_no_database(project: Project) -> None:
    project.url = "postgresql://nobody@127.0.0.1:1/nothing"
    project.write({".gitkeep": "", "README.md": "Migrations are to come."})
    end = project.run("new", "add books", "--json")
    assert end.code == ExitCode.OK, end.err
    assert said(end)["created"] == [project.path("001_add_books.sql")]
    assert project.run("new", "../evil").code == ExitCode.USAGE
    assert project.run("new", "more").out == f"{project.path('002_more.sql')}\n"
    project.write({f"{2**64 - 1}_last.sql": "SELECT 1"})
    assert "no number is left behind 18446744073709551615" in project.run("new", "more").err


def test_a_new_migration_needs_no_values_of_placeholders(project: Project) -> None:
    project.write({"V1__a.sql": "SELECT '${x}'"})
    assert project.run("new", "more").out == f"{project.path('V2__more.sql')}\n"
    assert "there is no value for the placeholder ${x}" in project.run("status").err


def test_the_environment_says_whose_a_new_migration_is(project: Project) -> None:
    end = project.run("new", "more", DBINIT_FORMAT="goose")
    assert end.out == f"{project.path('00001_more.sql')}\n"
    assert f"There was no folder {project.folder}; it is created" in end.err
    refused = project.run("new", "more", DBINIT_FORMAT="geese")
    assert refused.code == ExitCode.USAGE
    assert "DBINIT_FORMAT: 'geese' is not one of native, " in refused.err


def test_a_new_migration_needs_a_folder(project: Project) -> None:
    project.write({"001_a.sql": "SELECT 1"})
    refused = project.run("new", "more", "--path", project.path("001_a.sql"))
    assert refused.code == ExitCode.USAGE
    assert f"{project.path('001_a.sql')} is no folder of migrations\n" in refused.err


async def test_an_error_is_json_too(project: Project) -> None:
    project.write({"001_one.sql": "SELECT 1;\nSELECT 1/0;\n"})
    end = project.run("up", "--json")
    error = said(end)["error"]
    assert end.code == error["exit_code"] == ExitCode.FAILED
    assert (error["type"], error["sqlstate"], error["line"]) == ("StatementError", "22012", 2)


async def test_a_run_is_json_too(project: Project) -> None:
    project.write(CHAIN)
    found = said(project.run("up", "--json"))
    assert (found["outcome"], found["statements"]) == ("applied", 3)
    assert [run["version"] for run in found["migrations"]] == ["001", "002", "003"]
    assert said(project.run("down", "2", "--json"))["outcome"] == "reverted"
    assert said(project.run("redo", "--json"))["outcome"] == "applied"


async def test_redo_counts_the_migration_once(project: Project) -> None:
    project.write(CHAIN)
    await project.up()
    end = project.run("redo")
    assert f"Running 1 migration of {project.folder}..." in end.err
    assert "\n1 migration, 2 statements, " in end.out
