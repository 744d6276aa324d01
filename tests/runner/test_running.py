"""What running a folder of migrations does, on a real server."""

from collections.abc import Callable, Mapping
from pathlib import Path

import asyncpg
import pytest

from dbinit import HistoryError, Initializer, Outcome, Report, StatementError, ValidationError
from dbinit.folders import Down, HookCall, HookError, Hooks, PlanError, Redo, Up, Version
from tests.kit.server import Server
from tests.kit.starts import initialize, options

Folder = Callable[[Mapping[str, str]], Path]

ITEM = "CREATE TABLE item (id int PRIMARY KEY, word text);\n-- dbinit: down\nDROP TABLE item;\n"
ROW = "INSERT INTO item VALUES (1, 'a');\n-- dbinit: down\nDELETE FROM item;\n"
INDEX = (
    "-- dbinit: no-transaction\nCREATE INDEX CONCURRENTLY item_word ON item (word);\n"
    "-- dbinit: down\n-- dbinit: no-transaction\nDROP INDEX CONCURRENTLY item_word;\n"
)
THREE = {"001_item.sql": ITEM, "002_row.sql": ROW, "003_index.sql": INDEX}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write a folder of migrations, the same one each time; return its path."""

    def write(files: Mapping[str, str]) -> Path:
        path = tmp_path / "migrations"
        path.mkdir(exist_ok=True)
        for old in path.iterdir():
            old.unlink()
        for name, text in files.items():
            (path / name).write_text(text)
        return path

    return write


async def migrate(url: str, path: Path, request: Up | Down | Redo, hooks: Hooks | None = None) -> Report:
    initializer = Initializer(options(url, path), hooks=hooks)
    try:
        return await initializer.migrate(request)
    finally:
        await initializer.close()


async def states(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await connection.fetch("SELECT version, state FROM dbinit_migrations ORDER BY id")
    return [(row["version"], row["state"]) for row in rows]


async def test_all_are_applied_once_in_their_order(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    path = folder(THREE)
    first = await initialize(database_url, path)
    assert [found.version for found in first.migrations] == ["001", "002", "003"]
    assert (first.outcome, first.statements) == (Outcome.APPLIED, 3)
    assert (await initialize(database_url, path)).outcome is Outcome.CURRENT
    assert await states(connection) == [("001", "applied"), ("002", "applied"), ("003", "applied")]


async def test_up_and_down_lead_back_to_the_beginning(
    database: str, database_url: str, folder: Folder, server: Server
) -> None:
    path, leave_out = folder(THREE), "--exclude-table=dbinit_*"
    empty = server.dump(database, leave_out)
    await initialize(database_url, path)
    whole = server.dump(database, leave_out)
    assert whole != empty
    await migrate(database_url, path, Down(target=Version.parse("0")))
    assert server.dump(database, leave_out) == empty
    await migrate(database_url, path, Up(target=Version.parse("1")))
    await initialize(database_url, path)
    assert server.dump(database, leave_out) == whole


async def test_an_older_image_takes_back_what_it_has_no_file_of(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    await initialize(database_url, folder(THREE))
    await migrate(database_url, folder({"001_item.sql": ITEM}), Down(2))
    assert await connection.fetchval("SELECT count(*) FROM item") == 0
    assert (await states(connection))[-2:] == [("003", "reverted"), ("002", "reverted")]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({**THREE, "002_row.sql": ROW + "\n", "001_item.sql": ITEM.replace("text", "varchar")}, "was edited"),
        ({name: text for name, text in THREE.items() if name != "002_row.sql"}, "has vanished"),
        ({"001_item.sql": ITEM}, "does not say that older files can use it"),
    ],
)
async def test_files_that_do_not_fit_the_history_are_refused(
    connection: asyncpg.Connection, database_url: str, folder: Folder, files: dict[str, str], reason: str
) -> None:
    await initialize(database_url, folder(THREE))
    with pytest.raises(PlanError, match=reason) as caught:
        await initialize(database_url, folder(files))
    assert caught.value.exit_code == 4
    assert len(await states(connection)) == 3


async def test_a_failure_keeps_what_was_before_it_and_names_the_line(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    files = {**THREE, "002_row.sql": "INSERT INTO item VALUES (1, 'a');\nSELECT\n  nonsense;\n"}
    with pytest.raises(StatementError, match="nonsense") as caught:
        await initialize(database_url, folder(files))
    assert (caught.value.line, caught.value.column) == (3, 3)
    assert "Done before, and kept: " in caught.value.outcome
    assert await states(connection) == [("001", "applied")]
    assert await connection.fetchval("SELECT count(*) FROM item") == 0


async def test_a_commit_that_is_refused_is_that_migrations_failure(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    late = "CREATE TABLE part (item int REFERENCES item DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO part VALUES (9);\n"
    files = {"001_item.sql": ITEM, "002_part.sql": late, "003_more.sql": "CREATE TABLE more ();"}
    with pytest.raises(StatementError, match=r"refused to commit .*002_part\.sql"):
        await initialize(database_url, folder(files))
    assert await states(connection) == [("001", "applied")]
    assert await connection.fetchval("SELECT to_regclass('more')") is None


async def test_settings_do_not_reach_the_next_migration(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    files = {
        "001_a.sql": "CREATE SCHEMA side; SET search_path = side; SET ROLE pg_monitor; RESET ROLE;",
        "002_b.sql": "CREATE TABLE plain ();",
    }
    await initialize(database_url, folder(files))
    assert await connection.fetchval("SELECT to_regclass('public.plain') IS NOT NULL")


async def test_a_rehearsal_leaves_nothing(connection: asyncpg.Connection, database_url: str, folder: Folder) -> None:
    report = await migrate(database_url, folder({"001_item.sql": ITEM, "002_row.sql": ROW}), Up(dry_run=True))
    assert (report.outcome, len(report.migrations)) == (Outcome.REHEARSED, 2)
    assert await connection.fetchval("SELECT to_regclass('item')") is None
    assert await connection.fetchval("SELECT to_regclass('dbinit_migrations')") is None


async def test_all_in_one_transaction_or_none(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    files = {"001_item.sql": ITEM, "002_row.sql": "SELECT 1/0;"}
    with pytest.raises(StatementError, match="division by zero"):
        await migrate(database_url, folder(files), Up(single_transaction=True))
    assert await connection.fetchval("SELECT to_regclass('item')") is None


async def test_several_at_a_time(connection: asyncpg.Connection, database_url: str, folder: Folder) -> None:
    files = {
        f"{number:03}_t.sql": f"-- dbinit: depends {'none' if number < 5 else '001, 002'}\nCREATE TABLE t{number} ();"
        for number in range(1, 9)
    }
    report = await migrate(database_url, folder(files), Up(jobs=3))
    assert sorted(found.version for found in report.migrations) == [f"{number:03}" for number in range(1, 9)]
    assert len(await states(connection)) == 8


async def test_a_failure_of_one_of_several_names_what_was_not_done(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    files = {
        "001_a.sql": "-- dbinit: depends none\nCREATE TABLE a ();",
        "002_b.sql": "-- dbinit: depends none\nSELECT pg_sleep(0.2); SELECT 1/0;",
        "003_c.sql": "-- dbinit: depends 002\nCREATE TABLE c ();",
    }
    with pytest.raises(StatementError, match="division by zero") as caught:
        await migrate(database_url, folder(files), Up(jobs=2))
    assert "003_c.sql" in caught.value.outcome.splitlines()[-1]
    assert await states(connection) == [("001", "applied")]


async def test_an_invalid_index_that_was_left_over_is_built_again(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    await connection.execute("CREATE TABLE item (id int, word text); INSERT INTO item VALUES (1, 'a'), (2, 'a')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY item_word ON item (word)")
    await connection.execute("DELETE FROM item WHERE id = 2")
    script = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS item_word ON item (word);"
    await initialize(database_url, folder({"001_index.sql": script}))
    assert await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'item_word'::regclass")


async def test_an_index_build_that_fails_leaves_no_index(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    await connection.execute("CREATE TABLE item (id int, word text); INSERT INTO item VALUES (1, 'a'), (2, 'a')")
    with pytest.raises(StatementError, match="could not create unique index"):
        await initialize(
            database_url, folder({"001_index.sql": "CREATE UNIQUE INDEX CONCURRENTLY item_word ON item (word);"})
        )
    assert await connection.fetchval("SELECT to_regclass('item_word')") is None


async def test_hooks_run_within_the_migrations_transaction(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    called: list[tuple[str, str, bool]] = []

    async def hook(call: HookCall) -> None:
        called.append((call.hook.value, call.version, call.connection.is_in_transaction()))

    path = folder({"001_item.sql": ITEM, "before_each.sql": "CREATE TABLE IF NOT EXISTS hooked ();"})
    await migrate(database_url, path, Up(), Hooks(before_all=hook, before_each=hook, after_each=hook, after_all=hook))
    assert [(name, version) for name, version, _ in called] == [
        ("before_all", ""),
        ("before_each", "001"),
        ("after_each", "001"),
        ("after_all", ""),
    ]
    assert all(inside for *_, inside in called)
    assert await connection.fetchval("SELECT to_regclass('hooked')") is not None


async def test_a_hook_that_fails_fails_its_migration(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    async def fail(_: HookCall) -> None:
        raise ValueError("no")

    with pytest.raises(HookError, match="after_each"):
        await migrate(database_url, folder({"001_item.sql": ITEM}), Up(), Hooks(after_each=fail))
    assert await connection.fetchval("SELECT to_regclass('item')") is None


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        ("CREATE TABLE users ()", "has the table users, but no history"),
        ("CREATE TABLE schema_migrations (version bigint, dirty boolean)", "of golang-migrate"),
        ("CREATE TABLE alembic_version (version_num text)", "of alembic"),
    ],
)
async def test_a_schema_without_our_history_is_refused(
    connection: asyncpg.Connection, database_url: str, folder: Folder, prepare: str, reason: str
) -> None:
    await connection.execute(prepare)
    with pytest.raises(HistoryError, match=reason) as caught:
        await initialize(database_url, folder(THREE))
    assert "python -m dbinit" in caught.value.advice
    assert await connection.fetchval("SELECT to_regclass('item')") is None
    assert (await initialize(database_url, folder(THREE), sentinel="")).outcome is Outcome.APPLIED


async def test_all_errors_of_syntax_are_found_before_anything_runs(
    connection: asyncpg.Connection, database_url: str, folder: Folder
) -> None:
    body = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETRUN 1;\nEND $$;"
    with pytest.raises(ValidationError) as caught:
        await initialize(database_url, folder({"001_item.sql": ITEM, "002_a.sql": "SELEC 1;", "003_b.sql": body}))
    assert "002_a.sql:1:1" in caught.value.message
    assert "003_b.sql:3:" in caught.value.message
    assert await connection.fetchval("SELECT to_regclass('item')") is None


async def test_what_a_migration_says_is_logged(
    database_url: str, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dbinit")
    path = folder({"001_item.sql": "\\echo begun\n" + ITEM})
    await initialize(database_url, path)
    assert f"{path}/001_item.sql:1: begun" in caplog.text
