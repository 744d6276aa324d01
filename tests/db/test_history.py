"""The history table when it is not what this version wrote."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from dbinit import Applied, ExitCode, HistoryError, Initializer, LockTimeoutError, Outcome
from tests.kit.starts import initialize, options

Write = Callable[[str], Path]
SCRIPT = "CREATE TABLE item ();"


@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE dbinit_history (version text); INSERT INTO dbinit_history VALUES ('1')",
        "CREATE TABLE dbinit_history (id int); INSERT INTO dbinit_history VALUES (1)",
        "CREATE VIEW dbinit_history AS SELECT 1 AS id, 2 AS two",
    ],
)
async def test_a_table_of_somebody_else_is_left_alone(
    table: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute(table)

    with pytest.raises(HistoryError, match="is no history") as caught:
        await initialize(database_url, write(SCRIPT))

    assert caught.value.exit_code == 4
    assert "DBINIT_HISTORY_SCHEMA" in caught.value.advice
    assert await connection.fetchval("SELECT to_regclass('item')") is None


@pytest.mark.parametrize(
    "damage",
    [
        "DROP COLUMN checksum",
        "ALTER COLUMN format TYPE text USING 'tar'",
        "ALTER COLUMN format DROP NOT NULL, ALTER COLUMN format TYPE int USING NULL",
        "ALTER COLUMN script TYPE int USING 1, DROP COLUMN id",
        "ALTER COLUMN outcome TYPE text USING 'vanished'",
        "ALTER COLUMN applied_at DROP DEFAULT, ALTER COLUMN applied_at TYPE text",
        "ALTER COLUMN applied_at TYPE timestamptz USING 'infinity'",
    ],
)
async def test_a_history_that_was_tampered_with_is_not_guessed_at(
    damage: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write(SCRIPT))
    await connection.execute(f"ALTER TABLE dbinit_history {damage}")

    with pytest.raises(HistoryError, match="is no history") as caught:
        await initialize(database_url, write(SCRIPT))

    assert caught.value.exit_code == 4


async def test_a_history_of_a_newer_version_is_not_guessed_at(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write(SCRIPT))
    await connection.execute("UPDATE dbinit_history SET format = 2, dbinit_version = '9.1'")

    with pytest.raises(HistoryError, match=r"newer dbinit \(9\.1\)") as caught:
        await initialize(database_url, write(SCRIPT))

    assert "update dbinit" in caught.value.advice


async def test_columns_that_a_newer_version_added_are_ignored(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write(SCRIPT))
    await connection.execute("ALTER TABLE dbinit_history ADD COLUMN mood text DEFAULT 'fine'")

    assert (await initialize(database_url, write(SCRIPT))).outcome is Outcome.CURRENT


@pytest.mark.parametrize(
    "name", ["back\\slash.sql", "tab\there.sql", "line\u2028sep\x85.sql", "quo\"te'.sql", "żółć.sql"]
)
async def test_a_file_is_found_again_by_its_name_whatever_that_is(name: str, database_url: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(SCRIPT)
    await initialize(database_url, path)

    initializer = Initializer(options(database_url, path))
    report = await initializer.initialize()
    _, (row,) = await initializer.status()
    await initializer.close()

    assert report.outcome is Outcome.CURRENT
    assert row.script == name


async def test_the_history_is_read_oldest_first(database_url: str, write: Write) -> None:
    first = await initialize(database_url, write("CREATE TABLE IF NOT EXISTS item ()"))
    second = await initialize(database_url, write("CREATE TABLE IF NOT EXISTS item (id int)"))

    initializer = Initializer(options(database_url, write(SCRIPT)))
    _, rows = await initializer.status()
    await initializer.close()

    assert [row.checksum for row in rows] == [first.checksum, second.checksum]
    assert isinstance(rows[0], Applied)
    assert rows[0].applied_at < rows[1].applied_at < datetime.now(UTC)


async def test_an_older_file_leaves_alone_what_a_newer_one_made(
    database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = "CREATE TABLE IF NOT EXISTS item ()", "CREATE TABLE IF NOT EXISTS item (id int)"
    for script in (older, newer):
        await initialize(database_url, write(script))

    assert (await initialize(database_url, write(older))).outcome is Outcome.CURRENT
    assert "A newer version of" in caplog.text
    assert (await initialize(database_url, write(newer))).outcome is Outcome.CURRENT


async def test_an_emptied_history_is_no_history(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write("CREATE TABLE IF NOT EXISTS users ()"))
    await connection.execute("DELETE FROM dbinit_history")

    assert (await initialize(database_url, write("CREATE TABLE IF NOT EXISTS users ()"))).outcome is Outcome.ADOPTED


@pytest.mark.parametrize("parameter", ["", "?lock_timeout=100ms"])
@pytest.mark.parametrize("mode", ["blocking", "verify"])
async def test_whoever_has_locked_the_table_is_named(
    mode: str, parameter: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    path = write(SCRIPT)
    await initialize(database_url, path)
    second = timedelta(seconds=1)

    async with connection.transaction():
        await connection.execute("LOCK TABLE dbinit_history")
        with pytest.raises(LockTimeoutError) as caught:
            await initialize(database_url + parameter, path, connect_timeout=second, lock_wait=second, mode=mode)

    assert caught.value.exit_code == ExitCode.LOCKED
    assert "the history in public.dbinit_history is locked" in caught.value.message
    assert f"pid {connection.get_server_pid()} (" in caught.value.message
    assert caught.value.message.endswith("LOCK TABLE dbinit_history")
    assert f"pg_terminate_backend({connection.get_server_pid()})" in caught.value.advice
