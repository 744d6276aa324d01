"""Whatever is wrong with settings, file or database: one clear error, no traceback, and nothing has changed."""

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from dbinit import ExitCode
from tests.kit.process import Finished, dbinit, environment, finished, run_dbinit, run_powerless, running
from tests.kit.server import PASSWORD, Server

Write = Callable[[str | bytes], Path]
Look = Callable[[], Awaitable[object]]
GOOD = "CREATE TABLE item (id int);\n"
CATALOG = """
SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_namespace),
       (SELECT count(*) FROM pg_type), (SELECT string_agg(id::text, ',' ORDER BY id) FROM kept)
"""


@pytest.fixture
async def unchanged(connection: asyncpg.Connection) -> Look:
    """Look at what the database holds; to be called before and after."""
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
    return lambda: connection.fetchrow(CATALOG)


def assert_one_error(end: Finished, code: ExitCode, *words: str) -> None:
    """The process ended with the code and said every one of these things exactly once."""
    assert end.code == code, end.said
    assert {word: end.err.count(word) for word in words} == dict.fromkeys(words, 1), end.err
    assert end.out == ""


# Files ----------------------------------------------------------------------------------------------

FILES = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\t\r\n", "is empty"),
    "only a byte order mark": (b"\xef\xbb\xbf", "is empty"),
    "Latin-1": (b"SELECT 1;\nSELECT 'caf\xe9';", "{path}:2: byte 0xe9 there is not UTF-8"),
    "UTF-16": ("SELECT 1;".encode("utf-16"), "is UTF-16, not UTF-8"),
    "NUL": (b"SELECT 1;\n\nSELECT '\0';", "{path}:3: there is a NUL byte"),
    "a command that is Latin-1": (
        b"CREATE TABLE t (a text);\n\\copy t (a\xe9) from stdin\n\\.\n",
        "{path}:2: byte 0xe9",
    ),
    "a command with NUL": (b"\\copy t from a\0b\nSELECT 1;", "{path}:1: there is a NUL byte"),
    "somebody unknown's home": (b"\\i ~nobody-here/x.sql\nSELECT 1;", "~nobody-here/x.sql is not in the folder"),
    "a dump": (b"PGDMP\x01\x0e\x00", "restore it with pg_restore"),
}


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
async def test_a_file_that_cannot_be_read(
    content: bytes, said: str, unchanged: Look, database_url: str, write: Write
) -> None:
    before = await unchanged()
    path = write(content)

    assert_one_error(
        run_dbinit(env={"DATABASE_URL": database_url, "MIGRATION_PATH": str(path)}),
        ExitCode.USAGE,
        said.format(path=path),
    )
    assert await unchanged() == before


@pytest.mark.parametrize(("name", "said"), [("missing.sql", "there is no file"), ("missing/.", "there is no file")])
def test_a_path_that_is_no_file(name: str, said: str, database_url: str, tmp_path: Path) -> None:
    end = run_dbinit(env={"DATABASE_URL": database_url, "MIGRATION_PATH": str(tmp_path / name)})

    assert_one_error(end, ExitCode.USAGE, said, str(tmp_path / name), "MIGRATION_PATH")


def test_an_empty_folder(database_url: str, tmp_path: Path) -> None:
    end = run_dbinit(env={"DATABASE_URL": database_url, "MIGRATION_PATH": str(tmp_path)})

    assert end.code == ExitCode.USAGE
    assert "there is no file in it; name migrations like 001_name.sql" in end.err


def test_a_link_that_leads_to_itself(database_url: str, tmp_path: Path) -> None:
    link = tmp_path / "init-db.sql"
    link.symlink_to(link)

    end = run_dbinit(env={"DATABASE_URL": database_url, "MIGRATION_PATH": str(link)})
    assert_one_error(end, ExitCode.USAGE, f"{link} cannot be read")


def test_without_a_path_the_default_is_named(database_url: str, tmp_path: Path) -> None:
    end = run_dbinit(env={"DATABASE_URL": database_url}, cwd=tmp_path)

    assert_one_error(end, ExitCode.USAGE, "there is no file scripts/init-db.sql")


def test_standard_input_that_is_closed(database_url: str) -> None:
    env = {"DATABASE_URL": database_url}
    with running("sh", "-c", 'exec "$0" -m dbinit --path - <&-', sys.executable, env=env) as process:
        assert_one_error(finished(process), ExitCode.USAGE, "standard input is closed")


def test_a_pipe_that_may_not_be_read(database_url: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0)

    end = run_powerless("--path", str(pipe), env={"DATABASE_URL": database_url})
    assert_one_error(end, ExitCode.USAGE, f"{pipe} cannot be read: Permission denied")


def test_a_new_migration_where_no_folder_can_be() -> None:
    end = run_dbinit("--path", "a" * 300, "new", "name")

    assert_one_error(end, ExitCode.USAGE, "cannot be created: File name too long")


def test_standard_output_that_cannot_write_a_character_has_it_spelt_out(write: Write) -> None:
    with dbinit("split", str(write("SELECT '\xe9\x1b[31m';")), env={"PYTHONIOENCODING": "ascii"}) as process:
        assert "SELECT '\\xe9\\x1b[31m'" in finished(process).out


@pytest.mark.parametrize("buffered", ["", "1"])
def test_an_error_that_nobody_reads_has_its_code(buffered: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "dbinit", "--json", "--url", "mysql://x"]
    env = environment({"PYTHONUNBUFFERED": buffered})
    try:
        done = subprocess.run(command, env=env, stdout=theirs, stderr=subprocess.PIPE, timeout=30, check=False)
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (ExitCode.USAGE, b"")


# SQL ------------------------------------------------------------------------------------------------

OPENINGS = {
    "quote": ("'it", "3:8"),
    "escape string": ("E'it\\'", "3:8"),
    "quoted identifier": ('"it', "3:8"),
    "dollar quote": ("$$it", "3:8"),
    "tagged dollar quote": ("$body$ it $$ $other$", "3:8"),
    "comment": ("/* it /* nested */", "3:8"),
}


@pytest.mark.parametrize(("opening", "place"), OPENINGS.values(), ids=OPENINGS)
async def test_what_is_never_closed_is_shown_where_it_opened(
    opening: str, place: str, unchanged: Look, database_url: str, write: Write
) -> None:
    before = await unchanged()
    path = write(f"{GOOD}\nSELECT {opening};\nSELECT 2;\n")

    end = run_dbinit(env={"DATABASE_URL": database_url, "MIGRATION_PATH": str(path)})

    column = int(place.partition(":")[2])
    assert_one_error(end, ExitCode.FAILED, "never closed", f"{path}:{place}", "Nothing was applied.")
    shown, caret = end.err.partition(f"{path}:{place}\n")[2].splitlines()[:2]
    assert shown == f"  3 | SELECT {opening};"
    assert caret.index("^") == len("  3 | ") + column - 1
    assert await unchanged() == before


STATEMENTS = {
    "syntax": ("CREATE TABEL x ();", "2:8", 'syntax error at or near "TABEL"'),
    "psql command": ("\\connect other", "2:1", "another database, user or server"),
    "data": ("COPY item FROM stdin;\nmany\n\\.\n", "3", 'invalid input syntax for type integer: "many"'),
    "COMMIT": ("COMMIT;", "2:1", "no transaction is begun that this ends"),
    "extension": ("CREATE EXTENSION nonsense;", "2:1", 'extension "nonsense" is not available'),
    "in a function": (
        "DO $$ BEGIN PERFORM 1 / 0; END $$;",
        "2:7",
        "PL/pgSQL function inline_code_block line 1 at PERFORM",
    ),
}


@pytest.mark.parametrize(("statement", "place", "said"), STATEMENTS.values(), ids=STATEMENTS)
async def test_a_statement_that_cannot_be_run(
    statement: str, place: str, said: str, unchanged: Look, database_url: str, write: Write
) -> None:
    before = await unchanged()
    path = write(GOOD + statement)

    end = run_dbinit(env={"DATABASE_URL": database_url, "MIGRATION_PATH": str(path)})

    assert_one_error(end, ExitCode.FAILED, said, f"{path}:{place}")
    assert await unchanged() == before


# Settings -------------------------------------------------------------------------------------------

SETTINGS = {
    "no URL": ({}, ["DATABASE_URL is not set", "embedded:///"]),
    "blank URL": ({"DATABASE_URL": ""}, ["DATABASE_URL is not set"]),
    "no scheme": ({"DATABASE_URL": "localhost:5432/x"}, ["DATABASE_URL", "postgresql://user:password@host:5432"]),
    "MySQL": ({"DATABASE_URL": "mysql://localhost/x"}, ["its scheme is unknown"]),
    "port": ({"DATABASE_URL": "postgresql://h:99999/x"}, ["no number from 1 to 65535"]),
    "percent": ({"DATABASE_URL": "postgresql://u:100%@h/x"}, ["%25"]),
    "hash": ({"DATABASE_URL": "postgresql://u:a#b@h/x"}, ["there is a '#' in it"]),
    "sslmode": ({"DATABASE_URL": "postgresql://h/x?sslmode=maybe"}, ["sslmode must be one of"]),
    "libpq only": ({"DATABASE_URL": "postgresql://h/x?hostaddr=::1"}, ["hostaddr is known to libpq only"]),
    "relative folder": ({"DATABASE_URL": "embedded://data"}, ["absolute folder"]),
    "no such secret": ({"DATABASE_URL_FILE": "/missing/url"}, ["cannot read /missing/url: No such file"]),
    "a folder of secrets": ({"DATABASE_URL_FILE": "/"}, ["cannot read /: Is a directory"]),
    "two URLs": ({"DATABASE_URL": "postgresql://h/x", "DATABASE_URL_FILE": "/url"}, ["both set"]),
    "duration": (
        {"DATABASE_URL": "postgresql://h/x", "DB_RETRY_DELAY": "5 parsecs"},
        ["'5 parsecs' is not a duration"],
    ),
    "attempts": ({"DATABASE_URL": "postgresql://h/x", "DB_RETRY_ATTEMPTS": "-1"}, ["DB_RETRY_ATTEMPTS: '-1' is not"]),
    "choice": ({"DATABASE_URL": "postgresql://h/x", "DBINIT_ON_CHANGE": "maybe"}, ["rerun, warn, fail"]),
    "sentinel": ({"DATABASE_URL": "postgresql://h/x", "DBINIT_SENTINEL": "a.b.c"}, ["DBINIT_SENTINEL: 'a.b.c'"]),
    "misspelt": ({"DATABASE_URL": "postgresql://h/x", "DBINIT_LOCK_WIAT": "1s"}, ["did you mean DBINIT_LOCK_WAIT?"]),
}


@pytest.mark.parametrize(("env", "words"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_cannot_be_used(env: dict[str, str], words: list[str], write: Write) -> None:
    end = run_dbinit(env={"MIGRATION_PATH": str(write(GOOD)), **env})

    assert_one_error(end, ExitCode.USAGE, "A setting cannot be used:", *words)


def test_all_mistakes_are_told_at_once() -> None:
    env = {"DATABASE_URL": "mysql://x", "DB_RETRY_DELAY": "soon", "DB_RETRY_ATTEMPTS": "many", "DBINIT_MODE": "fast"}

    assert_one_error(run_dbinit(env=env), ExitCode.USAGE, "Some settings cannot be used:", *env)


# Databases ------------------------------------------------------------------------------------------


def test_an_empty_port_is_as_good_as_none(write: Write, tmp_path: Path) -> None:
    url = f"postgresql://nobody@/none?host={tmp_path}"
    env = {"DATABASE_URL": url, "PGPORT": "", "DB_RETRY_ATTEMPTS": "2", "DB_RETRY_DELAY": "10ms"}

    end = run_dbinit(env={**env, "MIGRATION_PATH": str(write(GOOD))})
    assert end.code == ExitCode.UNREACHABLE
    assert "Gave up after 2 attempts" in end.err


async def test_a_read_only_database(
    unchanged: Look, connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    before = await unchanged()
    await connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")

    end = run_dbinit(env={"DATABASE_URL": database_url, "MIGRATION_PATH": str(write(GOOD))})

    assert_one_error(end, ExitCode.FAILED, "in a read-only transaction", "connect to the primary")
    assert await unchanged() == before


async def test_a_role_without_rights(
    unchanged: Look, connection: asyncpg.Connection, database: str, server: Server, write: Write
) -> None:
    before = await unchanged()
    role = f"guest_{database}"
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    try:
        url = server.url(database, user=role)
        end = run_dbinit(env={"DATABASE_URL": url, "MIGRATION_PATH": str(write(GOOD))})
    finally:
        await connection.execute(f"DROP ROLE {role}")

    assert_one_error(end, ExitCode.FAILED, "permission denied for schema public", "GRANT CREATE ON SCHEMA public")
    assert await unchanged() == before
