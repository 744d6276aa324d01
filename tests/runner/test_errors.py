"""What is said when something fails or the server has something to say: which file, which line, which migration."""

import asyncpg
import pytest

from dbinit import Outcome, StatementError
from dbinit.folders import Up

from .kit import CHAIN, Project, history, relations

Caplog = pytest.LogCaptureFixture


@pytest.fixture
def unvalidated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave it to the server to find mistakes of grammar, as where the extra for it is not installed."""
    monkeypatch.setattr("dbinit.runner.checking.available", lambda: False)


@pytest.mark.usefixtures("unvalidated")
async def test_a_mistake_of_grammar_is_not_blamed_on_the_one_before(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({**CHAIN, "002_two.sql": "CREATE TABLE two (id int);\nCREATE TABL three ();\n"})
    with pytest.raises(StatementError) as caught:
        await project.up()

    found = caught.value
    assert (found.sqlstate, found.line, found.column) == ("42601", 2, 8)
    assert found.message.splitlines()[1:4] == [
        f"{project.path('002_two.sql')}:2:8",
        "  2 | CREATE TABL three ();",
        "    |        ^",
    ]
    assert await history(connection) == [("001", "applied")]
    assert await relations(connection) == {"one"}


@pytest.mark.usefixtures("unvalidated")
async def test_what_was_run_before_a_mistake_of_grammar_was_run_once(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({"001_one.sql": "CREATE TABLE one (id serial)"})
    await project.up()
    project.write({"002_two.sql": "INSERT INTO one DEFAULT VALUES", "003_three.sql": "CREATE TABL three ()"})
    with pytest.raises(StatementError):
        await project.up()
    assert await connection.fetchval("SELECT id FROM one") == 1


async def test_a_line_of_a_function_is_found(project: Project) -> None:
    project.write(
        {
            "001_one.sql": "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1 / 0;\nEND $$;\n",
            "002_two.sql": "CREATE TABLE two ();\n\nSELECT f();\n",
            "003_three.sql": "SELECT 1;\n",
        }
    )
    with pytest.raises(StatementError) as caught:
        await project.up()
    assert (caught.value.line, caught.value.column) == (3, 1)
    assert "PL/pgSQL function f() line 3 at RETURN" in caught.value.message


async def test_a_line_of_a_block_is_found(project: Project) -> None:
    project.write({"001_one.sql": "CREATE TABLE one ();\nDO $$\nBEGIN\n  PERFORM 1 / 0;\nEND $$;\n"})
    with pytest.raises(StatementError) as caught:
        await project.up()
    assert (caught.value.line, caught.value.column) == (4, 3)


@pytest.mark.parametrize("further", [{}, {"003_three.sql": "CREATE TABLE three ()"}], ids=["the last", "another"])
async def test_a_constraint_that_is_checked_at_the_commit_is_that_migrations(
    further: dict[str, str],
    project: Project,
    connection: asyncpg.Connection,
) -> None:
    project.write(
        {
            "001_one.sql": "CREATE TABLE one (id int UNIQUE, of int REFERENCES one (id) DEFERRABLE INITIALLY DEFERRED)",
            "002_two.sql": "INSERT INTO one VALUES (1, 7)",
        }
    )
    project.write(further)
    with pytest.raises(StatementError, match="violates foreign key constraint") as caught:
        await project.up()

    assert caught.value.message.startswith(f"PostgreSQL refused to commit {project.path('002_two.sql')}:")
    assert f"Failed: {project.path('002_two.sql')}." in caught.value.outcome
    assert await history(connection) == [("001", "applied")]
    assert await connection.fetchval("SELECT count(*) FROM one") == 0


async def test_what_the_server_says_comes_with_file_and_line(project: Project, caplog: Caplog) -> None:
    caplog.set_level("INFO", "dbinit")
    project.write(
        {
            "001_one.sql": "CREATE TABLE one ();\nCREATE TABLE two ();\nCREATE TABLE IF NOT EXISTS one ();\n",
            "002_two.sql": "DO $$ BEGIN\n  RAISE WARNING 'look here';\nEND $$;\n",
            "003_three.sql": "CREATE TABLE three ();\n",
        }
    )
    await project.up()
    assert f'{project.path("001_one.sql")}:3: NOTICE: relation "one" already exists, skipping' in caplog.messages
    assert f"{project.path('002_two.sql')}:1: WARNING: look here" in caplog.messages


DEFERRED = """CREATE TABLE one (id int);
CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'late: %', NEW.id; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON one DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION say();
"""


@pytest.mark.parametrize("request_", [Up(), Up(jobs=2), Up(single_transaction=True)], ids=["up", "jobs", "single"])
@pytest.mark.parametrize("hook", ["", "SELECT 1"])
async def test_what_is_said_at_the_commit_is_about_the_migration_that_it_commits(
    hook: str, request_: Up, project: Project, caplog: Caplog
) -> None:
    project.write({"001_one.sql": DEFERRED, "002_two.sql": "INSERT INTO one VALUES (2)"})
    project.write({"003_three.sql": "INSERT INTO one VALUES (3);\nSELECT 1;\n", "004_four.sql": "SELECT 1"})
    if hook:
        project.write({"after_each.sql": hook})
    await project.migrate(request_)
    said = [message for message in caplog.messages if "late" in message]
    places = ["At the commit"] * 2 if request_.single_transaction else [project.path("002"), project.path("003")]
    assert all(line.startswith(place) for line, place in zip(said, places, strict=True)), said


async def test_a_password_in_a_statement_is_not_repeated(project: Project) -> None:
    project.write({"001_one.sql": "CREATE TABLE one ();\nALTER ROLE nobody_here PASSWORD 'hunter2-secret';\n"})
    with pytest.raises(StatementError) as caught:
        await project.up()
    assert caught.value.line == 2
    assert "hunter2" not in str(caught.value)


SETTINGS = {
    "search_path": (
        "CREATE SCHEMA inner_room;\nSET search_path = inner_room;\nCREATE TABLE x ();\n",
        '"$user", public',
    ),
    "role": ("SET ROLE pg_monitor;\nSELECT 1;\n", "none"),
    "session_authorization": ("SET SESSION AUTHORIZATION pg_monitor;\nSELECT 1;\n", "postgres"),
    "standard_conforming_strings": ("SET standard_conforming_strings = off;\nSELECT 'it\\'s';\n", "on"),
    "work_mem": ("SELECT set_config('work_mem', '77MB', false);\n", "4MB"),
}


@pytest.mark.parametrize("kind", ["", "-- dbinit: no-transaction\n"])
@pytest.mark.parametrize("name", SETTINGS)
async def test_settings_do_not_reach_the_next(
    name: str, kind: str, project: Project, connection: asyncpg.Connection
) -> None:
    script, expected = SETTINGS[name]
    project.write(
        {
            "001_one.sql": kind + script,
            "002_two.sql": "CREATE TABLE public.two AS\n"
            f"SELECT current_setting('{name}') AS found, E'\\\\' = '\\' AS plain;\n",
        }
    )
    report = await project.up()
    assert report.outcome is Outcome.APPLIED
    found = await connection.fetchrow("SELECT found, plain FROM two")
    assert found is not None
    assert tuple(found) == (expected, True)


async def test_settings_of_one_that_failed_do_not_reach_the_hook_for_it(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write(
        {
            "001_one.sql": "CREATE TABLE one (who text)",
            "002_two.sql": "-- dbinit: no-transaction\nSET ROLE pg_monitor;\nSET search_path = '';\nSELECT 1/0;\n",
            "on_error.sql": "INSERT INTO one VALUES (current_user)",
        }
    )
    with pytest.raises(StatementError):
        await project.up()
    assert await connection.fetchval("SELECT who FROM one") == "postgres"


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_try_that_gets_no_lock_waits_twice_at_most_until_the_statement_is_known(
    retries: int, project: Project, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "CREATE SEQUENCE waits; CREATE FUNCTION wait() RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM nextval('waits'); RAISE 'busy' USING ERRCODE = '55P03'; END $$"
    )
    project.write(
        {"001_one.sql": "CREATE TABLE one (id int);\nINSERT INTO one VALUES (1);\nINSERT INTO one SELECT wait();"}
    )

    with pytest.raises(StatementError) as caught:
        await project.up(lock_retries=retries)

    assert caught.value.line == 3
    # With another try left, the first one ends with its message.
    assert await connection.fetchval("SELECT last_value FROM waits") == 2 + retries
