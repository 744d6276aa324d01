"""A single file whose connection is lost: it is applied all the same, and once."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import pytest

from dbinit import Initializer, Outcome, Phase, Readiness, Report, ServerUnreachableError
from dbinit.embedded import installed_binaries
from dbinit.lock import lock_key
from tests.kit.faulty import FaultyProxy
from tests.kit.patience import eventually_async
from tests.kit.replication import Pair
from tests.kit.server import Server
from tests.kit.starts import initialize, options

Write = Callable[[str], Path]
SCRIPT = """\
CREATE TABLE item (id int);
INSERT INTO item VALUES (1);
"""
GATE = 4711
GATED = f"{SCRIPT}SELECT pg_advisory_xact_lock({GATE});\n"
"""A script that waits in its last statement for as long as a test wants it to."""
COPY = "COPY item FROM stdin;\n"
STEPS = """\
CREATE TABLE item (id int);
INSERT INTO item VALUES (1);
VACUUM item;
BEGIN;
INSERT INTO item VALUES (2);
COMMIT;
INSERT INTO item VALUES (3);
"""


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dbinit")


@pytest.fixture
def line(server: Server) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def far_url(line: FaultyProxy, server: Server, database: str) -> str:
    return server.url(database).replace(f":{server.port}/", f":{line.port}/")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair(installed_binaries()) as started:
        yield started


def losses(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.endswith("; connecting again")]


async def test_a_connection_that_is_lost_while_data_jam_is_noticed(
    line: FaultyProxy, far_url: str, write: Write, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    rows = 40_000
    data = "".join(f"{number}\t{'x' * 1000}\n" for number in range(rows))
    initializer = Initializer(options(far_url, write(f"CREATE TABLE item (id int, word text);\n{COPY}{data}\\.\n")))

    async def jams() -> bool:
        used = initializer._access._used  # noqa: SLF001 - what the driver holds back, nobody else knows
        return any(lent._transport.get_write_buffer_size() for lent in used)  # type: ignore[attr-defined]  # noqa: SLF001

    async def has_begun() -> bool:
        return line.to_server > 1_000_000

    line.delay = 0.005
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(initializer.initialize)
            await eventually_async(has_begun)
            line.freeze()
            await eventually_async(jams)
            line.delay = 0.0
            line.cut()
            line.thaw()
    await initializer.close()

    assert len(losses(caplog)) == 1
    assert await connection.fetchval("SELECT count(*) FROM item") == rows


async def said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async def is_there() -> bool:
        return text in caplog.text

    await eventually_async(is_there)


async def items(connection: asyncpg.Connection) -> list[int]:
    return [row["id"] for row in await connection.fetch("SELECT id FROM item ORDER BY id")]


async def assert_applied_once(connection: asyncpg.Connection) -> None:
    assert await items(connection) == [1]
    assert await connection.fetchval("SELECT count(*) FROM dbinit_history") == 1


async def waits_at_the_gate(connection: asyncpg.Connection) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
    return bool(await connection.fetchval(waiting))


@asynccontextmanager
async def at_the_gate(watch: str, url: str, path: Path, **changes: Any) -> "AsyncIterator[asyncio.Task[Report]]":
    """Start, and wait until the start stands at the gate, which is shut until the server of `watch` goes away."""
    keeper = await asyncpg.connect(watch)
    await keeper.execute(f"SELECT pg_advisory_lock({GATE})")
    start = asyncio.create_task(initialize(url, path, retry_attempts=5, **changes))
    try:
        await eventually_async(partial(waits_at_the_gate, keeper))
        yield start
        with anyio.fail_after(30):
            await start
    finally:
        start.cancel()
        await asyncio.wait({start})
        keeper.terminate()


# The way to the server ------------------------------------------------------------------------------


async def test_a_commit_whose_answer_is_lost_is_found_in_the_history(
    far_url: str, line: FaultyProxy, connection: asyncpg.Connection, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Readiness] = []
    initializer = Initializer(options(far_url, write(SCRIPT)), observer=seen.append)
    line.lose_commit()
    report = await initializer.initialize()
    await initializer.close()

    assert (report.outcome, report.statements) == (Outcome.APPLIED, 2)
    await assert_applied_once(connection)
    assert len(losses(caplog)) == 1
    phases = [step.phase for step in seen]
    again = phases.index(Phase.CONNECTING, phases.index(Phase.APPLYING))
    assert phases[again - 1] is Phase.APPLYING
    assert set(phases[again:]) == {Phase.CONNECTING, Phase.CHECKING, Phase.READY, Phase.CLOSED}


@pytest.mark.parametrize("way", ["to_server", "to_client"])
@pytest.mark.parametrize("behind", [1500, 2300])
async def test_a_connection_that_is_cut_on_the_way_is_made_again(
    way: str, behind: int, far_url: str, line: FaultyProxy, connection: asyncpg.Connection, write: Write
) -> None:
    line.cut_after(**{way: behind})
    report = await initialize(far_url, write(f"{SCRIPT}-- {'x' * 3000}\nSELECT repeat('x', 3000);"), retry_attempts=5)

    assert report.outcome is Outcome.APPLIED
    await assert_applied_once(connection)


@pytest.mark.parametrize("number", range(1, 8))
async def test_a_script_that_is_run_step_by_step_goes_on_where_it_was(
    number: int, far_url: str, line: FaultyProxy, connection: asyncpg.Connection, write: Write
) -> None:
    line.lose_commit(number)
    report = await initialize(far_url, write(STEPS), retry_attempts=5)

    assert (report.outcome, report.statements) == (Outcome.APPLIED, 7)
    assert await items(connection) == [1, 2, 3]
    assert line.cuts == 1


async def test_a_script_stops_when_the_lock_beside_it_is_lost(
    connection: asyncpg.Connection, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    key = lock_key("public")
    held = f"objid = {key & 0xFFFFFFFF} AND classid = {key >> 32 & 0xFFFFFFFF}"
    async with at_the_gate(database_url, database_url, write(f"{STEPS}{GATED.removeprefix(SCRIPT)}")) as start:
        assert await connection.fetchval(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {held}")
        await said(caplog, "the connection that held the migration lock was closed; connecting again")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = $1 AND granted", GATE)

    assert start.result().outcome is Outcome.APPLIED
    assert await items(connection) == [1, 2, 3]


# A peer that says nothing ---------------------------------------------------------------------------


async def test_what_we_ask_ourselves_has_its_limit(
    far_url: str, line: FaultyProxy, connection: asyncpg.Connection, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute("SELECT pg_advisory_lock($1)", lock_key("public"))
    start = asyncio.create_task(initialize(far_url, write(SCRIPT), connect_timeout="500ms", retry_delay="100ms"))
    await said(caplog, "Another starter holds the migration lock")
    line.freeze()
    await said(caplog, "broke: no answer in time; connecting again")
    line.thaw()
    await connection.execute("SELECT pg_advisory_unlock($1)", lock_key("public"))

    with anyio.fail_after(30):
        assert (await start).outcome is Outcome.APPLIED
    assert await items(connection) == [1]


async def test_a_statement_with_a_limit_is_waited_for_a_little_longer_than_that(
    far_url: str, line: FaultyProxy, connection: asyncpg.Connection, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute(f"SELECT pg_advisory_lock({GATE})")
    limits = {"connect_timeout": "1s", "statement_timeout": "2s", "retry_delay": "100ms"}
    start = asyncio.create_task(initialize(far_url, write(GATED), **limits))
    await eventually_async(partial(waits_at_the_gate, connection))
    line.freeze()
    await said(caplog, "broke: no answer in time; connecting again")
    await connection.execute(f"SELECT pg_advisory_unlock({GATE})")
    line.thaw()

    with anyio.fail_after(30):
        assert (await start).outcome is Outcome.APPLIED
    assert await items(connection) == [1]


@pytest.mark.parametrize("limit", [None, "10ms"])
async def test_a_statement_takes_as_long_as_its_script_lets_it(
    limit: str | None, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    first = "SET LOCAL statement_timeout = 0;" if limit else ""
    path = write(f"{first}SELECT 1;SELECT pg_sleep(0.7);")
    report = await initialize(database_url, path, connect_timeout="500ms", statement_timeout=limit)

    assert report.outcome is Outcome.APPLIED
    assert losses(caplog) == []


# The server -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_server_that_is_stopped_and_started_again(
    mode: str, own_server: Server, own_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    async with at_the_gate(own_url, own_url, write(GATED)) as start:
        await anyio.to_thread.run_sync(own_server.stop, mode)
        await anyio.to_thread.run_sync(own_server.start)

    assert start.result().outcome is Outcome.APPLIED
    assert len(losses(caplog)) == 1
    connection = await asyncpg.connect(own_url)
    await assert_applied_once(connection)
    await connection.close()


async def test_verify_waits_on_through_a_restart(own_server: Server, own_url: str, write: Write) -> None:
    path = write(SCRIPT)
    initializer = Initializer(options(own_url, path))

    async def is_waiting() -> bool:
        return initializer.readiness.phase is Phase.WAITING

    verification = asyncio.create_task(initializer.verify())
    await eventually_async(is_waiting)
    await anyio.to_thread.run_sync(own_server.stop, "immediate")
    await anyio.to_thread.run_sync(own_server.start)
    await initialize(own_url, path, retry_attempts=5)
    with anyio.fail_after(30):
        assert (await verification).outcome is Outcome.CURRENT
    await initializer.close()


# Two servers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("attrs", ["", "read-write"])
async def test_a_failover_is_waited_for(attrs: str, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with Pair(installed_binaries()) as pair:
        url = pair.url(attrs=attrs, standby_first=bool(attrs))
        async with at_the_gate(pair.primary.url(), url, write(GATED)) as start:
            await pair.catch_up()
            await anyio.to_thread.run_sync(pair.primary.stop, "immediate")
            await said(caplog, "Attempt 1 failed: whoever answers is a standby" if not attrs else "takes no writes")
            await anyio.to_thread.run_sync(pair.promote)

        assert start.result().outcome is Outcome.APPLIED
        connection = await asyncpg.connect(pair.standby.url())
        await assert_applied_once(connection)
        await connection.close()


async def test_a_standby_that_is_never_promoted_is_given_up_at_the_deadline(pair: Pair, write: Write) -> None:
    began = time.monotonic()
    with pytest.raises(ServerUnreachableError, match="whoever answers is a standby") as caught:
        await initialize(pair.standby.url(), write(SCRIPT), connect_deadline="2s")

    assert 1.5 < time.monotonic() - began < 6
    assert "promote a standby" in caught.value.advice


async def test_a_standby_is_enough_where_nothing_is_to_be_done(pair: Pair, write: Write) -> None:
    await initialize(pair.primary.url(), write(SCRIPT))
    await pair.catch_up()

    assert (await initialize(pair.standby.url(), write(SCRIPT))).outcome is Outcome.CURRENT
