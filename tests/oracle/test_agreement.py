"""The same scripts go through psql and through dbinit: both send the same, character by character."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbinit.embedded import installed_binaries
from tests.kit.databases import RICH
from tests.kit.oracle import Message, Oracle
from tests.kit.reading import sent
from tests.kit.server import Server
from tests.oracle.agreement import check, disagreement
from tests.oracle.grammar import DECISIONS, script

pytestmark = pytest.mark.oracle

SHIPPED = sorted((installed_binaries().parent / "share").rglob("*.sql"))
DUMPS = {
    "plain": [],
    "inserts": ["--inserts", "--rows-per-insert=3"],
    "clean": ["--clean", "--create"],
    "no dollar quotes": ["--disable-dollar-quoting", "--column-inserts"],
    "quoted identifiers": ["--quote-all-identifiers", "--section=pre-data"],
}


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle(installed_binaries()) as started:
        yield started


# --- what others wrote ------------------------------------------------------------------------------------------------


def test_all_that_postgresql_ships(oracle: Oracle) -> None:
    for path in SHIPPED:
        text = path.read_text(encoding="utf-8")
        # Scripts of extensions begin with a command that ends psql, so that nobody runs them by hand.
        check(oracle, re.sub(r"^\\echo .*\\quit$", "", text, flags=re.MULTILINE))
    assert len(SHIPPED) > 150


@pytest.mark.parametrize("options", DUMPS.values(), ids=DUMPS)
def test_dumps_of_a_rich_database(options: list[str], oracle: Oracle, rich: str, server: Server) -> None:
    dump = server.whole_dump(rich, *options)

    check(oracle, dump)

    assert len(dump) > 20_000


def test_the_script_of_the_rich_database(oracle: Oracle) -> None:
    check(oracle, RICH.read_text(encoding="utf-8"), chunk=100)


# --- what nobody would write ------------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.binary(min_size=DECISIONS, max_size=DECISIONS).map(script), st.integers(1, 60))
def test_scripts_of_the_grammar(oracle: Oracle, text: str, chunk: int) -> None:
    check(oracle, text, chunk)


@pytest.mark.parametrize(
    "text",
    [
        # What was found by the grammar once.
        "\ufeffSELECT 1;\n\ufeff\\:a;",
        "\\;SELECT 1\\;\\;;",
        # Several statements in a message, several data on a line, data up to the end of the file.
        "SELECT 1\\; SELECT ';'\\;SELECT 2;",
        "COPY t FROM stdin; SELECT 1; COPY t FROM stdin; SELECT 2\n1\n\\.\n2\n\\.\n;",
        "COPY t FROM stdin;\n\\.x\n \\.\n\\\\.",
        # Commands within a statement, variables, branches.
        "SELECT 1 \\echo ; \\\\ + 2\n\\x\n, 3;",
        "SELECT (1; \\echo )\n2);",
        "\\set x 'a;b'\n\\set y 1\nSELECT :x, :'x', :\"x\", :{?x}, :{?z}, ':x', $$:x$$, a[1:y], 1::int, \\:x;",
        "\\set x 'SELECT 1; SELECT'\n:x 2;",
        "\\set x 'it''s'\n\\set y :x ;\nSELECT :'y';",
        "\\if false\nSELECT 1; SELECT ';\n\\else';\n\\elif yes\nSELECT 2;\n\\else\nSELECT 3;\n\\endif\nSELECT 4;",
        "SELECT 1\n\\if 0\n+ 2\n\\else\n+ 3\n\\endif\n;",
        "SELECT 1 \\g\nSELECT 2 \\gx\nSELECT 3\n\\r\nSELECT 4;\\q\nSELECT 5;",
        "SET standard_conforming_strings = off; SELECT 'a\\';\nSELECT '\\';'; RESET ALL; SELECT '\\';';\nSELECT '\\';",
    ],
)
@pytest.mark.parametrize("chunk", [1, 1000])
def test_chosen_scripts(text: str, chunk: int, oracle: Oracle) -> None:
    check(oracle, text, chunk)


# --- where they differ ------------------------------------------------------------------------------------------------

END = ";\nSELECT 2;"


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        # psql swallows the rest of the file.
        (f"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT x.begin; END{END}", 2),
        (f"CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1'{END}", 2),
        # psql cuts too early.
        (f"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT x.end; SELECT 1; END{END}", 2),
        (f"CREATE SCHEMA s CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 1; END{END}", 2),
        (f"SELECT E'a'\n'b\\'c;d'{END}", 2),
        # psql stops reading.
        (f"COPY t FROM stdin;\n\\.\n;\nSELECT 1{END}", 3),
    ],
)
def test_where_psql_does_not_do_what_the_sql_means(text: str, statements: int, oracle: Oracle) -> None:
    assert disagreement(oracle, text)
    assert len(sent(text).messages) == statements


def test_csv_data_may_hold_the_line_that_ends_data(oracle: Oracle) -> None:
    text = 'COPY t FROM stdin CSV;\n"a\n\\.\nb"\n\\.\nSELECT 1;'
    assert oracle.sent(text)[0].data == '"a\n'
    assert sent(text).messages == [Message("COPY t FROM stdin CSV", '"a\n\\.\nb"\n'), Message("SELECT 1")]


def test_the_line_that_ends_data_may_be_the_last_of_the_file(oracle: Oracle) -> None:
    text = "COPY t FROM stdin;\n1\n\\."
    assert oracle.sent(text)[0].data == "1\n\\.", "the server takes it for the end in text, and for data in CSV"
    assert sent(text).messages == [Message("COPY t FROM stdin", "1\n")]


# --- the oracle itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("psql", "dbinit"),
    [
        ("SELECT 1;", "SELECT 2"),
        ("SELECT 'a\n\nb';", "SELECT 'a\nb'"),
        ("SELECT 'a -- b';", "SELECT 'a"),
        ("SELECT 'a /* b */';", "SELECT 'a"),
        ("SELECT $$a -- b$$;", "SELECT $$a"),
        ("SELECT 1 ; SELECT 2;", "SELECT 1"),
        ("SELECT ' a';", "SELECT 'a'"),
    ],
)
def test_a_difference_is_noticed(psql: str, dbinit: str, oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = sent(dbinit)._replace(messages=[Message(dbinit)], unterminated=False)
    monkeypatch.setattr("tests.oracle.agreement.sent", lambda *_: reading)
    assert disagreement(oracle, psql)


def test_a_script_leaves_nothing_to_the_next(oracle: Oracle) -> None:
    for text in (
        "SELECT 'open",
        "\\set x 1",
        "SET standard_conforming_strings = off;",
        "\\set ON_ERROR_STOP on\n\\bad",
    ):
        oracle.sent(text)
        assert oracle.sent("SELECT :x, '\\';") == [Message("SELECT :x, '\\';")]
