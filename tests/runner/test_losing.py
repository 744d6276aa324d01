"""Requests about a folder whose connections are lost: each step is taken once, and counted once."""

import asyncio
import logging
from collections.abc import Iterator

import anyio
import asyncpg
import pytest

from dbinit import Outcome, Report, ServerUnreachableError, StatementError
from dbinit.folders import Baseline, Down, HookCall, Hooks, Import, Redo, Up, Version
from dbinit.lock import lock_key
from dbinit.migrations.request import Request
from tests.kit.faulty import FaultyProxy
from tests.kit.patience import eventually_async
from tests.kit.server import Server

from .kit import CHAIN, Project, history, relations

GATE = 4712
STEPWISE = {
    "001_one.sql": "CREATE TABLE one (n int PRIMARY KEY);\n-- dbinit: down\nDROP TABLE one;\n",
    "002_two.sql": (
        "-- dbinit: no-transaction\nINSERT INTO one VALUES (1);\nVACUUM one;\nINSERT INTO one VALUES (2);\n"
        "-- dbinit: down\n-- dbinit: no-transaction\n"
        "DELETE FROM one WHERE n = 1;\nVACUUM one;\nDELETE FROM one WHERE n = 2;\n"
    ),
    "003_three.sql": "CREATE TABLE three (id int);\n-- dbinit: down\nDROP TABLE three;\n",
}


@pytest.fixture
def line(server: Server) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def far(project: Project, line: FaultyProxy, server: Server) -> Project:
    """The project, by way of the proxy."""
    return Project(project.folder, project.url.replace(f":{server.port}/", f":{line.port}/"))


def versions(report: Report) -> list[str]:
    return [run.version for run in report.migrations]


# The commits of a step: one keeps what was done, the one behind it only what the session was reset to.


@pytest.mark.parametrize("number", [1, 3, 5])
async def test_each_migration_is_applied_once(
    number: int, far: Project, line: FaultyProxy, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dbinit")
    far.write(CHAIN)
    line.lose_commit(number)
    report = await far.up()

    assert (report.outcome, versions(report)) == (Outcome.APPLIED, ["001", "002", "003"])
    assert await history(connection) == [(version, "applied") for version in ("001", "002", "003")]
    assert caplog.text.count("connecting again") == line.cuts == 1
    assert [text.split("/")[-1].split(":")[0] for text in caplog.messages if "Applied" in text] == list(CHAIN)


@pytest.mark.parametrize("number", [1, 3, 5])
async def test_as_many_are_taken_back_as_was_said(
    number: int, far: Project, line: FaultyProxy, connection: asyncpg.Connection
) -> None:
    far.write({**CHAIN, "000_zero.sql": "CREATE TABLE zero ();\n-- dbinit: down\nDROP TABLE zero;\n"})
    await far.up()
    line.lose_commit(number)
    report = await far.migrate(Down(3))

    assert (report.outcome, versions(report)) == (Outcome.REVERTED, ["003", "002", "001"])
    assert line.cuts == 1
    assert await relations(connection) == {"zero"}


@pytest.mark.parametrize("number", range(1, 9))
async def test_what_runs_statement_by_statement_is_gone_on_with(
    number: int, far: Project, line: FaultyProxy, connection: asyncpg.Connection
) -> None:
    far.write(STEPWISE)
    line.lose_commit(number)
    report = await far.up()
    assert versions(report) == ["001", "002", "003"]
    assert line.cuts == 1
    assert [row["n"] for row in await connection.fetch("SELECT n FROM one ORDER BY n")] == [1, 2]

    line.lose_commit(number)
    assert versions(await far.migrate(Down(2))) == ["003", "002"]
    assert line.cuts == 2
    assert await connection.fetchval("SELECT count(*) FROM one") == 0
    assert await relations(connection) == {"one", "one_pkey"}


@pytest.mark.parametrize("number", [1, 3, 5])
async def test_a_redo_is_not_left_half_way(
    number: int, far: Project, line: FaultyProxy, connection: asyncpg.Connection
) -> None:
    far.write({**CHAIN, "repeatable_view.sql": "CREATE OR REPLACE VIEW all_of_them AS SELECT id FROM one"})
    await far.up()
    line.lose_commit(number)
    report = await far.migrate(Redo())

    taken = [("revert", "003"), ("apply", "003"), ("apply", "")]
    assert [(run.action, run.version) for run in report.migrations] == taken
    assert line.cuts == 1
    assert (await history(connection))[4:] == [("003", "reverted"), ("003", "applied"), ("view", "applied")]


@pytest.mark.parametrize(
    ("request_", "number", "outcome"),
    [
        pytest.param(Baseline(Version.parse("3")), 1, Outcome.RECORDED, id="baseline"),
        pytest.param(Import(), 2, Outcome.RECORDED, id="import, behind reading the other history"),
        pytest.param(Up(single_transaction=True), 1, Outcome.APPLIED, id="single transaction"),
        pytest.param(Up(jobs=3), 2, Outcome.APPLIED, id="jobs, behind the history's table"),
    ],
)
async def test_other_requests_whose_commit_is_lost(
    request_: Request, number: int, outcome: Outcome, far: Project, line: FaultyProxy, connection: asyncpg.Connection
) -> None:
    far.write(CHAIN)
    if isinstance(request_, Import):
        await connection.execute(
            "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);"
            "INSERT INTO schema_migrations VALUES (3, false)"
        )
    line.lose_commit(number)
    report = await far.migrate(request_)

    assert (report.outcome, versions(report)) == (outcome, ["001", "002", "003"])
    assert line.cuts == 1
    assert [what for what, _ in await history(connection)] == ["001", "002", "003"]


@pytest.mark.parametrize("behind", [900, 1800, 2700])
async def test_a_rehearsal_begins_again_and_leaves_nothing(
    behind: int, far: Project, line: FaultyProxy, connection: asyncpg.Connection
) -> None:
    far.write(CHAIN)
    line.cut_after(to_server=behind)
    report = await far.migrate(Up(dry_run=True))

    assert (report.outcome, versions(report)) == (Outcome.REHEARSED, ["001", "002", "003"])
    assert line.cuts == 1
    assert await relations(connection) == set()


@pytest.mark.parametrize("lost", ["lock", "worker"])
async def test_several_at_a_time_begin_again_when_a_connection_is_lost(
    lost: str, project: Project, connection: asyncpg.Connection
) -> None:
    through_gate = f"SELECT pg_advisory_xact_lock_shared({GATE});\n"
    names = [f"00{number}_x.sql" for number in range(1, 4)]
    project.write({name: f"-- dbinit: depends none\n{through_gate}CREATE TABLE t{name[:3]} ()" for name in names})
    await connection.execute(f"SELECT pg_advisory_lock({GATE})")
    own = lock_key("public")
    holders = {
        "lock": f"objid = {own & 0xFFFFFFFF} AND classid = {own >> 32 & 0xFFFFFFFF}",
        "worker": f"objid = {GATE} AND NOT granted",
    }
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND {holders[lost]} LIMIT 1"

    async def at_gate(number: int) -> None:
        async def are_there() -> bool:
            waiting = f"SELECT count(*) FROM pg_locks WHERE objid = {GATE} AND NOT granted"
            return bool(await connection.fetchval(waiting) == number)

        await eventually_async(are_there)

    start = asyncio.create_task(project.up(jobs=2))
    await at_gate(2)
    assert await connection.fetchval(ended)
    if lost == "lock":
        await at_gate(0)
        await at_gate(2)
    await connection.execute(f"SELECT pg_advisory_unlock({GATE})")
    with anyio.fail_after(30):
        report = await start

    assert sorted(versions(report)) == ["001", "002", "003"]
    assert sorted(await history(connection)) == [(f"00{number}", "applied") for number in range(1, 4)]


@pytest.mark.parametrize("lost", ["commit", "connection"])
@pytest.mark.parametrize("more", ["", "VACUUM one;\n"], ids=["at once", "steps"])
@pytest.mark.parametrize("jobs", [1, 2])
async def test_the_hook_behind_the_last_one_has_its_effect_once(
    jobs: int, more: str, lost: str, far: Project, line: FaultyProxy, connection: asyncpg.Connection
) -> None:
    called = []

    async def hook(call: HookCall) -> None:
        await call.connection.execute("INSERT INTO one VALUES (7)")
        called.append(call.hook.value)
        if len(called) == 1 and lost == "commit":
            line.lose_commit(1)
        elif len(called) == 1:
            line.cut()

    far.write({**CHAIN, "003_three.sql": f"CREATE TABLE three ();\n{more}"})
    report = await far.up(jobs=jobs, hooks=Hooks(after_all=hook, on_error=hook))

    assert versions(report) == ["001", "002", "003"]
    assert called == ["after_all"] * (1 if lost == "commit" else 2)
    assert await connection.fetchval("SELECT array_agg(id) FROM one") == [7]


async def test_an_error_behind_a_loss_names_what_was_done_before_it(far: Project, line: FaultyProxy) -> None:
    far.write({**CHAIN, "004_wrong.sql": "SELECT wrong"})
    line.lose_commit(3)
    with pytest.raises(StatementError) as caught:
        await far.up()

    kept = ", ".join(far.path(name) for name in CHAIN)
    assert f"Done before, and kept: {kept}." in caught.value.outcome


async def test_a_server_that_does_not_come_back_is_an_error_that_tells_what_was_done(
    far: Project, line: FaultyProxy, connection: asyncpg.Connection
) -> None:
    far.write({**CHAIN, "003_three.sql": f"SELECT pg_advisory_xact_lock({GATE})"})
    await connection.execute(f"SELECT pg_advisory_lock({GATE})")

    async def waits() -> bool:
        return bool(await connection.fetchval(f"SELECT count(*) FROM pg_locks WHERE objid = {GATE} AND NOT granted"))

    start = asyncio.create_task(far.migrate(Up(), connect_deadline="1s", retry_delay="300ms"))
    await eventually_async(waits)
    line.refuse()
    line.cut()
    with pytest.raises(ServerUnreachableError) as caught:
        await start

    kept = ", ".join(far.path(name) for name in ("001_one.sql", "002_two.sql"))
    assert caught.value.outcome.startswith("Gave up after ")
    assert "after 1 attempt" not in caught.value.outcome, "the deadline counts now, not the attempts"
    assert caught.value.outcome.endswith(f"is not known.\nDone before, and kept: {kept}.")
