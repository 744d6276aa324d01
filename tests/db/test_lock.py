"""Who waits for the migration lock says for whom; a holder that is gone is noticed; a lock that is none is refused."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import anyio
import asyncpg
import pytest
from asyncpg import connection as driver

from dbinit import ExitCode, LockTimeoutError, Outcome, UnsupportedDatabaseError, lock
from dbinit.lock import lock_key
from dbinit.readiness import Phase, Readiness, advance
from tests.kit.databases import execute
from tests.kit.patience import eventually_async
from tests.kit.process import run_dbinit
from tests.kit.server import Server
from tests.kit.starts import initialize

Write = Callable[[str], Path]

KEY = lock_key("public")
SCRIPT = "CREATE TABLE item ()"
FOR_A_MOMENT = timedelta(milliseconds=300)


@asynccontextmanager
async def holder(url: str, application: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold the lock, in a transaction that has run something with a password in it."""
    connection = await asyncpg.connect(url, server_settings={"application_name": application})
    try:
        await connection.execute("BEGIN")
        await connection.execute(f"SELECT pg_advisory_xact_lock({KEY}),\n 'ALTER ROLE x PASSWORD ''c4nary'''")
        yield connection
    finally:
        await connection.close()


async def test_the_holder_is_named_while_waiting_and_in_the_error(database_url: str, write: Write) -> None:
    env = {"DATABASE_URL": database_url, "MIGRATION_PATH": str(write(SCRIPT)), "DBINIT_LOCK_WAIT": "300ms"}
    async with holder(database_url, "nightly job") as connection:
        end = run_dbinit(env=env)
        pid = connection.get_server_pid()

    assert end.code == ExitCode.LOCKED
    named = rf"held by no dbinit by its name, pid {pid} \(nightly job, idle in transaction, its transaction began"
    named += rf" \d\d:\d\d:\d\d UTC, \S+ ago\): SELECT pg_advisory_xact_lock\({KEY}\), 'ALTER ROLE x PASSWORD \*\*\*"
    assert len(re.findall(named.replace(r"\*\*\*", ".*"), end.err)) == 2, end.err
    assert "c4nary" not in end.said
    assert f"SELECT pg_terminate_backend({pid}) ends it" in end.err


async def test_a_role_that_may_not_see_what_others_run_says_so(
    server: Server, database: str, database_url: str, write: Write
) -> None:
    role = f"blind_{database}"
    await execute(server, f"CREATE ROLE {role} LOGIN PASSWORD 'x'", database)
    await execute(server, f"GRANT CREATE ON SCHEMA public TO {role}", database)
    url = server.url(database, user=quote(role), password="x")  # noqa: S106 - no secret
    try:
        async with holder(database_url, "dbinit") as connection:
            with pytest.raises(LockTimeoutError) as caught:
                await initialize(url, write(SCRIPT), lock_wait=FOR_A_MOMENT)
            pid = connection.get_server_pid()
    finally:
        await execute(server, f"DROP OWNED BY {role}; DROP ROLE {role}", database)
    shown = f"held by another dbinit, pid {pid} (dbinit, what it runs is not shown to this role; pg_read_all_stats"
    assert shown in caught.value.message
    assert "SELECT pg_advisory" not in caught.value.message


async def test_another_holder_is_named_too_and_the_same_one_now_and_then(
    database_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "dbinit")
    monkeypatch.setattr(lock, "_LOOK_EVERY", 0.0)
    monkeypatch.setattr(lock, "_SAY_EVERY", 0.5)
    details: list[str] = []

    async def said(text: str) -> None:
        async def is_said() -> bool:
            return text in caplog.text

        await eventually_async(is_said)

    def step(_: Phase, /, **changes: Any) -> None:
        details.append(changes["detail"])

    async def wait() -> None:
        await lock.until_unlocked(waiter, KEY, timedelta(minutes=1), step)

    waiter = await asyncpg.connect(database_url)
    async with holder(database_url, "first") as first, anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await said(
            f"waiting for it to finish; it is held by no dbinit by its name, pid {first.get_server_pid()} (first"
        )
        await said("Still waiting for the migration lock, for ")
        second = await asyncpg.connect(database_url, server_settings={"application_name": "second"})
        await second.execute("BEGIN")
        # It stands in the line of those who block, so that nobody comes between.
        tasks.start_soon(second.execute, f"SELECT pg_advisory_xact_lock({KEY})")
        blocked = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = {})"

        async def is_in_line() -> bool:
            return bool(await first.fetchval(blocked.format(second.get_server_pid())))

        await eventually_async(is_in_line)
        await first.execute("ROLLBACK")
        await said(f"pid {second.get_server_pid()} (second")
        await second.close()
    await waiter.close()
    assert details[0] == f"pid {first.get_server_pid()} holds the lock"


def test_whom_a_start_waits_for_is_forgotten_with_the_waiting() -> None:
    waiting = advance(Readiness(Phase.CHECKING), Phase.WAITING, detail="pid 7 holds the lock")
    assert advance(waiting, Phase.APPLYING).detail == ""


AS_IF = (
    "SET allow_system_table_mods = on; ALTER FUNCTION pg_catalog.{0} RENAME TO as_it_was; CREATE FUNCTION pg_catalog."
)
WINDOWS = (
    AS_IF.format("version()") + "version() RETURNS text LANGUAGE sql AS $$ SELECT 'PostgreSQL on x86_64-windows' $$"
)
OLD = AS_IF.format("current_setting(text, bool)") + (
    "current_setting(text, bool) RETURNS text LANGUAGE sql AS 'SELECT NULL'"
)
UNDER_THE_NAME = AS_IF.format("version()") + "version() RETURNS text LANGUAGE sql AS $$ SELECT '{}' $$"
COCKROACH = "CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu, built 2024/05/15 21:28:29, go1.22.2)"
YUGABYTE = "PostgreSQL {} on x86_64-pc-linux-gnu, compiled by clang version 17.0.6, 64-bit"


@pytest.mark.parametrize(("pretence", "interval", "idle"), [("", "500ms", "5"), (WINDOWS, "0", "0"), (OLD, "0", "5")])
async def test_a_server_that_cannot_notice_an_end_is_not_asked_to(
    pretence: str, interval: str, idle: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    # A server of another platform, and one before version 14, which are not to be had here.
    await connection.execute(pretence or "SELECT 1")
    default = await connection.fetchval("SELECT current_setting('tcp_keepalives_idle')")
    script = "CREATE TABLE seen AS SELECT current_setting('client_connection_check_interval') AS interval,"
    await initialize(database_url, write(f"{script} current_setting('tcp_keepalives_idle') AS idle"))
    seen = await connection.fetchrow("SELECT interval, idle FROM seen")
    assert seen is not None
    assert (seen["interval"], seen["idle"]) == (interval, idle if idle == "5" else default)


@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize(
    ("pretence", "said"),
    [
        # PostgreSQL under a false name: the others are not to be had here, and their names are all that is looked at.
        (UNDER_THE_NAME.format(COCKROACH), "this is CockroachDB CCL v24.1.0: its advisory locks do not lock; several"),
        (UNDER_THE_NAME.format(YUGABYTE.format("11.2-YB-2024.1.3.0-b105")), "this is PostgreSQL 11.2-YB-2024.1.3.0-b1"),
        (UNDER_THE_NAME.format(YUGABYTE.format("15.2-YB-2.25.1.0-b381")), "this is PostgreSQL 15.2-YB-2.25.1.0-b381:"),
        (
            "SET allow_system_table_mods = on; ALTER FUNCTION pg_try_advisory_xact_lock(bigint) RENAME TO none",
            "this database has no advisory locks: function pg_catalog.pg_try_advisory_xact_lock(bigint) does not exist",
        ),
    ],
    ids=["cockroach", "yugabyte", "preview", "missing"],
)
async def test_a_database_without_locks_is_refused(
    pretence: str,
    said: str,
    is_folder: bool,  # noqa: FBT001 - a parameter of pytest
    connection: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
) -> None:
    await connection.execute(pretence)
    (tmp_path / "001_item.sql").write_text(SCRIPT)
    with pytest.raises(UnsupportedDatabaseError, match=re.escape(said)) as caught:
        await initialize(database_url, tmp_path if is_folder else tmp_path / "001_item.sql")
    assert caught.value.exit_code == ExitCode.USAGE
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0


@pytest.mark.parametrize("version", ["15.12-YB-2025.1.0.1-b3", "15.12-YB-2.27.0.0-b246"])
async def test_a_yugabyte_whose_locks_lock_is_let_through(
    version: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute(UNDER_THE_NAME.format(YUGABYTE.format(version)))
    assert (await initialize(database_url, write(SCRIPT))).outcome is Outcome.APPLIED


@pytest.mark.parametrize("sign", ["padb_revision", "crdb_version"])
async def test_what_the_driver_knows_to_have_no_locks_is_refused_before_it_is_asked_anything(
    sign: str, database_url: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    detect = driver._detect_server_capabilities  # type: ignore[attr-defined]  # noqa: SLF001
    signed = SimpleNamespace(**{sign: "1"})  # as Redshift and CockroachDB greet
    monkeypatch.setattr(driver, "_detect_server_capabilities", lambda version, _: detect(version, signed))
    with pytest.raises(UnsupportedDatabaseError, match="without advisory locks"):
        await initialize(database_url, write(SCRIPT))
