"""Every example of the document that dbinit comes from, as a script of its own, in an order that makes it valid."""

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from dbinit import Initializer, InitOptions, Outcome, ScriptError, StatementError
from tests.kit.process import run_dbinit
from tests.kit.starts import initialize

Write = Callable[[str], Path]

EXTENSION = 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp";\n'
USERS_COMMENTED = """
-- Users table stores user account information
CREATE TABLE users (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    username VARCHAR(50) UNIQUE NOT NULL,
    email VARCHAR(255) UNIQUE NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);

-- Add table comment
COMMENT ON TABLE users IS 'User accounts for the Muse AI application';
COMMENT ON COLUMN users.password_hash IS 'Bcrypt hashed password';
"""
TIMESTAMPS = """
-- Function to update the updated_at column
CREATE OR REPLACE FUNCTION update_updated_at_column()
RETURNS TRIGGER AS $$
BEGIN
    NEW.updated_at = CURRENT_TIMESTAMP;
    RETURN NEW;
END;
$$ language 'plpgsql';

-- Trigger to automatically update updated_at
CREATE TRIGGER update_users_updated_at 
    BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
"""  # noqa: W291 - just as the document has it
VALIDATION = r"""
-- Function to validate email format
CREATE OR REPLACE FUNCTION validate_email(email TEXT)
RETURNS BOOLEAN AS $$
BEGIN
    RETURN email ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$';
END;
$$ language 'plpgsql';

-- Use in a constraint
ALTER TABLE users ADD CONSTRAINT valid_email CHECK (validate_email(email));
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
INDEXES = """
-- Single column index
CREATE INDEX IF NOT EXISTS idx_documents_user_id ON documents(user_id);

-- Composite index
CREATE INDEX IF NOT EXISTS idx_documents_user_status ON documents(user_id, status);

-- Partial index
CREATE INDEX IF NOT EXISTS idx_documents_active ON documents(user_id) WHERE status != 'deleted';

-- GIN index for JSON/Array columns
CREATE INDEX IF NOT EXISTS idx_documents_tags ON documents USING GIN(tags);
"""
# The document's first example, its "other columns" being what its trigger needs.
STRUCTURE = """
-- Enable extensions
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";

-- Create tables
CREATE TABLE users (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    username TEXT, updated_at TIMESTAMP WITH TIME ZONE
    -- ... other columns
);

-- Create indexes
CREATE INDEX idx_users_username ON users(username);

-- Create functions
CREATE OR REPLACE FUNCTION update_updated_at_column()
RETURNS TRIGGER AS $$
BEGIN
    NEW.updated_at = CURRENT_TIMESTAMP;
    RETURN NEW;
END;
$$ language 'plpgsql';

-- Create triggers
CREATE TRIGGER update_users_updated_at BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
"""
IDEMPOTENT = """
-- Good: Idempotent
CREATE TABLE IF NOT EXISTS users (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    username VARCHAR(50) UNIQUE NOT NULL
);
"""
NOT_IDEMPOTENT = """
-- Bad: Not idempotent
CREATE TABLE users (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    username VARCHAR(50) UNIQUE NOT NULL
);
"""
# The document lists these columns without a table around them.
DATA_TYPES = """
CREATE TABLE data_types (
-- UUIDs for primary keys
id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),

-- Timestamps with timezone
created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,

-- JSON for flexible data
metadata JSONB DEFAULT '{}',

-- Arrays for lists
tags TEXT[],

-- Proper varchar lengths
username VARCHAR(50) NOT NULL,
email VARCHAR(255) NOT NULL
);
"""
TAGS = "ALTER TABLE documents ADD COLUMN tags TEXT[];"

EXAMPLES = {
    "the structure of a file": ([], STRUCTURE, 5),
    "an idempotent table": ([EXTENSION], IDEMPOTENT, 1),
    "a table that is not": ([EXTENSION], NOT_IDEMPOTENT, 1),
    "constraints": ([EXTENSION, IDEMPOTENT], DOCUMENTS, 1),
    "indexes": ([EXTENSION, IDEMPOTENT, DOCUMENTS, TAGS], INDEXES, 4),
    "data types": ([EXTENSION], DATA_TYPES, 1),
    "comments": ([EXTENSION], USERS_COMMENTED, 3),
    "timestamps": ([EXTENSION, USERS_COMMENTED], TIMESTAMPS, 2),
    "validation": ([EXTENSION, USERS_COMMENTED], VALIDATION, 2),
}


async def apply_all(url: str, folder: Path, scripts: list[str]) -> list[int]:
    """Apply each as a file of its own; return how many statements each had."""
    counts = []
    for number, script in enumerate(scripts):
        path = folder / f"{number}.sql"
        path.write_text(script)
        report = await initialize(url, path, sentinel="")
        assert report.outcome is Outcome.APPLIED
        counts.append(report.statements)
    return counts


@pytest.mark.parametrize(("before", "example", "statements"), EXAMPLES.values(), ids=EXAMPLES)
async def test_an_example_is_applied(
    before: list[str], example: str, statements: int, database_url: str, tmp_path: Path
) -> None:
    assert (await apply_all(database_url, tmp_path, [*before, example]))[-1] == statements


async def test_what_the_examples_make_works(connection: asyncpg.Connection, database_url: str, tmp_path: Path) -> None:
    await apply_all(
        database_url, tmp_path, [EXTENSION, USERS_COMMENTED, TIMESTAMPS, VALIDATION, DOCUMENTS, TAGS, INDEXES]
    )

    add = "INSERT INTO users (username, email, password_hash) VALUES ('u', $1, 'h') RETURNING id"
    with pytest.raises(asyncpg.CheckViolationError, match="valid_email"):
        await connection.fetchval(add, "nonsense")
    user = await connection.fetchval(add, "user@example.com")
    assert await connection.fetchval("UPDATE users SET username = 'v' RETURNING updated_at > created_at")
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO documents (user_id, title, status) VALUES ($1, 't', 'lost')", user)
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'documents' AND indexname LIKE 'idx%'"
    assert await connection.fetchval(indexes) == 4


async def test_the_advice_against_what_is_not_idempotent(database_url: str, write: Write, tmp_path: Path) -> None:
    await apply_all(database_url, tmp_path, [EXTENSION, NOT_IDEMPOTENT])

    with pytest.raises(StatementError, match='relation "users" already exists') as caught:
        await initialize(database_url, write(NOT_IDEMPOTENT))

    assert "add IF NOT EXISTS" in caught.value.advice
    assert "duplicate" in caught.value.advice


async def test_a_function_without_its_delimiters(database_url: str, write: Write) -> None:
    broken = "CREATE OR REPLACE FUNCTION f() RETURNS TRIGGER AS\nBEGIN\n RETURN NEW;\nEND;\nlanguage 'plpgsql';"

    with pytest.raises(ScriptError) as caught:
        await initialize(database_url, write(broken))

    assert "$$ delimiters" in caught.value.advice


def test_its_environment_and_its_log(database_url: str, write: Write) -> None:
    env = {
        "DATABASE_URL": database_url.replace("postgresql://", "postgres://") + "?sslmode=disable",
        "MIGRATION_PATH": str(write(STRUCTURE)),
        "DB_RETRY_ATTEMPTS": "5",
        "DB_RETRY_DELAY": "5s",
    }
    assert run_dbinit(env=env).code == 0

    assert run_dbinit(env=env).err.splitlines() == [
        "Initializing database...",
        "Attempting to connect to database (attempt 1/5)...",
        "Successfully connected to database",
        "Database already initialized, skipping migration",
    ]


async def test_a_database_that_its_go_version_initialized(
    connection: asyncpg.Connection, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute(EXTENSION + USERS_COMMENTED)
    caplog.set_level(logging.INFO, "dbinit")

    report = await initialize(database_url, write(STRUCTURE))

    assert report.outcome is Outcome.ADOPTED
    assert "Database already initialized, skipping migration" in caplog.messages


async def test_its_programmatic_configuration(database_url: str, write: Write) -> None:
    initializer = Initializer(
        InitOptions(
            database_url=database_url,
            migrations_path=str(write(STRUCTURE)),
            retry_attempts=5,
            retry_delay=timedelta(seconds=5),
        )
    )
    try:
        report = await initializer.initialize()
    finally:
        await initializer.close()

    assert report.statements == 5
