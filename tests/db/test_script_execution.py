"""What a script does on a real server: batches are as good as single statements, and data are copied."""

import gzip
import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import asyncpg
import pytest

from dbinit import Outcome, StatementError, executor
from tests.kit.patience import eventually_async
from tests.kit.process import ROOT, environment, run_dbinit
from tests.kit.server import Server
from tests.kit.starts import initialize

Write = Callable[[str | bytes], Path]

ITEM = "CREATE TABLE item (id int PRIMARY KEY, word text);\n"


async def words(connection: asyncpg.Connection) -> list[tuple[int, str | None]]:
    return [tuple(row) for row in await connection.fetch("SELECT id, word FROM item ORDER BY id")]


async def failure(url: str, path: Path) -> StatementError:
    with pytest.raises(StatementError) as caught:
        await initialize(url, path)
    return caught.value


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Send every statement in a message of its own from now on."""

    def change() -> None:
        monkeypatch.setattr(executor, "_FIRST", 1)
        monkeypatch.setattr(executor, "_MOST", 1)

    return change


# COPY ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        ("COPY item FROM stdin;\n1\tone\n2\t\\N\n3\ta\\tb\\\\.\n\\.\n", [(1, "one"), (2, None), (3, "a\tb\\.")]),
        ("COPY item FROM stdin;\r\n1\tone\r\n\\.\r\n", [(1, "one")]),
        ("COPY item (word, id) FROM stdin WITH (DELIMITER '|');\né|1\n\\.\n", [(1, "é")]),
        ('COPY item FROM stdin CSV HEADER;\nid,word\n1,"a ""b"""\n2,\n\\.\n', [(1, 'a "b"'), (2, None)]),
        ('COPY item FROM stdin (FORMAT csv);\n1,"a\nb"\n2,";"\n\\.\n', [(1, "a\nb"), (2, ";")]),
        ("COPY item FROM stdin (FORMAT csv, QUOTE E'\\x01');\n1,\"\n\\.\n", [(1, '"')]),
        ('COPY item FROM stdin (FORMAT csv, ESCAPE \'\\\');\n1,"\\""\n\\.\n', [(1, '"')]),
        ("COPY item FROM stdin WHERE id > 1;\n1\ta\n2\tb\n\\.\n", [(2, "b")]),
        ("COPY item FROM stdin;\n1\tx;'$$ /* (\n\\.\n", [(1, "x;'$$ /* (")]),
        ("COPY item FROM stdin;\n\\.\n", []),
        ("COPY item FROM stdin; COPY item FROM stdin;\n1\ta\n\\.\n2\tb\n\\.\n", [(1, "a"), (2, "b")]),
        ("COPY item FROM stdin; UPDATE item SET word = 'c'\n1\ta\n2\tb\n\\.\n WHERE id = 2;\n", [(1, "a"), (2, "c")]),
        ("COPY item FROM stdin;\n1\ta\n", [(1, "a")]),
        ("COPY item FROM stdin;\n1\ta", [(1, "a")]),
    ],
)
async def test_data_arrive(
    copy: str, expected: list[tuple[int, str | None]], connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write(ITEM + copy))

    assert await words(connection) == expected


async def test_a_table_with_a_statement_behind_the_data(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    script = f"{ITEM}COPY item FROM stdin;\n1\ta\n\\.\nCREATE INDEX ON item (word);\nCOPY item FROM stdin;\n2\tb\n\\.\n"

    report = await initialize(database_url, write(script))

    assert report.statements == 4
    assert await words(connection) == [(1, "a"), (2, "b")]


async def test_many_data_are_streamed(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    rows = "".join(f"{number}\tsome text é\n" for number in range(50_000))

    await initialize(
        database_url, write(f"{ITEM}COPY item FROM stdin;\n{rows}\\.\nUPDATE item SET word = 'x' WHERE id = 7;")
    )

    assert await connection.fetchval("SELECT count(*) FROM item") == 50_000
    assert await connection.fetchval("SELECT word FROM item WHERE id = 7") == "x"


@pytest.mark.parametrize(
    ("copy", "line", "message"),
    [
        ("COPY item FROM stdin;\n1\ta\nx\tb\n\\.\n", 4, "invalid input syntax for type integer"),
        ("COPY item FROM stdin;\n1\ta\n2\n\\.\n", 4, "missing data for column"),
        ("COPY item FROM stdin;\n1\ta\n1\tb\n\\.\n", 4, "duplicate key value"),
        ("COPY item\n  FROM stdin\n\n;\n1\ta\nx\tb\n\\.\n", 7, "invalid input syntax"),
        ("SELECT 1; COPY item FROM stdin; SELECT 2;\nx\tb\n\\.\n", 3, "invalid input syntax"),
        ("COPY item FROM stdin; COPY item FROM stdin;\n1\ta\n\\.\n2\tb\nx\tb\n\\.\n", 6, "invalid input syntax"),
        ('COPY item FROM stdin CSV HEADER;\nid,word\n1,"a\n\nb"\nx,c\n\\.\n', 7, "invalid input syntax"),
        ('COPY item FROM stdin (FORMAT csv);\r\n1,"a\r\nb"\r\nx,c\r\n\\.\r\n', 5, "invalid input syntax"),
        ("COPY item FROM stdin (FORMAT csv, HEADER match);\nid,wort\n\\.\n", 3, "column name mismatch"),
        ("SELECT 1;\nCOPY nothing FROM stdin;\n1\n\\.\n", 3, 'relation "nothing" does not exist'),
        ("COPY item (nothing) FROM stdin;\n1\n\\.\n", 2, 'column "nothing" of relation "item" does not exist'),
        ("COPY item FROM stdin BINARY;\n1\ta\n\\.\n", 2, "COPY file signature not recognized"),
        ("COPY item FROM stdin;\n1\ta\n\\.\nSELECT wrong;", 5, 'column "wrong" does not exist'),
    ],
)
async def test_an_error_in_the_data_names_the_line_of_the_file(  # noqa: PLR0913, PLR0917 - a table's columns
    copy: str, line: int, message: str, database: str, database_url: str, server: Server, write: Write
) -> None:
    before = server.dump(database)

    error = await failure(database_url, write(ITEM + copy))

    assert message in error.message
    assert error.line == line
    assert f"init-db.sql:{line}" in error.message
    assert server.dump(database) == before


async def test_an_error_of_a_trigger_names_the_line_of_the_data(database_url: str, write: Write) -> None:
    trigger = (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.id = 2 THEN RAISE 'not two'; END IF; RETURN NEW; END $$;\n"
        "CREATE TRIGGER refuse BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION refuse();\n"
    )

    error = await failure(database_url, write(f"{ITEM}{trigger}COPY item FROM stdin;\n1\ta\n2\tb\n\\.\n"))

    assert error.line == 6


async def test_a_table_may_be_frozen_behind_the_batch_that_made_it(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    script = f"SELECT 1;\n{ITEM}SELECT 2;\nCOPY item FROM stdin (FREEZE);\n1\ta\n\\.\nSELECT 3;"

    await initialize(database_url, write(script))

    assert await words(connection) == [(1, "a")]


# An error in a batch ------------------------------------------------------------------------------

FUNCTION = "CREATE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT 1 FROM gone); END $$;"


def three_hundred() -> str:
    lines = [f"CREATE TABLE t_{number} (\n  id int);" for number in range(300)]
    lines[100] = "INSERT INTO t_1 SELECT generate_series(1, 3);\n"
    lines[200] = "COMMENT ON TABLE t_1 IS 'a;b';\n"
    return "\n".join(lines)


async def test_a_function_that_cannot_be_created_is_shown_with_the_place_in_its_body(
    database_url: str, write: Write
) -> None:
    script = (
        f"{ITEM}SELECT 1;\nCREATE FUNCTION f() RETURNS int\nLANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1 +;\nEND $$;\n"
        "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 2';\n"
    )

    error = await failure(database_url, write(script))

    assert error.sqlstate == "42601"
    assert error.line in {3, 6}


async def test_a_server_function_names_its_own_line(database_url: str, write: Write) -> None:
    error = await failure(database_url, write(f"{ITEM}SELECT 1;\n{FUNCTION}\nSELECT 2;\nSELECT broken();"))

    assert error.line == 5
    assert "QUERY:1:" in error.message
    assert "SELECT 1 FROM gone" in error.message
    assert "CONTEXT: PL/pgSQL function broken() line 1" in error.message


# A batch is as good as single statements ----------------------------------------------------------

RICH = """\
SET client_min_messages = warning;
CREATE SCHEMA side; SET search_path = side, public;
CREATE TYPE mood AS ENUM ('good', 'bad');
ALTER TYPE mood ADD VALUE 'mixed';
CREATE TABLE person (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, mood mood DEFAULT 'good');
INSERT INTO person (name) VALUES ('it''s'), (E'a\\'b');
CREATE TABLE pet (id serial, owner int REFERENCES person DEFERRABLE INITIALLY DEFERRED);
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO pet (owner) VALUES (3);
INSERT INTO person (name, mood) VALUES ('late', 'bad');
CREATE VIEW names AS SELECT name FROM person -- no semicolon; here
;
CREATE RULE quiet AS ON DELETE TO pet DO INSTEAD (SELECT 1; SELECT 2);
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT n * 2; END;
CREATE FUNCTION hello() RETURNS text LANGUAGE plpgsql AS $body$
BEGIN RETURN 'hello;'; END $body$;
SET LOCAL search_path = public;
CREATE TABLE here AS SELECT side.twice(4) AS eight;
DECLARE rows CURSOR FOR SELECT 1; FETCH ALL FROM rows; CLOSE rows;
PREPARE addition (int) AS INSERT INTO here VALUES ($1); EXECUTE addition(5); DEALLOCATE addition;
COPY here FROM stdin; SELECT 1;
6
\\.
SAVEPOINT one; INSERT INTO here VALUES (-1); SAVEPOINT two; INSERT INTO here VALUES (-2);
ROLLBACK TO two; INSERT INTO here VALUES (7); ROLLBACK TO SAVEPOINT one; INSERT INTO here VALUES (8);
RELEASE one; INSERT INTO here VALUES (9);
SET standard_conforming_strings = off;
SET escape_string_warning = off;
INSERT INTO side.person (name) VALUES ('a\\'; b');
RESET standard_conforming_strings;
INSERT INTO side.person (name) VALUES ('a\\'); INSERT INTO side.person (name) VALUES ('c');
DROP VIEW side.names;
"""


EMPTY = """\
DROP SCHEMA side CASCADE;
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP EXECUTE 'DROP TABLE ' || name; END LOOP;
END $$"""


async def test_the_result_is_that_of_single_statements(
    connection: asyncpg.Connection,
    database: str,
    database_url: str,
    server: Server,
    write: Write,
    one_by_one: Callable[[], None],
) -> None:
    path = write(RICH + three_hundred())
    await initialize(database_url, path)
    batched = server.dump(database, "--inserts")
    assert "'a''; b'" in batched
    rows = await connection.fetch("SELECT eight FROM here ORDER BY 1")
    assert [row["eight"] for row in rows] == [5, 6, 8, 8, 9], "COPY, EXECUTE and savepoints"
    await connection.execute(EMPTY)
    one_by_one()

    report = await initialize(database_url, path)

    assert report.outcome is Outcome.APPLIED
    assert server.dump(database, "--inserts") == batched


async def test_many_statements_need_few_messages(
    connection: asyncpg.Connection, database: str, database_url: str, server: Server, write: Write
) -> None:
    await connection.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")

    await initialize(database_url, write(three_hundred()))

    sent = server.statements(database)
    assert sum("CREATE TABLE t_" in message for message in sent) <= 8
    assert sum(message.count("CREATE TABLE t_") for message in sent) == 298


async def test_a_large_statement_between_small_ones(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    script = f"{ITEM}INSERT INTO item VALUES (1, '{'x' * 5_000_000}');\nINSERT INTO item VALUES (2, 'y');"

    report = await initialize(database_url, write(script))

    assert report.statements == 3
    assert await connection.fetchval("SELECT sum(length(word)) FROM item") == 5_000_001


async def test_an_error_behind_a_large_statement_is_found(database_url: str, write: Write) -> None:
    script = f"{ITEM}INSERT INTO item VALUES (1, '{'x' * 1_000_000}\n');\nSELECT 1;\nSELECT wrong;"

    assert (await failure(database_url, write(script))).line == 5


async def test_strings_are_read_as_the_server_reads_them(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    await connection.execute(f"ALTER DATABASE {database} SET standard_conforming_strings = off")
    mixed = r"INSERT INTO item VALUES (1, 'it\'s; C:\\');" + "\nSET standard_conforming_strings = on;\n"
    await initialize(database_url, write(f"{ITEM}{mixed}" + r"INSERT INTO item VALUES (2, 'C:\');"))
    assert await words(connection) == [(1, "it's; C:\\"), (2, "C:\\")]


# What the server says on the way -------------------------------------------------------------------


async def test_what_the_server_says_is_logged_once_with_its_line(
    database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dbinit")
    said = {
        12: ("CREATE TABLE IF NOT EXISTS t_1 ();", 'NOTICE: relation "t_1" already exists, skipping', logging.INFO),
        60: ("DO $$ BEGIN RAISE NOTICE 'hello'; END $$;", "NOTICE: hello", logging.INFO),
        61: ("DO $$ BEGIN RAISE WARNING 'careful'; END $$;", "WARNING: careful", logging.WARNING),
        90: ("DO $$ BEGIN RAISE INFO 'for you'; END $$;", "INFO: for you", logging.INFO),
        100: ("SELECT 1;", "", 0),
    }
    lines = [said[number][0] if number in said else f"CREATE TABLE t_{number} ();" for number in range(1, 101)]

    await initialize(database_url, write("\n".join(lines)))

    logged = [(record.getMessage(), record.levelno) for record in caplog.records if record.module == "notices"]
    path = write("")
    assert logged == [(f"{path}:{number}: {text}", level) for number, (_, text, level) in said.items() if text]


async def test_what_is_said_at_the_commit_is_logged_too(
    database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    late = """
        CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE WARNING 'late'; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION say();
        DO $$ BEGIN RAISE WARNING 'early'; END $$;
        INSERT INTO item VALUES (1);
    """
    path = write(ITEM + late)
    await initialize(database_url, path)
    assert [line for line in caplog.messages if "WARNING" in line] == [
        f"{path}:7: WARNING: early",
        f"{path}: WARNING: late",
    ]


async def test_what_was_said_before_an_error_is_logged_too(
    database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dbinit")

    await failure(database_url, write(f"{ITEM}DO $$ BEGIN RAISE NOTICE 'hello'; END $$;\nSELECT 1;\nSELECT 1 / 0;"))

    assert [line.rpartition(":")[2] for line in caplog.messages if "NOTICE" in line] == [" hello"]
    assert caplog.text.count("init-db.sql:2: NOTICE: hello") == 1


async def test_what_a_statement_says_is_logged_while_it_runs(
    connection: asyncpg.Connection, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dbinit")
    await connection.execute("SELECT pg_advisory_lock(1)")
    path = write("DO $$ BEGIN RAISE NOTICE 'begun'; PERFORM pg_advisory_xact_lock(1); END $$;")

    async def is_logged() -> bool:
        return f"{path}:1: NOTICE: begun" in caplog.messages

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(initialize, database_url, path, lock_timeout=timedelta()))
        await eventually_async(is_logged)
        await connection.execute("SELECT pg_advisory_unlock(1)")

    assert caplog.text.count("NOTICE") == 1


async def test_what_a_batch_says_is_kept_up_to_a_limit_and_counted_beyond_it(
    database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dbinit")
    talking = """
        CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'said'; RETURN NULL; END $$;
        CREATE TRIGGER talk AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION say();
        INSERT INTO item SELECT * FROM generate_series(1, 10000);
        INSERT INTO item SELECT * FROM generate_series(10001, 20000);
    """
    path = write(ITEM + talking)

    await initialize(database_url, path)

    kept = caplog.messages.count(f"{path}:5-6: NOTICE: said")
    more = f"{path}:5-6: {20_000 - kept} further messages of the server left out, as there were so many at once"
    assert 1_000 < kept < 20_000
    assert caplog.messages.count(more) == 1


# How strings are read -----------------------------------------------------------------------------


async def test_backslashes_are_read_as_the_script_sets_them(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    script = (
        f"{ITEM}INSERT INTO item VALUES (1, 'a\\');\n"
        "SET standard_conforming_strings = off;\nSET escape_string_warning = off;\n"
        "INSERT INTO item VALUES (2, 'b\\'; ''c'); INSERT INTO item VALUES (3, '\\\\');\n"
        "SET standard_conforming_strings TO DEFAULT;\n"
        "INSERT INTO item VALUES (4, 'd\\');\n"
    )

    await initialize(database_url, write(script))

    assert await words(connection) == [(1, "a\\"), (2, "b'; 'c"), (3, "\\"), (4, "d\\")]


# Other ways to come by a script -------------------------------------------------------------------


async def test_a_compressed_script(connection: asyncpg.Connection, database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "init-db.sql.gz"
    path.write_bytes(gzip.compress(f"{ITEM}COPY item FROM stdin;\n1\té\n\\.\n".encode()))

    end = run_dbinit(env={"DATABASE_URL": database_url, "MIGRATION_PATH": str(path)})

    assert (end.code, end.out) == (0, "")
    assert await words(connection) == [(1, "é")]


async def test_a_script_from_standard_input(connection: asyncpg.Connection, database_url: str) -> None:
    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "dbinit", "--path", "-"],
            input=f"{ITEM}COPY item FROM stdin;\n1\té\n\\.\n",
            env=environment({"DATABASE_URL": database_url, "PYTHONUTF8": "1"}),
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            check=False,
        )

    first, second = run(), run()

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "already initialized" in second.stderr
    assert await words(connection) == [(1, "é")]


async def test_an_error_of_a_connection_made_elsewhere_is_the_statements_own(database_url: str, write: Write) -> None:
    script = "SELECT 1;\nDO $$ BEGIN RAISE EXCEPTION 'no partner' USING ERRCODE = '08001'; END $$;"
    with pytest.raises(StatementError, match="no partner") as caught:
        await initialize(database_url, write(script))
    assert caught.value.line == 2


async def test_a_value_added_to_a_new_enum_can_be_used_at_once(database_url: str, write: Write) -> None:
    tables = "".join(f"CREATE TABLE t{number} ();\n" for number in range(9))
    script = (
        f"CREATE TYPE mood AS ENUM ('a');\n{tables}ALTER TYPE mood ADD VALUE 'b';\nCREATE TABLE m (v mood DEFAULT 'b');"
    )
    assert (await initialize(database_url, write(script))).statements == 12
