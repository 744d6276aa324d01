"""All in one transaction: to keep all or none, or to rehearse."""

import asyncpg
import pytest

from dbinit import ExitCode, Outcome, ScriptError, StatementError
from dbinit.folders import Up
from tests.kit.server import Server

from .kit import CHAIN, Project, history, relations

ALONE = "VACUUM one;\n"


async def test_a_single_transaction_keeps_all(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    report = await project.migrate(Up(single_transaction=True))
    assert report.outcome is Outcome.APPLIED
    assert await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM dbinit_migrations") == 1
    assert await history(connection) == [("001", "applied"), ("002", "applied"), ("003", "applied")]


async def test_a_single_transaction_keeps_none_where_one_fails(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({**CHAIN, "002_two.sql": "CREATE TABLE two (id int);\nSELECT 1/0;\n"})
    with pytest.raises(StatementError) as caught:
        await project.migrate(Up(single_transaction=True))

    assert caught.value.line == 2
    assert caught.value.outcome.splitlines()[1:] == [
        f"Rolled back: {project.path('001_one.sql')}.",
        f"Failed: {project.path('002_two.sql')}.",
        f"Not started: {project.path('003_three.sql')}.",
    ]
    assert await relations(connection) == set()
    assert await connection.fetchval("SELECT to_regclass('dbinit_migrations')") is None


async def test_a_single_transaction_refuses_what_cannot_be_part_of_it(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({**CHAIN, "002_two.sql": ALONE})
    with pytest.raises(ScriptError, match=r"cannot run in a transaction, and all were to be one: .*002_two\.sql"):
        await project.migrate(Up(single_transaction=True))
    assert await relations(connection) == set()


async def test_a_rehearsal_leaves_no_trace(project: Project, server: Server, database: str) -> None:
    before = server.dump(database)
    project.write(CHAIN)
    report = await project.migrate(Up(dry_run=True))

    assert report.outcome is Outcome.REHEARSED
    assert [run.version for run in report.migrations] == ["001", "002", "003"]
    assert server.dump(database) == before
    assert await project.pending() == ["one", "two", "three"]


async def test_a_rehearsal_finds_what_would_fail(project: Project, connection: asyncpg.Connection) -> None:
    project.write({**CHAIN, "003_three.sql": "CREATE TABLE three (id int);\nALTER TABLE two ADD id int;\n"})
    with pytest.raises(StatementError, match="already exists") as caught:
        await project.migrate(Up(dry_run=True))
    assert caught.value.line == 2
    assert await relations(connection) == set()


async def test_a_rehearsal_finds_what_would_fail_at_the_commit(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write(
        {
            "001_one.sql": "CREATE TABLE one (id int UNIQUE, of int REFERENCES one (id) DEFERRABLE INITIALLY DEFERRED)",
            "002_two.sql": "INSERT INTO one VALUES (1, 7)",
        }
    )
    with pytest.raises(StatementError, match="violates foreign key constraint"):
        await project.migrate(Up(dry_run=True))
    assert await relations(connection) == set()


async def test_a_rehearsal_names_what_it_leaves_out(project: Project, connection: asyncpg.Connection) -> None:
    project.write(
        {
            **CHAIN,
            "002_two.sql": ALONE,
            "003_three.sql": "-- dbinit: depends 2\nCREATE TABLE three ()",
            "004_four.sql": "-- dbinit: depends 1\nCREATE TABLE four ()",
        }
    )
    end = project.run("up", "--dry-run")
    assert end.code == ExitCode.OK
    assert "it takes the locks that the migrations take, and rolls all back" in end.err
    assert f"{project.path('002_two.sql')} is not rehearsed: it cannot run in a transaction" in end.err
    assert f"{project.path('003_three.sql')} is not rehearsed: it needs one that is not" in end.err
    assert "004_four.sql is not rehearsed" not in end.err
    assert f"Rehearsed {project.path('004_four.sql')}: 1 statement in " in end.err
    assert await relations(connection) == set()


async def test_a_constraint_that_is_checked_at_the_commit_undoes_all(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write(
        {
            "001_one.sql": "CREATE TABLE one (id int UNIQUE, of int REFERENCES one (id) DEFERRABLE INITIALLY DEFERRED)",
            "002_two.sql": "INSERT INTO one VALUES (1, 7)",
        }
    )
    with pytest.raises(StatementError, match="PostgreSQL refused to commit the migrations:"):
        await project.migrate(Up(single_transaction=True))
    assert await relations(connection) == set()


async def test_a_later_migration_may_mend_what_is_checked_at_the_commit(
    project: Project, connection: asyncpg.Connection
) -> None:
    table = "CREATE TABLE one (id int UNIQUE, of int REFERENCES one (id) DEFERRABLE INITIALLY DEFERRED)"
    project.write(
        {
            "001_one.sql": table,
            "002_two.sql": "INSERT INTO one VALUES (1, 1)",
            "003_three.sql": "INSERT INTO one VALUES (2, 3); INSERT INTO one VALUES (3, 2)",
        }
    )
    assert (await project.migrate(Up(dry_run=True))).outcome is Outcome.REHEARSED
    assert await relations(connection) == set()


@pytest.mark.parametrize("request_", [Up(dry_run=True), Up(single_transaction=True)], ids=["rehearsal", "single"])
async def test_settings_of_one_do_not_reach_the_next(request_: Up, project: Project) -> None:
    project.write({"001_one.sql": "SET search_path = ''; SET ROLE pg_monitor", "002_two.sql": "CREATE TABLE two ()"})
    assert len((await project.migrate(request_)).migrations) == 2
