"""The stand-in for "uuid-ossp": the same values as Python's uuid, and the real extension's declarations."""

import uuid

import asyncpg
import pytest

pytestmark = pytest.mark.anyio

# Around the ends of a block of the digests (the namespace takes 16 bytes of 64), and what bytes might be misread.
NAMES = [
    "",
    "example.com",
    *("a" * length for length in (38, 39, 40, 47, 48, 103, 104, 500)),
    "ünï©ödé 🐘",
    r"\x41 \101 \\",
]


@pytest.fixture
async def db(connection: asyncpg.Connection) -> asyncpg.Connection:
    await connection.execute('CREATE EXTENSION "uuid-ossp"')
    return connection


async def test_name_based_uuids_are_those_of_python(db: asyncpg.Connection) -> None:
    namespace = uuid.uuid4()
    for name in NAMES:
        row = await db.fetchrow("SELECT uuid_generate_v3($1, $2), uuid_generate_v5($1, $2)", namespace, name)
        assert row is not None
        assert tuple(row) == (uuid.uuid3(namespace, name), uuid.uuid5(namespace, name)), name


async def test_constants(db: asyncpg.Connection) -> None:
    row = await db.fetchrow("SELECT uuid_nil(), uuid_ns_dns(), uuid_ns_url(), uuid_ns_oid(), uuid_ns_x500()")
    names = (uuid.NAMESPACE_DNS, uuid.NAMESPACE_URL, uuid.NAMESPACE_OID, uuid.NAMESPACE_X500)
    assert row is not None
    assert tuple(row) == (uuid.UUID(int=0), *names)


async def test_random_uuids_are_random(db: asyncpg.Connection) -> None:
    made = [row[0] for row in await db.fetch("SELECT uuid_generate_v4() FROM generate_series(1, 100)")]
    assert {value.version for value in made} == {4}
    assert len(set(made)) == 100


async def test_they_are_declared_as_the_real_ones(db: asyncpg.Connection) -> None:
    rows = await db.fetch("""
        SELECT proname, pg_get_function_arguments(oid), provolatile::text FROM pg_proc JOIN pg_depend ON objid = oid
        WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'uuid-ossp')
          AND prorettype = 'uuid'::regtype AND proisstrict AND proparallel = 's'
    """)
    assert {tuple(row) for row in rows} == {
        ("uuid_nil", "", "i"),
        ("uuid_ns_dns", "", "i"),
        ("uuid_ns_url", "", "i"),
        ("uuid_ns_oid", "", "i"),
        ("uuid_ns_x500", "", "i"),
        ("uuid_generate_v3", "namespace uuid, name text", "i"),
        ("uuid_generate_v4", "", "v"),
        ("uuid_generate_v5", "namespace uuid, name text", "i"),
    }


async def test_what_is_left_out_is_refused_when_a_table_is_made(db: asyncpg.Connection) -> None:
    for function in ("uuid_generate_v1", "uuid_generate_v1mc"):
        with pytest.raises(asyncpg.UndefinedFunctionError):
            await db.execute(f"CREATE TABLE t (id uuid DEFAULT {function}())")


async def test_it_moves_to_another_schema_and_needs_no_search_path(db: asyncpg.Connection) -> None:
    await db.execute("CREATE SCHEMA away; ALTER EXTENSION \"uuid-ossp\" SET SCHEMA away; SET search_path = ''")
    made = await db.fetchval("SELECT away.uuid_generate_v5(away.uuid_ns_dns(), 'example.com')")
    assert made == uuid.uuid5(uuid.NAMESPACE_DNS, "example.com")
