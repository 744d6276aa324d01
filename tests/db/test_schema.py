"""scripts/init-db.sql, run as it is: by asyncpg alone, in one message."""

import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.kit.server import Server

pytestmark = pytest.mark.anyio

SCRIPT = (Path(__file__).parents[2] / "scripts" / "init-db.sql").read_text()


@pytest.fixture
async def db(connection: asyncpg.Connection) -> asyncpg.Connection:
    await connection.execute(SCRIPT)
    return connection


def tuples(rows: list[asyncpg.Record]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in rows]


async def new_user(db: asyncpg.Connection, name: str = "reader", email: str | None = None) -> Any:
    insert = "INSERT INTO users (username, email, password_hash) VALUES ($1, $2, 'canary') RETURNING id"
    return await db.fetchval(insert, name, email or f"{name}@example.com")


async def new_document(db: asyncpg.Connection, **values: object) -> Any:
    given = {"user_id": await new_user(db, f"user{len(values)}"), "title": "A title"} | values
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    insert = f"INSERT INTO documents ({', '.join(given)}) VALUES ({places}) RETURNING id"
    return await db.fetchval(insert, *given.values())


# Running it again


async def contents(db: asyncpg.Connection) -> dict[str, list[Any]]:
    names = await db.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
    return {name: await db.fetch(f"SELECT ctid, xmin, t.* FROM {name} AS t") for (name,) in names}


async def test_running_it_three_times_changes_nothing(
    connection: asyncpg.Connection, server: Server, database: str
) -> None:
    await connection.execute(SCRIPT)
    rows, schema = await contents(connection), server.dump(database)
    files = await connection.fetch("SELECT relname, relfilenode FROM pg_class WHERE relkind IN ('r', 'i') ORDER BY 1")

    await connection.execute(SCRIPT)
    await connection.execute(SCRIPT)

    assert {"users", "projects", "documents", "files", "audit_log"} == rows.keys()
    assert await contents(connection) == rows
    assert server.dump(database) == schema
    # No table was rewritten and no index built anew.
    again = await connection.fetch("SELECT relname, relfilenode FROM pg_class WHERE relkind IN ('r', 'i') ORDER BY 1")
    assert again == files


async def test_running_it_again_keeps_what_users_did(db: asyncpg.Connection) -> None:
    await db.execute("UPDATE users SET email = 'root@example.com' WHERE username = 'admin'")
    await db.execute("UPDATE documents SET title = 'Changed'")
    await db.execute(SCRIPT)
    assert await db.fetchval("SELECT email FROM users WHERE username = 'admin'") == "root@example.com"
    assert await db.fetchval("SELECT string_agg(title, ',') FROM documents") == "Changed"


async def test_running_it_again_locks_no_reader_out(db: asyncpg.Connection) -> None:
    async with db.transaction():
        await db.execute(SCRIPT)
        held = await db.fetch("SELECT relation::regclass::text FROM pg_locks WHERE mode = 'AccessExclusiveLock'")
    assert not held


async def test_it_needs_no_superuser(connection: asyncpg.Connection, database: str) -> None:
    role = f"owner_of_{database}"
    await connection.execute(f"CREATE ROLE {role}; ALTER DATABASE {database} OWNER TO {role}")
    try:
        await connection.execute(f"SET SESSION AUTHORIZATION {role}")
        await connection.execute(SCRIPT)
        assert await connection.fetchval("SELECT count(*) FROM users") == 2
    finally:
        await connection.execute("RESET SESSION AUTHORIZATION")
        await connection.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")


async def test_it_is_plain_sql_in_one_transaction() -> None:
    code = re.sub(r"--.*", "", SCRIPT)
    assert not re.search(r"^\\|^\s*(COPY|COMMIT|ROLLBACK)\b|^BEGIN\s*;", code, re.MULTILINE | re.IGNORECASE)
    assert "CONCURRENTLY" not in code


# Tables and constraints

COLUMNS = {
    "users": {
        "id": "uuid",
        "username": "character varying(50)",
        "email": "character varying(255)",
        "password_hash": "character varying(255)",
        "created_at": "timestamp with time zone",
        "updated_at": "timestamp with time zone",
    },
    "documents": {
        "id": "uuid",
        "user_id": "uuid",
        "title": "character varying(255)",
        "status": "character varying(20)",
        "created_at": "timestamp with time zone",
        "metadata": "jsonb",
        "tags": "text[]",
    },
}


async def test_columns_have_their_types(db: asyncpg.Connection) -> None:
    for table, columns in COLUMNS.items():
        rows = await db.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = $1::regclass AND attnum > 0",
            table,
        )
        assert columns.items() <= {tuple(row) for row in rows}


async def test_defaults(db: asyncpg.Connection) -> None:
    id_ = await new_document(db)
    row = await db.fetchrow("SELECT status, tags, metadata, content, project_id FROM documents WHERE id = $1", id_)
    assert row is not None
    assert id_.version == 4
    assert dict(row) == {"status": "draft", "tags": [], "metadata": "{}", "content": "", "project_id": None}


async def test_a_status_is_one_of_four(db: asyncpg.Connection) -> None:
    id_ = await new_document(db)
    for status in ("draft", "compiling", "compiled", "error"):
        await db.execute("UPDATE documents SET status = $1 WHERE id = $2", status, id_)
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await db.execute("UPDATE documents SET status = 'deleted' WHERE id = $1", id_)
    assert refusal.value.constraint_name == "documents_status_check"


async def test_metadata_is_an_object(db: asyncpg.Connection) -> None:
    for metadata in ("[1]", "null", '"text"'):
        with pytest.raises(asyncpg.CheckViolationError) as refusal:
            await db.execute("UPDATE documents SET metadata = $1", metadata)
        assert refusal.value.constraint_name == "documents_metadata_check"


async def test_an_address_is_taken(db: asyncpg.Connection) -> None:
    for email in ("a@b.co", "First.Last+tag@mail.example.com", "UPPER@EXAMPLE.ORG", "a_b%c-d@x-y.io"):
        assert await db.fetchval("SELECT validate_email($1)", email)
        await new_user(db, email, email)


async def test_what_is_no_address_is_refused(db: asyncpg.Connection) -> None:
    for email in ("", "plain", "@example.com", "a@b", "a@b.c", "a b@example.com", "a@b.co\n", "a@b@c.de"):
        assert not await db.fetchval("SELECT validate_email($1)", email)
        with pytest.raises(asyncpg.CheckViolationError) as refusal:
            await db.execute("INSERT INTO users (username, email, password_hash) VALUES ('x', $1, '!')", email)
        assert refusal.value.constraint_name == "valid_email"


async def test_a_user_is_unique(db: asyncpg.Connection) -> None:
    await new_user(db)
    for username, email, constraint in (
        ("reader", "other@example.com", "users_username_key"),
        ("other", "reader@example.com", "users_email_key"),
        ("other", "Reader@Example.com", "idx_users_email_lower"),
    ):
        with pytest.raises(asyncpg.UniqueViolationError) as refusal:
            await new_user(db, username, email)
        assert refusal.value.constraint_name == constraint


async def test_a_deleted_user_takes_everything_along(db: asyncpg.Connection) -> None:
    document = await new_document(db)
    await db.execute(
        "INSERT INTO files (document_id, name, size_bytes, sha256, storage_key)"
        " VALUES ($1, 'a.bib', 1, sha256('a'), 'k')",
        document,
    )
    await db.execute("DELETE FROM users")
    for table in ("projects", "documents", "files"):
        assert await db.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_a_document_outlives_its_project(db: asyncpg.Connection) -> None:
    await db.execute("DELETE FROM projects")
    assert tuples(await db.fetch("SELECT title, project_id FROM documents")) == [("Welcome", None)]


async def test_nobody_can_log_in_as_a_seed_user(db: asyncpg.Connection) -> None:
    rows = await db.fetch("SELECT username, password_hash FROM users ORDER BY 1")
    assert tuples(rows) == [("admin", "!"), ("demo", "!")]


# Triggers


async def test_an_update_moves_updated_at(db: asyncpg.Connection) -> None:
    user = await new_user(db)
    await db.execute("UPDATE users SET username = 'renamed', updated_at = 'epoch' WHERE id = $1", user)
    row = await db.fetchrow("SELECT created_at, updated_at FROM users WHERE id = $1", user)
    assert row is not None
    assert row["updated_at"] > row["created_at"]


async def test_every_table_has_its_triggers(db: asyncpg.Connection) -> None:
    rows = await db.fetch("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
    tables = ("users", "projects", "documents", "files")
    expected = {f"audit_{table}" for table in tables} | {f"update_{table}_updated_at" for table in tables}
    assert {name for (name,) in rows} == expected


async def audit_of(db: asyncpg.Connection, row_id: object) -> list[asyncpg.Record]:
    return await db.fetch(
        "SELECT action, changed_columns, old_data->>'username' AS old, new_data->>'username' AS new, changed_by"
        " FROM audit_log WHERE table_name = 'users' AND row_id = $1 ORDER BY id",
        row_id,
    )


async def test_the_audit_log_tells_what_happened(db: asyncpg.Connection) -> None:
    user = await new_user(db)
    await db.execute("UPDATE users SET username = 'renamed' WHERE id = $1", user)
    await db.execute("DELETE FROM users WHERE id = $1", user)
    assert tuples(await audit_of(db, user)) == [
        ("INSERT", None, None, "reader", "postgres"),
        ("UPDATE", ["updated_at", "username"], "reader", "renamed", "postgres"),
        ("DELETE", None, "renamed", None, "postgres"),
    ]


async def test_the_audit_log_never_holds_a_password_hash(db: asyncpg.Connection) -> None:
    user = await new_user(db)
    await db.execute("UPDATE users SET password_hash = 'canary2' WHERE id = $1", user)
    await db.execute("DELETE FROM users WHERE id = $1", user)
    assert "canary" not in str(await db.fetch("SELECT audit_log::text FROM audit_log"))
    # That it changed is known all the same.
    assert (await audit_of(db, user))[1]["changed_columns"] == ["password_hash", "updated_at"]


async def test_a_temporary_table_does_not_swallow_the_audit(db: asyncpg.Connection) -> None:
    await db.execute("CREATE TEMPORARY TABLE audit_log (LIKE public.audit_log INCLUDING ALL)")
    user = await new_user(db)
    assert await db.fetchval("SELECT count(*) FROM public.audit_log WHERE row_id = $1", user) == 1


async def test_a_change_that_is_rolled_back_is_not_audited(db: asyncpg.Connection) -> None:
    before = await db.fetchval("SELECT count(*) FROM audit_log")
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute("UPDATE users SET username = 'same'")
    assert await db.fetchval("SELECT count(*) FROM audit_log") == before


# Indexes

USES = {
    "idx_users_username": "SELECT FROM users WHERE username LIKE 'ad%'",
    "idx_users_email_lower": "SELECT FROM users WHERE lower(email) = 'demo@example.com'",
    "idx_documents_user_id": "SELECT FROM documents WHERE user_id = uuid_nil()",
    "idx_documents_user_status": "SELECT FROM documents WHERE user_id = uuid_nil() AND status = 'error'",
    "idx_documents_active": "SELECT FROM documents WHERE user_id = uuid_nil() AND status != 'deleted'",
    "idx_documents_project_id": "SELECT FROM documents WHERE project_id = uuid_nil()",
    "idx_documents_created_at": "SELECT FROM documents ORDER BY created_at DESC LIMIT 3",
    "idx_documents_tags": "SELECT FROM documents WHERE tags @> '{example}'",
    "idx_documents_metadata": """SELECT FROM documents WHERE metadata @> '{"language": "en"}'""",
    "idx_documents_search": """
        SELECT FROM documents
        WHERE (setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', content), 'B'))
              @@ websearch_to_tsquery('english', 'searches')
    """,
    "idx_audit_log_row": "SELECT FROM audit_log WHERE table_name = 'users' AND row_id = uuid_nil() ORDER BY id",
    "idx_audit_log_changed_at": "SELECT FROM audit_log WHERE changed_at > now()",
}


@pytest.mark.parametrize("index", USES)
async def test_an_index_serves_its_query(db: asyncpg.Connection, index: str) -> None:
    async with db.transaction():
        # In a table of one row any other index, and none, would do as well: leave the planner this one.
        await db.execute("SET LOCAL enable_seqscan = off")
        await db.execute(f"""
            DO $$ DECLARE other text; BEGIN
                FOR other IN
                    SELECT indexrelid::regclass FROM pg_index
                    WHERE indrelid = (SELECT indrelid FROM pg_index WHERE indexrelid = '{index}'::regclass)
                      AND indexrelid <> '{index}'::regclass
                      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
                LOOP
                    EXECUTE 'DROP INDEX ' || other;
                END LOOP;
            END $$
        """)
        plan = "\n".join(line for (line,) in await db.fetch(f"EXPLAIN {USES[index]}"))
    assert index in plan


async def test_every_index_is_named_above_or_makes_a_constraint(db: asyncpg.Connection) -> None:
    names = await db.fetch(
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE relnamespace = 'public'::regnamespace"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"
    )
    assert {name for (name,) in names} == USES.keys()


async def test_tables_and_functions_are_described(db: asyncpg.Connection) -> None:
    silent = await db.fetch("""
        SELECT relname::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL
        SELECT proname::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    """)
    assert not silent


# The statements that the documentation this schema follows gives as examples, each on a database that is as far as the
# example takes it to be.

EXTENSION = 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp";'
USERS = """
    CREATE TABLE users (
        id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
        username VARCHAR(50) UNIQUE NOT NULL,
        email VARCHAR(255) UNIQUE NOT NULL,
        password_hash VARCHAR(255) NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
    );
    COMMENT ON TABLE users IS 'User accounts for the Muse AI application';
    COMMENT ON COLUMN users.password_hash IS 'Bcrypt hashed password';
"""
DOCUMENTS = """
    CREATE TABLE documents (
        id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
        user_id UUID NOT NULL REFERENCES users(id) ON DELETE CASCADE,
        title VARCHAR(255) NOT NULL,
        status VARCHAR(20) DEFAULT 'draft' CHECK (status IN ('draft', 'compiling', 'compiled', 'error')),
        created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
    );
"""
COLUMN_TYPES = """
    CREATE TABLE samples (
        id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
        created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
        metadata JSONB DEFAULT '{}',
        tags TEXT[],
        username VARCHAR(50) NOT NULL,
        email VARCHAR(255) NOT NULL
    );
"""
INDEXES = """
    CREATE INDEX IF NOT EXISTS idx_documents_user_id ON documents(user_id);
    CREATE INDEX IF NOT EXISTS idx_documents_user_status ON documents(user_id, status);
    CREATE INDEX IF NOT EXISTS idx_documents_active ON documents(user_id) WHERE status != 'deleted';
    CREATE INDEX IF NOT EXISTS idx_documents_tags ON documents USING GIN(tags);
"""
TIMESTAMPS = """
    CREATE OR REPLACE FUNCTION update_updated_at_column()
    RETURNS TRIGGER AS $$
    BEGIN
        NEW.updated_at = CURRENT_TIMESTAMP;
        RETURN NEW;
    END;
    $$ language 'plpgsql';

    CREATE TRIGGER update_users_updated_at
        BEFORE UPDATE ON users
        FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
"""
VALIDATION = r"""
    CREATE OR REPLACE FUNCTION validate_email(email TEXT)
    RETURNS BOOLEAN AS $$
    BEGIN
        RETURN email ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$';
    END;
    $$ language 'plpgsql';

    ALTER TABLE users ADD CONSTRAINT valid_email CHECK (validate_email(email));
"""
EXAMPLES = {
    "extension": (EXTENSION,),
    "idempotent table": (
        EXTENSION,
        *[
            """CREATE TABLE IF NOT EXISTS users (
            id UUID PRIMARY KEY DEFAULT uuid_generate_v4(), username VARCHAR(50) UNIQUE NOT NULL
        );"""
        ]
        * 2,
    ),
    "index": (EXTENSION, USERS, "CREATE INDEX idx_users_username ON users(username);"),
    "constraints": (EXTENSION, USERS, DOCUMENTS),
    "column types": (EXTENSION, COLUMN_TYPES),
    "indexes": (EXTENSION, USERS, DOCUMENTS, "ALTER TABLE documents ADD COLUMN tags TEXT[];", INDEXES, INDEXES),
    "timestamps": (EXTENSION, USERS, TIMESTAMPS),
    "validation": (EXTENSION, USERS, VALIDATION),
}


@pytest.mark.parametrize("example", EXAMPLES)
async def test_a_documented_example_runs(connection: asyncpg.Connection, example: str) -> None:
    for step in EXAMPLES[example]:
        await connection.execute(step)


async def test_a_table_that_is_not_idempotent_fails_the_second_time(connection: asyncpg.Connection) -> None:
    await connection.execute(EXTENSION + USERS)
    with pytest.raises(asyncpg.DuplicateTableError):
        await connection.execute(USERS)


async def test_triggers_and_constraints_made_by_the_examples_are_not_made_twice(connection: asyncpg.Connection) -> None:
    await connection.execute(EXTENSION + USERS + TIMESTAMPS + VALIDATION)
    await connection.execute(SCRIPT)
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgname = 'update_users_updated_at'"
    constraints = "SELECT count(*) FROM pg_constraint WHERE conname = 'valid_email'"
    assert (await connection.fetchval(triggers), await connection.fetchval(constraints)) == (1, 1)
