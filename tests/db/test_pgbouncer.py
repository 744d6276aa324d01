"""Behind a real PgBouncer in transaction mode, where the next transaction may meet another server process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from fastapi import FastAPI

from dbinit import ExitCode, Initializer, Outcome, ScriptError, StatementError
from dbinit.fastapi import lifespan
from dbinit.folders import HookCall, Hooks
from tests.kit.patience import eventually_async
from tests.kit.pgbouncer import pgbouncer, skip_without_pgbouncer
from tests.kit.process import dbinit, run_dbinit
from tests.kit.server import Server
from tests.kit.starts import initialize, options

Write = Callable[[str | bytes], Path]

POOL = 3
OUR_OID = "(SELECT oid FROM pg_database WHERE datname = current_database())"
SETTINGS = "search_path", "lock_timeout", "statement_timeout", "client_connection_check_interval", "role"


@pytest.fixture(scope="module")
def port(server: Server) -> Iterator[int]:
    skip_without_pgbouncer()
    with pgbouncer(server, pool=POOL) as started:
        yield started


@pytest.fixture
def pooled_url(port: int, server: Server, database_url: str) -> str:
    return database_url.replace(f":{server.port}/", f":{port}/")


async def settings_of_the_pool(url: str) -> list[tuple[str, ...]]:
    """Return what is set in each of the server's sessions that the pool has, or comes to have now."""
    clients = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(POOL)]
    try:
        for client in clients:
            await client.execute("BEGIN")
        select = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
        return [tuple(row) for client in clients for row in await client.fetch(f"SELECT {select}")]
    finally:
        for client in clients:
            await client.execute("ROLLBACK")  # or PgBouncer would end the server's session, too
            await client.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with whatever sets something: a migration, and dbinit for one that runs step by step."""
    path = tmp_path / "migrations"
    path.mkdir()
    (path / "001_item.sql").write_text("SET search_path = pg_catalog;\nCREATE TABLE public.item (id int);\n")
    (path / "002_index.sql").write_text("CREATE INDEX CONCURRENTLY item_id ON item (id);\n")
    return path


async def test_a_folder_and_then_nothing_to_do(folder: Path, pooled_url: str) -> None:
    limits = {"lock_timeout": timedelta(seconds=7), "statement_timeout": timedelta(seconds=70)}
    before = await settings_of_the_pool(pooled_url)

    outcomes = [(await initialize(pooled_url, folder, sentinel="", **limits)).outcome for _ in range(2)]

    assert outcomes == [Outcome.APPLIED, Outcome.CURRENT]
    assert await settings_of_the_pool(pooled_url) == before


HIDE = "SET search_path = pg_catalog;\n"
SEES = "CREATE TABLE public.seen_{} AS SELECT current_setting('search_path') AS path;\n"
STEPS = "-- dbinit: no-transaction\n" + "".join(map(SEES.format, range(2 * POOL)))


async def migrate(url: str, folder: Path, hooks: Hooks | None = None) -> None:
    async with Initializer(options(url, folder, sentinel=""), hooks=hooks):
        pass


async def hide(call: HookCall) -> None:
    await call.connection.execute(HIDE)


@pytest.mark.parametrize("migration", ["", "-- dbinit: no-transaction\n"], ids=["at once", "step by step"])
async def test_hooks_leave_nothing_either(migration: str, tmp_path: Path, pooled_url: str) -> None:
    before = await settings_of_the_pool(pooled_url)
    for hook in ("before_all", "after_each", "after_all", "on_error"):
        (tmp_path / f"{hook}.sql").write_text(HIDE)
    (tmp_path / "001_one.sql").write_text(f"{migration}CREATE TABLE public.one ();")

    await migrate(pooled_url, tmp_path)
    assert await settings_of_the_pool(pooled_url) == before

    (tmp_path / "002_two.sql").write_text(f"{migration}SELECT 1 / 0;")
    with pytest.raises(StatementError):
        await migrate(pooled_url, tmp_path)
    assert await settings_of_the_pool(pooled_url) == before


async def test_what_a_callable_sets_meets_no_step_behind_it(
    tmp_path: Path, pooled_url: str, connection: asyncpg.Connection
) -> None:
    (tmp_path / "001_steps.sql").write_text(STEPS)
    await migrate(pooled_url, tmp_path, Hooks(before_all=hide, before_each=hide))
    seen = [await connection.fetchval(f"SELECT path FROM seen_{number}") for number in range(2 * POOL)]
    assert set(seen) == {'"$user", public'}


@pytest.mark.parametrize("jobs", [1, 2])
async def test_a_file_that_sets_something_for_the_steps_behind_it_is_refused_unless_there_is_a_session(
    jobs: int, tmp_path: Path, pooled_url: str, database_url: str, connection: asyncpg.Connection
) -> None:
    (tmp_path / "001_one.sql").write_text("CREATE TABLE public.one ();")
    (tmp_path / "002_steps.sql").write_text(STEPS)
    (tmp_path / "before_each.sql").write_text(HIDE)

    with pytest.raises(ScriptError, match=r"before_each\.sql:1:1") as refused:
        await initialize(pooled_url, tmp_path, sentinel="", jobs=jobs)

    assert "behind a pooler" in str(refused.value)
    assert await connection.fetchval("SELECT to_regclass('seen_0')") is None
    assert (await initialize(database_url, tmp_path, sentinel="", jobs=jobs)).outcome is Outcome.APPLIED
    assert await connection.fetchval("SELECT path FROM seen_5") == "pg_catalog"


async def test_what_runs_beside_others_leaves_nothing_either(tmp_path: Path, pooled_url: str) -> None:
    before = await settings_of_the_pool(pooled_url)
    for number in (1, 2):
        (tmp_path / f"{number}_item.sql").write_text(f"SET search_path = public;\nCREATE TABLE item_{number} ();\n")

    await initialize(pooled_url, tmp_path, sentinel="", jobs=2)

    assert await settings_of_the_pool(pooled_url) == before


@pytest.mark.parametrize(
    "script",
    [
        "SET search_path = pg_catalog; SET ROLE pg_monitor; RESET ROLE; CREATE TABLE public.item (id int);",
        "CREATE TABLE item (id int);\nCOPY item FROM stdin;\n1\n\\.\nVACUUM item;\nREINDEX TABLE CONCURRENTLY item;",
    ],
    ids=["at once", "step by step"],
)
async def test_a_file_and_then_nothing_to_do(script: str, pooled_url: str, write: Write) -> None:
    limits = {"lock_timeout": timedelta(seconds=7), "statement_timeout": timedelta(seconds=70)}
    before = await settings_of_the_pool(pooled_url)

    outcomes = [(await initialize(pooled_url, write(script), **limits)).outcome for _ in range(2)]

    assert outcomes == [Outcome.APPLIED, Outcome.CURRENT]
    assert await settings_of_the_pool(pooled_url) == before


SESSION = "CREATE TABLE item (id int);\nSET search_path = pg_catalog;\nVACUUM public.item;\n"


async def test_a_script_that_wants_a_session_is_refused_unless_it_has_one(
    pooled_url: str, database_url: str, write: Write, connection: asyncpg.Connection
) -> None:
    with pytest.raises(ScriptError, match="behind a pooler") as refused:
        await initialize(pooled_url, write(SESSION))

    assert "init-db.sql:2:1" in str(refused.value)
    assert await connection.fetchval("SELECT to_regclass('item')") is None
    assert (await initialize(database_url, write(SESSION))).outcome is Outcome.APPLIED


async def test_it_is_refused_where_the_pool_lends_the_last_one_that_was_used(
    server: Server, database_url: str, write: Write
) -> None:
    skip_without_pgbouncer()
    with pgbouncer(server, pool=POOL, in_turn=False) as port, pytest.raises(ScriptError, match="behind a pooler"):
        await initialize(database_url.replace(f":{server.port}/", f":{port}/"), write(SESSION))


async def test_a_pool_in_session_mode_gives_one(server: Server, database_url: str, write: Write) -> None:
    skip_without_pgbouncer()
    with pgbouncer(server, pool=POOL, mode="session") as port:
        report = await initialize(database_url.replace(f":{server.port}/", f":{port}/"), write(SESSION))

    assert report.outcome is Outcome.APPLIED


@pytest.fixture
async def owner(connection: asyncpg.Connection, database: str) -> AsyncIterator[str]:
    """A role that owns the schema public."""
    name = f"owner_{database}"
    await connection.execute(f"CREATE ROLE {name}; ALTER SCHEMA public OWNER TO {name}")
    yield name
    await connection.execute(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
async def test_a_role_is_left_in_no_session(
    is_folder: bool,  # noqa: FBT001 - a parameter of the test
    pooled_url: str,
    owner: str,
    connection: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    path = tmp_path / "migrations"
    path.mkdir()
    for name in ("001_item", "002_other"):
        (path / f"{name}.sql").write_text(f'CREATE TABLE "{name}" ()')
    before = await settings_of_the_pool(pooled_url)

    chosen = path if is_folder else path / "001_item.sql"
    outcomes = [(await initialize(pooled_url, chosen, sentinel="", role=owner)).outcome for _ in range(2)]

    assert outcomes == [Outcome.APPLIED, Outcome.CURRENT]
    assert await connection.fetchval("SELECT relowner::regrole::text FROM pg_class WHERE relname = '001_item'") == owner
    assert await settings_of_the_pool(pooled_url) == before


async def test_a_script_with_steps_is_refused_where_no_session_keeps_the_role(
    pooled_url: str, owner: str, write: Write, connection: asyncpg.Connection
) -> None:
    with pytest.raises(ScriptError, match=f"no session keeps the role {owner}") as refused:
        await initialize(pooled_url, write("CREATE TABLE item (); VACUUM item;"), role=owner)

    assert "DBINIT_MIGRATION_URL" in refused.value.advice
    assert await connection.fetchval("SELECT to_regclass('item')") is None


@pytest.mark.parametrize(("size", "works"), [(0, True), (100, False)])
async def test_a_service_keeps_no_prepared_statements(pooled_url: str, write: Write, *, size: int, works: bool) -> None:
    chosen = options(pooled_url, write("CREATE TABLE item ()"))
    async with lifespan(chosen, mode="blocking", statement_cache_size=size)(FastAPI()) as state:
        pool = state["dbinit"].pool
        answers = []
        for _ in range(5):
            asked = [pool.fetchval("SELECT $1::int", number) for number in range(10)]
            answers += await asyncio.gather(*asked, return_exceptions=True)

    assert (answers == [*range(10)] * 5) is works


async def test_a_server_that_is_away_is_waited_for_although_the_pooler_answers(
    own_server: Server, own_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    async def lost_often() -> bool:
        return caplog.text.count("connecting again") > 3

    skip_without_pgbouncer()
    with pgbouncer(own_server) as port:
        url = own_url.replace(f":{own_server.port}/", f":{port}/")
        await initialize(url, write("CREATE TABLE item ()"))  # from here on the pooler lets clients in by itself
        own_server.stop()
        limits = {"connect_timeout": "500ms", "retry_delay": "100ms"}
        start = asyncio.create_task(initialize(url, write("CREATE TABLE other ()"), **limits))
        await eventually_async(lost_often)
        own_server.start()
        assert (await start).outcome is Outcome.APPLIED


def test_settings_in_the_url_are_refused_with_their_name(pooled_url: str, write: Write) -> None:
    env = {"DATABASE_URL": f"{pooled_url}?lock_timeout=1s", "MIGRATION_PATH": str(write(SESSION))}

    end = run_dbinit(env=env)

    assert end.code == ExitCode.UNREACHABLE
    assert "unsupported startup parameter: lock_timeout" in end.err


async def test_a_killed_starter_leaves_no_lock(pooled_url: str, connection: asyncpg.Connection, write: Write) -> None:
    env = {"DATABASE_URL": pooled_url, "MIGRATION_PATH": str(write("SELECT pg_sleep(1)"))}

    async def sleeps() -> bool:
        found = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        return bool(await connection.fetchval(found))

    with dbinit(env=env) as starter:
        await eventually_async(sleeps)
        starter.popen.kill()
        starter.popen.wait(10)

    assert (await initialize(pooled_url, write("CREATE TABLE item ()"))).outcome is Outcome.APPLIED
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
    assert await connection.fetchval(f"{held} AND database = {OUR_OID}") == 0
