"""Migrations that cannot be one transaction: recorded statement by statement, and gone on with after any end."""

import asyncpg
import pytest

from dbinit import FileChangedError, StatementError
from tests.kit.patience import eventually_async

from .kit import CHAIN, Project, history, relations

STATEMENTS = 5
Caplog = pytest.LogCaptureFixture


def script(*, sleeps_at: int = 0, fails_at: int = 0) -> str:
    """Return statements that each may run only once; one of them fails, or takes its time for as long as `gate` is."""
    lines = ["-- dbinit: no-transaction"]
    for number in range(1, STATEMENTS + 1):
        call = "1"
        if number == sleeps_at:
            call = "(SELECT count(pg_sleep(60)) + 1 FROM gate)"
        lines.append(f"INSERT INTO seen VALUES ({number} / {0 if number == fails_at else call});")
    return "\n".join(lines) + "\n"


async def seen(connection: asyncpg.Connection) -> list[int]:
    return [row["n"] for row in await connection.fetch("SELECT n FROM seen ORDER BY n")]


@pytest.fixture
def stepwise(project: Project) -> Project:
    project.write({"001_tables.sql": "CREATE TABLE seen (n int PRIMARY KEY); CREATE TABLE gate AS SELECT 1 AS closed"})
    return project


@pytest.mark.parametrize("at", range(1, STATEMENTS + 1))
async def test_it_goes_on_behind_what_was_run_before_it_was_killed(
    at: int, stepwise: Project, connection: asyncpg.Connection
) -> None:
    stepwise.write({"002_steps.sql": script(sleeps_at=at), "003_last.sql": "CREATE TABLE last_one ()"})
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"

    async def is_asleep() -> bool:
        return bool(await connection.fetchval(asleep))

    with stepwise.start() as process:
        await eventually_async(is_asleep)
        process.popen.kill()
        process.wait()
    assert await history(connection) == [("001", "applied"), ("002", "unfinished")]
    assert await seen(connection) == list(range(1, at))
    await connection.execute("DELETE FROM gate")
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    report = await stepwise.up()
    assert [run.action for run in report.migrations] == ["resume", "apply"]
    assert await seen(connection) == list(range(1, STATEMENTS + 1))
    assert await history(connection) == [("001", "applied"), ("002", "applied"), ("003", "applied")]


@pytest.mark.parametrize("at", range(1, STATEMENTS + 1))
async def test_it_goes_on_behind_what_was_run_before_it_failed(
    at: int, stepwise: Project, connection: asyncpg.Connection
) -> None:
    stepwise.write({"002_steps.sql": script(fails_at=at)})
    with pytest.raises(StatementError) as caught:
        await stepwise.up()
    assert caught.value.line == at + 1
    if at > 1:
        verb = "is" if at == 2 else "are"
        assert f"The first {at - 1} of {STATEMENTS} statements {verb} applied" in caught.value.outcome
    assert await seen(connection) == list(range(1, at))

    stepwise.write({"002_steps.sql": script()})
    await stepwise.up()
    assert await seen(connection) == list(range(1, STATEMENTS + 1))


async def test_what_was_run_may_not_be_edited(stepwise: Project, connection: asyncpg.Connection) -> None:
    stepwise.write({"002_steps.sql": script(fails_at=3)})
    with pytest.raises(StatementError):
        await stepwise.up()
    stepwise.write({"002_steps.sql": script().replace("(1 / 1)", "(7 / 1)")})
    with pytest.raises(FileChangedError, match="interrupted behind statement 2"):
        await stepwise.up()
    assert await seen(connection) == [1, 2]


async def test_one_that_becomes_a_transaction_meanwhile_does_not_begin_anew(
    stepwise: Project, connection: asyncpg.Connection
) -> None:
    stepwise.write({"002_steps.sql": script(fails_at=3)})
    with pytest.raises(StatementError):
        await stepwise.up()
    stepwise.write({"002_steps.sql": script().replace("-- dbinit: no-transaction", "--")})
    await stepwise.up()
    assert await seen(connection) == list(range(1, STATEMENTS + 1))


async def test_the_lock_is_held_all_along(stepwise: Project, connection: asyncpg.Connection) -> None:
    stepwise.write({"002_steps.sql": script(sleeps_at=2)})
    asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    pids: list[int] = []

    async def is_asleep() -> bool:
        pids[:] = [row["pid"] for row in await connection.fetch(asleep)]
        return bool(pids)

    with stepwise.start() as first:
        await eventually_async(is_asleep)
        with stepwise.start() as second:
            second.wait_for("Another starter holds the migration lock")
            await connection.execute("DELETE FROM gate")
            await connection.fetch("SELECT pg_cancel_backend($1)", pids[0])
            assert first.wait() == 1
            assert second.wait() == 0, second.err
    assert await seen(connection) == list(range(1, STATEMENTS + 1))


@pytest.mark.parametrize("jobs", [1, 2])
async def test_a_change_of_the_role_does_not_keep_it_from_being_recorded(
    jobs: int, stepwise: Project, connection: asyncpg.Connection
) -> None:
    stepwise.write(
        {
            "002_steps.sql": "VACUUM seen; SET ROLE pg_monitor; SELECT 1; VACUUM gate; RESET ROLE;\n"
            "INSERT INTO seen VALUES (1)",
            "003_three.sql": "-- dbinit: depends 1\nCREATE TABLE three ()",
        }
    )
    await stepwise.up(jobs=jobs)
    assert await seen(connection) == [1]


async def test_the_log_says_why_and_where_it_goes_on(stepwise: Project) -> None:
    stepwise.write({"002_steps.sql": "SELECT 1;\n\nVACUUM seen;\n"})
    end = stepwise.run("plan")
    assert f"apply {stepwise.path('002_steps.sql')}: 2 statements, statement by statement, because of line 3" in end.out


async def test_others_before_and_behind_it_stand(project: Project, connection: asyncpg.Connection) -> None:
    project.write({**CHAIN, "002_two.sql": "CREATE TABLE two (id int);\nVACUUM two;\nSELECT 1/0;\n"})
    with pytest.raises(StatementError) as caught:
        await project.up()
    assert f"Done before, and kept: {project.path('001_one.sql')}." in caught.value.outcome
    assert f"Failed: {project.path('002_two.sql')}." in caught.value.outcome
    assert f"Not started: {project.path('003_three.sql')}." in caught.value.outcome
    assert await relations(connection) == {"one", "two"}
