"""The table of the history: where it may be, who may make it, and what it must look like."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from itertools import count

import anyio
import asyncpg
import pytest

from dbinit import ExitCode, HistoryError, LockTimeoutError, PrivilegeError, StatementError
from dbinit.folders import Down, HookCall, Hooks
from tests.kit.patience import eventually_async
from tests.kit.process import finished
from tests.kit.server import Server

from .kit import CHAIN, Project, history, relations

WORD = "pw"
_numbers = count()


@pytest.fixture
async def role(connection: asyncpg.Connection, database: str) -> AsyncIterator[str]:
    """A role that may connect, and nothing more."""
    name = f"{database}_role_{next(_numbers)}"
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{WORD}'")
    yield name
    await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("shape", ["id int", "id bigint, format text, version text", "filename text, checksum text"])
async def test_a_table_of_an_unknown_shape_is_refused(
    shape: str, project: Project, connection: asyncpg.Connection
) -> None:
    await connection.execute(f"CREATE TABLE dbinit_migrations ({shape})")
    project.write(CHAIN)
    with pytest.raises(HistoryError, match="is no history that this dbinit can read"):
        await project.up()
    assert await relations(connection) == set()


@pytest.mark.parametrize(
    "change",
    [
        "state = 'dreaming'",
        "kind = 'nonsense'",
        "version = 'x'",
        "down_transaction = '?'",
        "applied_at = 'infinity'",
    ],
)
async def test_a_row_that_makes_no_sense_is_refused(
    change: str, project: Project, connection: asyncpg.Connection
) -> None:
    project.write(CHAIN)
    await project.up()
    await connection.execute(f"UPDATE dbinit_migrations SET {change} WHERE id = 1")
    with pytest.raises(HistoryError, match="is no history that this dbinit can read"):
        await project.migrate(Down(3))
    assert await relations(connection) == {"one", "two", "three"}


async def test_what_a_newer_dbinit_wrote_is_left_alone(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    await project.up()
    await connection.execute("UPDATE dbinit_migrations SET format = 2, dbinit_version = '99.1' WHERE id = 3")
    project.write({"004_four.sql": "CREATE TABLE four ()"})
    with pytest.raises(HistoryError, match=r"written by a newer dbinit \(99\.1\)"):
        await project.up()
    assert await relations(connection) == {"one", "two", "three"}


async def test_a_role_that_may_not_create_it_is_told_so(
    project: Project, connection: asyncpg.Connection, server: Server, database: str, role: str
) -> None:
    project.url = server.url(database, user=role, password=WORD)
    project.write({"001_one.sql": "SELECT 1"})
    with pytest.raises(PrivilegeError, match="permission denied for schema public") as caught:
        await project.up()
    assert f"Failed: {project.path('001_one.sql')}." in caught.value.outcome
    assert await connection.fetchval("SELECT to_regclass('dbinit_migrations')") is None


async def test_a_role_that_may_not_read_it_is_told_so(
    project: Project, server: Server, database: str, role: str
) -> None:
    project.write(CHAIN)
    await project.up()
    project.url = server.url(database, user=role, password=WORD)
    with pytest.raises(PrivilegeError, match="permission denied for table dbinit_migrations") as caught:
        await project.up()
    assert caught.value.outcome == "Nothing was applied."
    assert caught.value.advice.startswith("this role cannot read the history: GRANT it USAGE")
    assert caught.value.advice in project.run("status").err


async def test_a_database_that_never_lets_it_be_created_is_not_asked_for_ever(
    project: Project, connection: asyncpg.Connection
) -> None:
    await connection.execute("""
        CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not here' USING ERRCODE = 'duplicate_table'; END $$;
        CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse();
    """)
    project.write(CHAIN)
    with anyio.fail_after(20), pytest.raises(StatementError, match="not here"):
        await project.up()


async def test_a_schema_of_its_own_is_created(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    await project.up(history_schema="the room")
    assert [what for what, _ in await history(connection, '"the room"')] == ["001", "002", "003"]
    assert await connection.fetchval("SELECT to_regclass('public.dbinit_migrations')") is None


@pytest.mark.parametrize("script", ["CREATE TABLE one (id int)", "CREATE TABLE one (id int); VACUUM one"])
async def test_many_that_create_the_schema_at_once_succeed(
    script: str, project: Project, connection: asyncpg.Connection
) -> None:
    project.write({"001_one.sql": script})
    with ExitStack() as stack:
        starters = [stack.enter_context(project.start(DBINIT_HISTORY_SCHEMA="room")) for _ in range(4)]
        ends = [finished(starter) for starter in starters]
    assert [end.code for end in ends] == [ExitCode.OK] * 4, [end.err for end in ends]
    assert await history(connection, "room") == [("001", "applied")]


async def test_a_schema_that_is_there_needs_no_right_to_create_one(
    project: Project, connection: asyncpg.Connection, server: Server, database: str, role: str
) -> None:
    await connection.execute(f"CREATE SCHEMA room AUTHORIZATION {role}")
    project.url = server.url(database, user=role, password=WORD)
    project.write({"001_one.sql": "CREATE TABLE room.one (id int)"})
    await project.up(history_schema="room")
    assert await history(connection, "room") == [("001", "applied")]


async def test_histories_in_two_schemas_know_nothing_of_each_other(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({"001_one.sql": "CREATE TABLE IF NOT EXISTS one (id int)"})
    await project.up(history_schema="a")
    await project.up(history_schema="b")
    assert await history(connection, "a") == await history(connection, "b") == [("001", "applied")]


async def test_whoever_has_locked_the_table_is_named(project: Project, connection: asyncpg.Connection) -> None:
    project.write(CHAIN)
    await project.up()

    async with connection.transaction():
        await connection.execute("LOCK TABLE dbinit_migrations")
        with pytest.raises(LockTimeoutError, match=f"is locked.* in the way: pid {connection.get_server_pid()} "):
            await project.up(connect_timeout="1s")


async def test_a_table_that_is_locked_on_the_way_is_told_as_well(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write({"001_one.sql": CHAIN["001_one.sql"]})
    await project.up()
    project.write(CHAIN)
    waits = "SELECT count(*) FROM pg_locks WHERE relation = 'dbinit_migrations'::regclass AND NOT granted"

    async with anyio.create_task_group() as tasks:

        async def lock(call: HookCall) -> None:
            async def is_waiting() -> bool:
                return bool(await call.connection.fetchval(waits))

            tasks.start_soon(connection.execute, "BEGIN; LOCK TABLE dbinit_migrations")
            await eventually_async(is_waiting)

        with pytest.raises(LockTimeoutError, match=f"is locked.* in the way: pid {connection.get_server_pid()} "):
            await project.up(hooks=Hooks(after_each=lock), connect_timeout="1s", lock_timeout="200ms")
    await connection.execute("ROLLBACK")

    assert await history(connection) == [("001", "applied"), ("002", "applied")]
