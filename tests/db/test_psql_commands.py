"""What psql's commands do in a script that dbinit runs, on a real server."""

import logging
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from dbinit import Initializer, Outcome, ScriptError, SourceError, StatementError
from tests.kit.process import run_dbinit
from tests.kit.starts import initialize, options

Write = Callable[[str | bytes], Path]

ITEM = "CREATE TABLE item (id int, word text);\n"


async def items(connection: asyncpg.Connection) -> list[tuple[int | None, str | None]]:
    return [tuple(row) for row in await connection.fetch("SELECT id, word FROM item ORDER BY id, word")]


async def tables(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return sorted(row["relname"] for row in rows if row["relname"] != "dbinit_history")


# Variables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("\\set n 5\n\\set w 'it''s'\nINSERT INTO item VALUES (:n, :'w');", [(5, "it's")]),
        ("\\set t item\nINSERT INTO :\"t\" VALUES (1, 'x'), (:{?t}::int, ':t');", [(1, ":t"), (1, "x")]),
        ("INSERT INTO item VALUES (:number, :'word');", [(7, "given")]),
        (
            "\\set both 'INSERT INTO item VALUES (1, null); INSERT INTO item VALUES (2, null)'\n:both;",
            [(1, None), (2, None)],
        ),
        ("\\unset number\nINSERT INTO item VALUES (:{?number}::int);", [(0, None)]),
        ("INSERT INTO item VALUES (1, :'DBNAME');", [(1, "{database}")]),
        ("INSERT INTO item VALUES (1,\n\\set w 'later'\n:'w'\n);", [(1, "later")]),
        ("INSERT INTO item VALUES (1, 'a')\\; INSERT INTO item VALUES (2, 'b');", [(1, "a"), (2, "b")]),
        ("INSERT INTO item VALUES (1, 'a')\\g\nINSERT INTO item VALUES (2, 'b')\n\\g\n", [(1, "a"), (2, "b")]),
        ("INSERT INTO item VALUES (1, 'a');\n\\g\n", [(1, "a"), (1, "a")]),
        ("INSERT INTO item VALUES (1, 'a')\n\\r\nINSERT INTO item VALUES (2, 'b');", [(2, "b")]),
        ("INSERT INTO item VALUES (1, 'a');\n\\q\nINSERT INTO item VALUES (2, 'b');", [(1, "a")]),
        ("\\echo 'quoted' \\\\ INSERT INTO item VALUES (1, 'a');", [(1, "a")]),
    ],
)
async def test_variables_and_what_sends_a_statement(
    connection: asyncpg.Connection,
    database: str,
    database_url: str,
    write: Write,
    script: str,
    expected: list[tuple[int, str | None]],
) -> None:
    await initialize(database_url, write(ITEM + script), variables={"number": "7", "word": "given"})
    shown = [(number, word.format(database=database) if word else None) for number, word in expected]
    assert await items(connection) == shown


async def test_a_value_that_does_not_fit_is_an_error_at_its_reference(database_url: str, write: Write) -> None:
    path = write(ITEM + "INSERT INTO item\n  VALUES (:n);\n")
    with pytest.raises(StatementError) as caught:
        await initialize(database_url, path, variables={"n": "1 + nonsense"})
    assert f"{path}:3:11\n  3 |   VALUES (:n);\n    |           ^" in caught.value.message


async def test_a_value_that_leaves_a_quote_open_is_found_before_anything_runs(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    with pytest.raises(ScriptError, match="quoted string that is never closed"):
        await initialize(database_url, write(ITEM + "SELECT :v;"), variables={"v": "'"})
    assert await tables(connection) == []


async def test_variables_are_given_on_the_command_line(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    path = write(ITEM + "INSERT INTO item VALUES (:n, :'w');")
    arguments = ["-v", "n=3", "--path", str(path), "--variable", "w=a=b"]
    done = run_dbinit("up", *arguments, env={"DATABASE_URL": database_url})
    assert done.code == 0, done.err
    assert await items(connection) == [(3, "a=b")]


def test_a_value_on_the_command_line_is_not_repeated(database_url: str, write: Write) -> None:
    path = str(write("SELECT :'secret' FROM nowhere;"))
    for wrong in (["-v", "=Zqcanaryq7"], ["-v", "a b=Zqcanaryq7"], ["-v", "secret=Zqcanaryq7"]):
        done = run_dbinit("up", "--path", path, *wrong, env={"DATABASE_URL": database_url})
        assert done.code in {1, 2}
        assert "Zqcanaryq7" not in done.said


# \if ----------------------------------------------------------------------------------------------

BRANCHES = """\
\\if :{?fancy}
  CREATE TABLE fancy ();
\\elif :old
  CREATE TABLE old ();
\\else
  CREATE TABLE plain ();
\\endif
"""


@pytest.mark.parametrize(
    ("variables", "table"),
    [({"fancy": "", "old": "off"}, "fancy"), ({"old": "yes"}, "old"), ({"old": "0"}, "plain")],
)
async def test_one_branch_is_taken(
    connection: asyncpg.Connection, database_url: str, write: Write, variables: dict[str, str], table: str
) -> None:
    report = await initialize(database_url, write(BRANCHES), variables=variables)
    assert await tables(connection) == [table]
    assert report.statements == 1


async def test_an_expression_that_is_neither_true_nor_false(database_url: str, write: Write) -> None:
    with pytest.raises(ScriptError, match="neither true nor false"):
        await initialize(database_url, write(BRANCHES), variables={"old": "perhaps"})


async def test_data_in_a_branch_that_is_not_taken_are_passed_over(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    text = ITEM + "\\if no\nCOPY item FROM stdin;\n1\t\\endif\n\\.\n\\endif\nINSERT INTO item VALUES (2, 'b');"
    await initialize(database_url, write(text))
    assert await items(connection) == [(2, "b")]


# \gset and \gexec ---------------------------------------------------------------------------------

ASKS = """\
SELECT to_regclass('item') IS NULL AS missing, NULL AS nothing, 'a "b",' || E'\\n' AS odd \\gset is_
\\if :is_missing
CREATE TABLE item (id int, word text);
\\else
CREATE TABLE other ();
\\endif
INSERT INTO item VALUES (:{?is_nothing}::int, :'is_odd') RETURNING id + 40 AS next
\\gset
INSERT INTO item VALUES (:next, null);
"""


async def test_results_become_variables_and_decide(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    report = await initialize(database_url, write(ASKS))
    assert await items(connection) == [(0, 'a "b",\n'), (40, None)]
    assert report.statements == 4
    assert await connection.fetchval("SELECT statements FROM dbinit_history") == 4


@pytest.mark.parametrize(
    ("query", "found"),
    [("SELECT 1 WHERE false", "no row"), ("VALUES (1), (2)", "more than one row")],
)
async def test_a_result_that_is_not_one_row(
    connection: asyncpg.Connection, database_url: str, write: Write, query: str, found: str
) -> None:
    path = write(f"{ITEM}{query}\n  \\gset\n")
    with pytest.raises(ScriptError, match=f"returned {found}") as caught:
        await initialize(database_url, path)
    assert f"{path}:2:1" in caught.value.message
    assert await tables(connection) == []


@pytest.mark.parametrize(
    "query",
    [
        "SHOW search_path",
        "TABLE item",
        "WITH x AS (SELECT 1 AS a) SELECT a FROM x -- c",
        "(SELECT 2 AS a)",
    ],
)
async def test_what_returns_rows_can_be_asked(database_url: str, write: Write, query: str) -> None:
    await initialize(database_url, write(f"{ITEM}INSERT INTO item VALUES (1, 'a');\n{query}\n\\gset\nSELECT 1;"))


async def test_what_returns_no_rows_is_just_run(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write(ITEM + "INSERT INTO item VALUES (1, 'a') \\gset\nCREATE TABLE b () \\gexec\n"))
    assert (await items(connection), await tables(connection)) == ([(1, "a")], ["b", "item"])


async def test_an_error_in_a_query_whose_result_is_wanted_has_its_place(database_url: str, write: Write) -> None:
    path = write("SELECT 1,\n  nonsense AS a\n\\gset\n")
    with pytest.raises(StatementError) as caught:
        await initialize(database_url, path)
    assert (caught.value.line, caught.value.column) == (2, 3)


async def test_what_a_query_returns_is_run(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    text = (
        "SELECT format('CREATE TABLE %I (id int)', name), NULL, 'INSERT INTO ' || name || ' VALUES (1); SELECT 1'"
        " FROM unnest(ARRAY['a', 'b']) name \\gexec\nINSERT INTO a SELECT id + 1 FROM b;"
    )
    report = await initialize(database_url, write(text))
    assert report.statements == 2
    assert [row["id"] for row in await connection.fetch("SELECT id FROM a ORDER BY id")] == [1, 2]


async def test_an_error_in_what_a_query_returned_shows_it(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    path = write(ITEM + "SELECT 'SELECT 1', 'SELECT nonsense'\n\\gexec\n")
    with pytest.raises(StatementError) as caught:
        await initialize(database_url, path)
    assert f"{path}:2, \\gexec 2:1:8\n  1 | SELECT nonsense\n" in caught.value.message
    assert await tables(connection) == []


@pytest.mark.parametrize(
    ("generated", "reason"),
    [
        ("COMMIT", "begin or end transactions"),
        ("COPY item FROM stdin", "COPY from stdin"),
        ("SELECT 1; BEGIN", "begin or end"),
    ],
)
async def test_what_a_query_must_not_return(
    connection: asyncpg.Connection, database_url: str, write: Write, generated: str, reason: str
) -> None:
    with pytest.raises(ScriptError, match=reason):
        await initialize(database_url, write(f"{ITEM}SELECT '{generated}'\n\\gexec\n"))
    assert await tables(connection) == []


async def test_a_database_is_created_if_it_is_missing(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dbinit")
    other = f"{database}_other"
    missing = f"WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{other}')"
    query = f"SELECT 'CREATE DATABASE {other}' {missing}\\gexec\n"
    try:
        assert (await initialize(database_url, write(query))).outcome is Outcome.APPLIED
        assert "not in one transaction, because of line 1" in caplog.text
        assert (await initialize(database_url, write(query + "SELECT 1;"))).outcome is Outcome.APPLIED
        assert await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", other) == 1
    finally:
        await connection.execute(f"DROP DATABASE IF EXISTS {other}")


async def test_a_resumed_script_remembers_the_results_that_it_goes_by(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    script = (
        "SELECT to_regclass('item') IS NULL AS missing \\gset\n"
        "\\if :missing\nCREATE TABLE item (id int, word text);\n\\endif\n"
        "BEGIN;\nINSERT INTO item VALUES (1, :'missing');\nCOMMIT;\n{last}\n"
    )
    with pytest.raises(StatementError) as caught:
        await initialize(database_url, write(script.format(last="SELECT 1/0;")))
    assert "The first 5 of" in caught.value.outcome

    await initialize(database_url, write(script.format(last="INSERT INTO item VALUES (2, :'missing');")))
    assert await items(connection) == [(1, "t"), (2, "t")]


# Files --------------------------------------------------------------------------------------------


async def test_files_are_included_from_where_the_script_lies(
    connection: asyncpg.Connection, database_url: str, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.sql").write_text("CREATE TABLE a ();\n\\ir b.sql\n\\set from_a 5\n")
    (tmp_path / "parts" / "b.sql").write_text("CREATE TABLE b ()")
    path = write(f"\\ir parts/a.sql\n\\i {tmp_path}/parts/../parts/b2.sql\nCREATE TABLE c AS SELECT :from_a AS x;")
    (tmp_path / "parts" / "b2.sql").write_text("CREATE TABLE b2 ();")
    await initialize(database_url, path)
    assert await tables(connection) == ["a", "b", "b2", "c"]


async def test_an_edited_include_is_an_edited_script(
    connection: asyncpg.Connection, database_url: str, write: Write, tmp_path: Path
) -> None:
    part = tmp_path / "part.sql"
    part.write_text("CREATE TABLE IF NOT EXISTS a ();")
    path = write("\\ir part.sql\n")
    assert (await initialize(database_url, path)).outcome is Outcome.APPLIED
    assert (await initialize(database_url, path)).outcome is Outcome.CURRENT
    part.write_text("CREATE TABLE IF NOT EXISTS b ();")
    assert (await initialize(database_url, path)).outcome is Outcome.APPLIED
    assert await tables(connection) == ["a", "b"]


async def test_an_error_in_an_included_file_names_that_file(database_url: str, write: Write, tmp_path: Path) -> None:
    part = tmp_path / "part.sql"
    part.write_text("SELECT 1;\nSELECT nonsense;\n")
    with pytest.raises(StatementError) as caught:
        await initialize(database_url, write("SELECT 1;\n\\ir part.sql\n"))
    assert f"{part}:2:8" in caught.value.message
    assert f"included at {tmp_path / 'init-db.sql'}:2\n" in caught.value.message


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("\\ir ../outside.sql", "is not in the folder"),
        ("\\i /etc/passwd", "is not in the folder /"),
        ("\\ir link.sql", "is not in the folder"),
        ("\\copy item from '/etc/passwd'", "is not in the folder /"),
        ("\\ir none.sql", "there is no file"),
        ("\\ir init-db.sql", "includes itself"),
        ("\\ir loop.sql", "includes itself"),
        ("\\ir .", "is a folder"),
        ("\\copy item to 'x'", "does not run \\\\copy ... to"),
        ("\\copy item from program 'ls'", "starts a program"),
        ("\\! ls", "does not run the psql command"),
        ("\\nonsense", "there is no psql command"),
        ("\\connect other", "another database, user or server"),
        ("\\encoding klingon", "does not know the encoding klingon"),
        ("\\unrestrict key", "not the one of the"),
        ("\\restrict key \\\\ \\set x 1", "is not allowed here"),
        ("\\if yes\nSELECT 1;", "has no \\\\endif"),
        ("\\if no \\\\ \\nonsense\n\\endif", "there is no psql command"),
    ],
)
async def test_what_cannot_be_done_is_found_before_anything_runs(
    connection: asyncpg.Connection, database_url: str, write: Write, tmp_path: Path, command: str, reason: str
) -> None:
    tmp_path.with_name("outside.sql").write_text("SELECT 1;")
    (tmp_path / "link.sql").symlink_to("/etc/passwd")
    (tmp_path / "loop.sql").write_text("\\ir init-db.sql\n")
    path = write(f"{ITEM}{command}\n")
    with pytest.raises((ScriptError, SourceError), match=reason) as caught:
        await initialize(database_url, path)
    assert f"{path}:2" in caught.value.message or "loop.sql:1" in caught.value.message
    assert await tables(connection) == []


async def test_a_wider_root_may_be_allowed(
    connection: asyncpg.Connection, database_url: str, write: Write, tmp_path: Path
) -> None:
    outside = tmp_path.with_name(f"{tmp_path.name}-outside.sql")
    outside.write_text("CREATE TABLE outside ();")
    await initialize(database_url, write(f"\\ir ../{outside.name}\n"), include_root=tmp_path.parent)
    assert await tables(connection) == ["outside"]


async def test_a_file_that_only_a_result_names_is_refused(database_url: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / "part.sql").write_text("SELECT 1;")
    with pytest.raises(SourceError, match="was not found when the script was checked"):
        await initialize(database_url, write("SELECT 'part.sql' AS f \\gset\n\\if :{?f}\n\\ir :f\n\\endif\n"))


async def test_configmaps_are_layers_of_links(
    connection: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "..2026_01_01").mkdir()
    (tmp_path / "..2026_01_01" / "init-db.sql").write_text("\\ir part.sql\n")
    (tmp_path / "..2026_01_01" / "part.sql").write_text("CREATE TABLE part ();")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    for name in ("init-db.sql", "part.sql"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    await initialize(database_url, tmp_path / "init-db.sql")
    assert await tables(connection) == ["part"]


async def test_data_are_copied_from_a_file(
    connection: asyncpg.Connection, database_url: str, write: Write, tmp_path: Path
) -> None:
    data = tmp_path / "it's.csv"
    data.write_text("id,word\n1,é\n2,\n")
    quoted = str(data).replace("'", "''")
    path = write(f"{ITEM}\\copy item from '{quoted}' with (format csv, header)\n\\copy item (id) from stdin\n3\n\\.\n")
    await initialize(database_url, path)
    assert await items(connection) == [(1, "é"), (2, None), (3, None)]
    assert (await initialize(database_url, path)).outcome is Outcome.CURRENT
    data.write_text("id,word\n")
    await connection.execute("DROP TABLE item")
    assert (await initialize(database_url, path)).outcome is Outcome.APPLIED
    assert await items(connection) == [(3, None)]


async def test_an_error_in_the_data_of_a_file_names_its_line(database_url: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("1\ta\nx\tb\n")
    path = write(f"{ITEM}\\copy item from '{tmp_path}/data.txt'\n")
    with pytest.raises(StatementError, match="invalid input syntax") as caught:
        await initialize(database_url, path)
    assert f"{tmp_path}/data.txt:2\n  in the data of the COPY at {path}:2" in caught.value.message


# Sessions and encodings ---------------------------------------------------------------------------


async def test_a_connect_to_the_same_database_is_passed_over(database: str, database_url: str, write: Write) -> None:
    await initialize(
        database_url, write(f"\\connect {database}\n\\c - postgres\n\\c\n\\connect dbname={database}\nSELECT 1;")
    )


@pytest.mark.parametrize(
    "head",
    [
        "SET client_encoding = 'LATIN1';",
        "\\encoding latin1",
        "SET NAMES 'ISO_8859_1';",
        "SELECT set_config('client_encoding', 'latin1', false);",
    ],
)
async def test_a_script_may_be_in_another_encoding(
    connection: asyncpg.Connection, database_url: str, write: Write, head: str
) -> None:
    text = f"{ITEM}{head}\n-- é\nINSERT INTO item VALUES (1, 'é');\nCOPY item FROM stdin;\n2\tü\n\\.\n"
    back = "RESET client_encoding;\nINSERT INTO item VALUES (3, '€');\n"
    await initialize(database_url, write(text.encode("latin-1") + back.encode()))
    assert await items(connection) == [(1, "é"), (2, "ü"), (3, "€")]


async def test_what_is_no_text_in_its_encoding_names_the_line(database_url: str, write: Write) -> None:
    path = write(b"SELECT 1; -- \xe9\nSELECT '\xe9';")
    with pytest.raises(SourceError, match=":2: byte 0xe9 there is not UTF-8") as caught:
        await initialize(database_url, path)
    assert "client_encoding" in caught.value.advice


# What it says -------------------------------------------------------------------------------------


async def test_what_a_script_says_is_logged_in_its_place(
    database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dbinit")
    notice = "DO $$ BEGIN RAISE NOTICE 'between'; END $$;\n"
    path = write(f"SELECT 1;\n\\echo one :n\n{notice}\\qecho two\nSELECT 2;\n\\warn three\n\\set ON_ERROR_STOP off\n")
    await initialize(database_url, path, variables={"n": "5"})
    said = [(record.levelno, record.message) for record in caplog.records if str(path) in record.message]
    assert said[1:-1] == [
        (logging.INFO, f"{path}:2: one 5"),
        (logging.INFO, f"{path}:3: NOTICE: between"),
        (logging.INFO, f"{path}:4: two"),
        (logging.WARNING, f"{path}:6: three"),
        (logging.INFO, f"{path}:7: ON_ERROR_STOP is always on, as a script stops at its first error"),
    ]


async def test_variables_are_not_shown_by_the_options(database_url: str, write: Write) -> None:
    shown = repr(options(database_url, write("SELECT 1;"), variables={"secret": "Zqcanaryq7"}))
    assert "Zqcanaryq7" not in shown
    assert "secret" not in repr(Initializer(options(database_url, write("SELECT 1;"), variables={"secret": "x"})))


def test_splitting_shows_all_branches_and_included_files(write: Write, tmp_path: Path) -> None:
    (tmp_path / "part.sql").write_text("SELECT :x;")
    path = write("SELECT 1 AS a \\gset\n\\if :a\n\\ir part.sql\n\\else\nSELECT 3;\n\\endif\n")
    done = run_dbinit("split", str(path), "-v", "x=2")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"{path}:1:1: SELECT 1 AS a",
        f"{tmp_path}/part.sql:1:1: SELECT 2",
        f"{path}:5:1: SELECT 3",
    ]
