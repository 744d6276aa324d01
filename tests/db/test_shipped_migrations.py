"""scripts/migrations, step by step: the same schema as scripts/init-db.sql, and every step can be taken back."""

from pathlib import Path

import asyncpg
import pytest

from dbinit import Initializer, InitOptions
from dbinit.migrations.folder import read_folder
from dbinit.migrations.model import File, Format, Migration
from dbinit.migrations.version import Version
from tests.kit.server import Server

pytestmark = pytest.mark.anyio

SCRIPTS = Path(__file__).parents[2] / "scripts"
FOLDER = read_folder(
    "scripts/migrations", [File(path.name, path.read_bytes()) for path in (SCRIPTS / "migrations").iterdir()]
)
# What does not differ from one run to the next.
ROWS = {
    "users": "username, email, password_hash",
    "projects": "name, description, (SELECT username FROM users WHERE users.id = user_id)",
    "documents": "id, title, content, status, metadata, tags, project_id IN (SELECT id FROM projects)",
    "files": "name",
    "audit_log": "id, table_name, action, old_data IS NULL, changed_columns, changed_by",
}


async def up(db: asyncpg.Connection, *migrations: Migration) -> None:
    for migration in migrations:
        await db.execute(migration.up.text)


async def down(db: asyncpg.Connection, *migrations: Migration) -> None:
    for migration in reversed(migrations):
        assert migration.down is not None
        await db.execute(migration.down.text)


async def init_db(database_url: str) -> None:
    async with Initializer(InitOptions(database_url=database_url, migrations_path=SCRIPTS / "init-db.sql")):
        pass


async def rows(db: asyncpg.Connection, columns: dict[str, str]) -> dict[str, list[asyncpg.Record]]:
    return {table: await db.fetch(f"SELECT {wanted} FROM {table} ORDER BY 1") for table, wanted in columns.items()}


def test_they_are_four_and_older_code_works_with_each() -> None:
    assert FOLDER.format is Format.NATIVE
    assert [migration.file.name for migration in FOLDER.migrations] == [
        "001_initial_schema.sql",
        "002_add_projects_table.sql",
        "003_add_file_storage.sql",
        "004_add_search_indexes.sql",
    ]
    assert [migration.compatible_with for migration in FOLDER.migrations] == [None, *[Version.parse("001")] * 3]


async def test_together_they_are_init_db(
    connection: asyncpg.Connection, server: Server, database_url: str, database: str
) -> None:
    empty = server.dump(database)
    await up(connection, *FOLDER.migrations)
    schema, seeds = server.dump(database, "--schema-only"), await rows(connection, ROWS)
    await down(connection, *FOLDER.migrations)
    assert server.dump(database) == empty

    await init_db(database_url)

    assert server.dump(database, "--schema-only") == schema
    assert await rows(connection, ROWS) == seeds
    assert [len(found) for found in seeds.values()] == [2, 1, 1, 0, 4]


async def test_each_is_taken_back_and_goes_up_again(
    connection: asyncpg.Connection, server: Server, database: str
) -> None:
    before = []
    for migration in FOLDER.migrations:
        before.append(server.dump(database, "--schema-only"))
        await up(connection, migration)
    last = server.dump(database, "--schema-only")
    for migration, schema in reversed(list(zip(FOLDER.migrations, before, strict=True))):
        for _ in range(2):
            await down(connection, migration)
            assert server.dump(database, "--schema-only") == schema, migration.name
            await up(connection, migration)
        await down(connection, migration)
    await up(connection, *FOLDER.migrations)
    assert server.dump(database, "--schema-only") == last
    assert [name for (name,) in await connection.fetch("SELECT name FROM projects")] == ["Getting started"]
    assert await connection.fetchval("SELECT count(*) FROM documents WHERE project_id IS NOT NULL") == 1


async def test_what_users_made_before_a_step_outlives_its_return(connection: asyncpg.Connection) -> None:
    first, *others = FOLDER.migrations
    await up(connection, first)
    insert = "INSERT INTO documents (user_id, title) SELECT id, 'Mine' FROM users WHERE username = 'demo'"
    await connection.execute(insert)
    await up(connection, *others)
    await down(connection, *others)
    assert [title for (title,) in await connection.fetch("SELECT title FROM documents")] == ["Mine"]


async def test_a_database_that_init_db_made_moves_by_running_them(
    connection: asyncpg.Connection, server: Server, database_url: str, database: str
) -> None:
    everything = dict.fromkeys(ROWS, "ctid, xmin, *")
    await init_db(database_url)
    schema, kept = server.dump(database), await rows(connection, everything)
    await up(connection, *FOLDER.migrations)
    assert server.dump(database) == schema
    assert await rows(connection, everything) == kept


async def test_a_step_that_users_need_is_not_taken_back(connection: asyncpg.Connection) -> None:
    await up(connection, *FOLDER.migrations)
    await connection.execute("CREATE TABLE theirs (id uuid DEFAULT uuid_generate_v4())")
    await down(connection, *FOLDER.migrations[1:])
    with pytest.raises(asyncpg.DependentObjectsStillExistError, match="uuid-ossp"):
        await down(connection, FOLDER.migrations[0])
    assert await connection.fetchval("SELECT count(*) FROM users") == 2
