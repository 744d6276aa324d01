"""Getting to the database: late, wrong, silent and crowded servers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import pytest

from dbinit import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    DatabaseMissingError,
    Initializer,
    Outcome,
    Report,
    ServerUnreachableError,
    TlsError,
)
from tests.kit.network import dead_port, silent_peer
from tests.kit.patience import eventually_async
from tests.kit.server import Server
from tests.kit.starts import initialize, options

Write = Callable[[str], Path]
SCRIPT = "CREATE TABLE item ();"
NEVER = "30s"
"""A pause that a test does not wait for."""


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dbinit")


def attempts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.startswith("Attempting")]


@contextmanager
def fails(kind: type[ConnectError], within: float = 5.0) -> Iterator["pytest.ExceptionInfo[ConnectError]"]:
    """Expect an error of exactly this class, that nothing was applied, and that it comes soon."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        yield caught
    assert time.monotonic() - began < within
    assert type(caught.value) is kind
    assert "Nothing was applied." in caught.value.outcome


class Start:
    """A start that runs in the background of a test."""

    def __init__(self, url: str, path: Path, **changes: Any) -> None:
        self._initializer = Initializer(options(url, path, **changes))
        self.report: Report | None = None
        self.ended = 0.0

    async def run(self) -> None:
        try:
            self.report = await self._initializer.initialize()
            self.ended = time.monotonic()
        finally:
            await self._initializer.close()


@asynccontextmanager
async def starting(url: str, path: Path, **changes: Any) -> AsyncIterator[Start]:
    """Start, and wait for the end behind the body."""
    start = Start(url, path, **changes)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(start.run)
            yield start


async def said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async def is_there() -> bool:
        return text in caplog.text

    await eventually_async(is_there)


# A server that is late -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["by TCP", "by socket"])
async def test_a_late_server_is_noticed_at_once_and_costs_one_further_attempt(
    way: str, own_server: Server, own_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    socket = f"postgresql://postgres@/{own_url.rpartition('/')[2]}?host={own_server.folder}&port={own_server.port}"
    url = own_url if way == "by TCP" else socket
    own_server.stop()

    async with starting(url, write(SCRIPT), retry_attempts=5, retry_delay=NEVER) as start:
        await said(caplog, "Attempt 1/5 failed")
        await anyio.to_thread.run_sync(lambda: own_server.start(wait=False))
        answered = await first_answer(own_server)

    assert start.report is not None
    assert start.report.outcome is Outcome.APPLIED
    assert start.ended - answered < 0.5 + 1.0, "half a second is the goal, the rest is for a busy machine"
    assert attempts(caplog) == [f"Attempting to connect to database (attempt {n}/5)..." for n in (1, 2)]


async def first_answer(server: Server) -> float:
    """Wait for the first connection that the server accepts; return when that was."""
    while True:
        try:
            connection = await asyncpg.connect(server.url())
        except (OSError, asyncpg.CannotConnectNowError):
            await anyio.sleep(0.01)
        else:
            accepted = time.monotonic()
            await connection.close()
            return accepted


async def test_a_server_that_shuts_down_and_comes_back_is_waited_for(
    own_server: Server, own_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    # While somebody is connected, a smart shutdown refuses all others with 57P03.
    last = await asyncpg.connect(own_url)
    own_server.run("pg_ctl", "stop", "-D", str(own_server.data), "-m", "smart", "-W")

    async with starting(own_url, write(SCRIPT), retry_attempts=0, retry_delay=NEVER) as start:
        await said(caplog, "Attempt 1 failed: the database system is shutting down")
        await last.close()
        own_server.stop()
        await anyio.to_thread.run_sync(own_server.start)

    assert start.report is not None
    assert start.report.outcome is Outcome.APPLIED
    assert len(attempts(caplog)) == 2, "none while it refused, none while it was gone"


async def test_a_database_that_is_created_a_moment_later_is_waited_for(
    server: Server, connection: asyncpg.Connection, database: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    late = f"late_{database}"
    changes = {"retry_attempts": 0, "retry_delay": "100ms"}
    try:
        async with starting(server.url(late), write(SCRIPT), **changes) as start:
            await said(caplog, "Attempt 1 failed")
            await connection.execute(f"CREATE DATABASE {late}")
        assert start.report is not None
        assert start.report.outcome is Outcome.APPLIED
    finally:
        await connection.execute(f"DROP DATABASE IF EXISTS {late}")


async def test_a_place_that_becomes_free_is_taken(
    server: Server, connection: asyncpg.Connection, database: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"lonely_{database}"
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'one' CONNECTION LIMIT 1")
    await connection.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    url = server.url(database, user=role, password="one")  # noqa: S106 - of a role made for this test
    occupant = await asyncpg.connect(url)
    try:
        async with starting(url, write(SCRIPT), retry_attempts=0, retry_delay="100ms") as start:
            await said(caplog, "Attempt 1 failed: too many connections for role")
            await occupant.close()
        assert start.report is not None
        assert start.report.outcome is Outcome.APPLIED
    finally:
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


# A server that is not there ------------------------------------------------------------------------


async def test_attempts_are_counted_logged_and_given_up(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with fails(ServerUnreachableError) as caught:
        await initialize(
            f"postgresql://x@127.0.0.1:{dead_port()}/x", write(SCRIPT), retry_attempts=3, retry_delay="50ms"
        )

    assert attempts(caplog) == [f"Attempting to connect to database (attempt {n}/3)..." for n in (1, 2, 3)]
    assert "Gave up after 3 attempts." in caught.value.outcome
    assert caught.value.exit_code == 3


async def test_without_a_number_of_attempts_the_deadline_counts(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    url = f"postgresql://x@127.0.0.1:{dead_port()}/x"
    with fails(ServerUnreachableError):
        await initialize(url, write(SCRIPT), retry_attempts=0, retry_delay="50ms", connect_deadline="500ms")

    assert attempts(caplog)[:2] == [f"Attempting to connect to database (attempt {n})..." for n in (1, 2)]


async def test_a_silent_peer_is_given_up_after_the_time_out_of_an_attempt(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with silent_peer() as port, fails(ServerUnreachableError) as caught:
        url = f"postgresql://x@127.0.0.1:{port}/x"
        await initialize(url, write(SCRIPT), retry_attempts=2, retry_delay="50ms", connect_timeout="200ms")

    assert "no answer in time" in str(caught.value)
    assert len(attempts(caplog)) == 2


async def test_the_urls_own_time_out_counts_too(write: Write) -> None:
    with silent_peer() as port, fails(ServerUnreachableError):
        await initialize(f"postgresql://x@127.0.0.1:{port}/x?connect_timeout=1", write(SCRIPT))


async def test_the_deadline_bounds_a_patient_attempt(write: Write) -> None:
    with silent_peer() as port, fails(ServerUnreachableError):
        url = f"postgresql://x@127.0.0.1:{port}/x"
        await initialize(
            url, write(SCRIPT), retry_attempts=0, connect_timeout="1h", connect_deadline="300ms", retry_delay=NEVER
        )


async def test_a_name_that_nobody_knows(write: Write) -> None:
    with fails(ServerUnreachableError, within=12) as caught:
        await initialize("postgresql://x@nowhere.invalid/x", write(SCRIPT))

    assert "nowhere.invalid" in str(caught.value)


@pytest.mark.parametrize("first", ["dead", "silent"])
async def test_of_several_hosts_the_one_that_answers_is_taken(first: str, database_url: str, write: Write) -> None:
    with silent_peer() as silent:
        port = dead_port() if first == "dead" else silent
        url = database_url.replace("@127.0.0.1:", f"@127.0.0.1:{port},127.0.0.1:")
        with anyio.fail_after(20):
            report = await initialize(url, write(SCRIPT), connect_timeout="1s")

    assert report.outcome is Outcome.APPLIED


# A server that says no -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "login", [{"password": "wrong"}, {"user": "nobody", "password": "wrong"}], ids=["password", "user"]
)
async def test_a_wrong_login_is_not_tried_again(
    login: dict[str, str], server: Server, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with fails(AuthenticationError) as caught:
        await initialize(server.url(**login), write(SCRIPT), retry_attempts=5, retry_delay=NEVER)

    assert len(attempts(caplog)) == 1
    assert "DATABASE_URL" in caught.value.advice


async def test_a_missing_database_is_given_up_after_the_attempts(server: Server, write: Write) -> None:
    with fails(DatabaseMissingError) as caught:
        await initialize(server.url("missing"), write(SCRIPT), retry_attempts=2, retry_delay="50ms")

    assert 'database "missing" does not exist' in str(caught.value)
    assert "CREATE DATABASE" in caught.value.advice


async def test_a_server_without_tls_is_not_tried_again(
    server: Server, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with fails(TlsError) as caught:
        await initialize(server.url() + "?sslmode=require", write(SCRIPT), retry_attempts=5, retry_delay=NEVER)

    assert len(attempts(caplog)) == 1
    assert "ssl = on" in caught.value.advice


async def test_a_missing_certificate_file_is_named(server: Server, write: Write) -> None:
    with fails(TlsError) as caught:
        await initialize(f"{server.url()}?sslmode=verify-full&sslrootcert=/missing/ca.pem", write(SCRIPT))

    assert "/missing/ca.pem" in str(caught.value)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
async def test_tls_is_no_condition_where_it_is_not_asked_for(mode: str, database_url: str, write: Write) -> None:
    assert (await initialize(f"{database_url}?sslmode={mode}", write(SCRIPT))).outcome is Outcome.APPLIED


async def test_a_role_that_may_not_connect_is_told_so(
    server: Server, connection: asyncpg.Connection, database: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"outsider_{database}"
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'one'")
    await connection.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    try:
        with fails(AuthenticationError) as caught:
            await initialize(
                server.url(database, user=role, password="one"),  # noqa: S106 - of a role made for this test
                write(SCRIPT),
                retry_attempts=5,
                retry_delay=NEVER,
            )
        assert "permission denied for database" in str(caught.value)
        assert len(attempts(caplog)) == 1
    finally:
        await connection.execute(f"DROP ROLE {role}")


async def test_a_setting_that_the_server_does_not_know_is_not_tried_again(
    database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{database_url}?options=-c%20no_such_setting%3D1"
    with fails(ConnectError) as caught:
        await initialize(url, write(SCRIPT), retry_attempts=5, retry_delay=NEVER)

    assert "no_such_setting" in str(caught.value)
    assert "DATABASE_URL" in caught.value.advice
    assert len(attempts(caplog)) == 1


# A connection that breaks --------------------------------------------------------------------------


async def test_a_connection_that_is_cut_each_time_is_given_up(
    connection: asyncpg.Connection, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    busy = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

    async def cut() -> bool:
        await connection.fetch(f"SELECT pg_terminate_backend(pid) FROM ({busy}) AS found")
        return start.done()

    path = write(SCRIPT + "SELECT pg_sleep(60)")
    start = asyncio.create_task(initialize(database_url, path, retry_delay="50ms"))
    await eventually_async(cut)

    with pytest.raises(ConnectionLostError, match=r"the connection to .* broke: terminating connection"):
        await start
    assert caplog.text.count("connecting again") == 2
    assert await connection.fetchval("SELECT to_regclass('item')") is None


async def test_a_start_that_is_cancelled_lets_go_of_everything(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"

    async def number() -> int:
        found = await connection.fetchval(others, database)
        assert isinstance(found, int)
        return found

    async def is_busy() -> bool:
        return await number() == 1

    async def is_alone() -> bool:
        return await number() == 0

    async with anyio.create_task_group() as group:
        group.start_soon(initialize, database_url, write(SCRIPT + "SELECT pg_sleep(60)"))
        await eventually_async(is_busy)
        began = time.monotonic()
        group.cancel_scope.cancel()

    assert time.monotonic() - began < 1.0
    await eventually_async(is_alone, 2.0)
    assert await connection.fetchval("SELECT to_regclass('item')") is None
