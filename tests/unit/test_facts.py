import pytest

from dbinit.sql.facts import (
    Footing,
    chains,
    changes_reading,
    copy_quote,
    footing,
    generates_alone,
    leading_words,
    needs_session,
    reads_copy_data,
    refusal,
    sets_standard_strings,
    uses_savepoints,
)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("", []),
        ("(SELECT 1)", []),
        ("select 1", ["SELECT"]),
        ("create or replace view v as", ["CREATE", "OR", "REPLACE", "VIEW", "V", "AS"]),
        ("COPY\n  t (a)", ["COPY", "T"]),
        ("ROLLBACK/* a */TO -- b\nx", ["ROLLBACK", "TO", "X"]),
        ("BEGIN /* outer /* inner */ outer */ WORK", ["BEGIN", "WORK"]),
        ("BEGIN /* never closed", ["BEGIN"]),
        ('PREPARE "p" AS', ["PREPARE"]),
        ("a_1$b.c", ["A_1$B"]),
    ],
)
def test_the_words_a_statement_begins_with(statement: str, words: list[str]) -> None:
    assert list(leading_words(statement)) == words


@pytest.mark.parametrize(
    "statement", ["PREPARE TRANSACTION 'x'", "commit prepared 'x'", "ROLLBACK /* a */ PREPARED 'x'"]
)
def test_two_phases_are_refused(statement: str) -> None:
    assert "two-phase" in refusal(statement)


def test_what_would_take_the_session_from_us_is_refused() -> None:
    assert "use RESET ALL" in refusal("discard /* it */ all")
    assert not refusal("DISCARD TEMP")


@pytest.mark.parametrize(
    "statement",
    [
        "COPY t TO STDOUT",
        "COPY (SELECT 1) TO\n STDOUT",
        "copy t to/* us */stdout",
        "COPY (SELECT * FROM stdin) TO stdout",
    ],
)
def test_what_writes_to_the_client_is_refused(statement: str) -> None:
    assert "COPY to stdout" in refusal(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "SELECT 1",
        "SAVEPOINT a",
        "ROLLBACK TO SAVEPOINT a",
        "PREPARE p AS SELECT 1",
        "PREPARE p (int) AS SELECT 1",
        'PREPARE "P" AS SELECT 1',
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "COPY t FROM STDIN",
        "COPY t FROM STDIN WHERE a = 'to stdout'",
        "COPY t FROM '/tmp/stdin.csv'",
        "COPY t TO PROGRAM 'cat'",
        "CREATE TABLE copy_to_stdout (a text)",
        "INSERT INTO t VALUES ('COPY t TO STDOUT')",
        "DO $$ BEGIN COMMIT; END $$",
        "ENDPOINT",
    ],
)
def test_what_can_run_from_a_script_is_not_refused(statement: str) -> None:
    assert refusal(statement) == ""


# --- transactions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("CREATE /* soon */ INDEX CONCURRENTLY i ON t (a)", Footing.ALONE),
        ("create unique\n-- soon\nindex concurrently i on t (a)", Footing.ALONE),
        ("CREATE INDEX concurrently_made ON t (a)", Footing.PLAIN),
        ('ALTER TABLE IF EXISTS ONLY a."b c" * DETACH PARTITION "d"CONCURRENTLY', Footing.ALONE),
        ("ALTER TABLE a DETACH PARTITION b -- soon\n.c /* at last */ CONCURRENTLY", Footing.ALONE),
        ("ALTER TABLE a DETACH PARTITION b FINALIZE", Footing.PLAIN),
        ("ALTER TABLE a ADD concurrently int", Footing.PLAIN),
        ("ALTER SUBSCRIPTION s REFRESH PUBLICATION", Footing.ALONE),
        ("ALTER SUBSCRIPTION s ADD PUBLICATION p", Footing.ALONE),
        ("ALTER SUBSCRIPTION s SET PUBLICATION p WITH (refresh = false)", Footing.PLAIN),
        ("ALTER SUBSCRIPTION s SET (failover = true)", Footing.ALONE),
        ("ALTER SUBSCRIPTION s SET (binary = true)", Footing.PLAIN),
        ("DO $$ BEGIN IF true THEN COMMIT; END IF; END $$", Footing.ALONE),
        ("DO LANGUAGE plpgsql 'BEGIN ROLLBACK AND NO CHAIN; END'", Footing.ALONE),
        ("DO $$ BEGIN -- and then commit;\nNULL; END $$", Footing.PLAIN),
        ("DO $$ BEGIN RAISE NOTICE 'rollback;'; END $$", Footing.PLAIN),
        ("DO $$ BEGIN x := 'never closed; COMMIT; END $$", Footing.PLAIN),
    ],
)
def test_how_a_statement_stands_to_transactions(statement: str, expected: Footing) -> None:
    assert footing(statement) is expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("COMMIT AND CHAIN", True),
        ("ROLLBACK WORK AND /* at once */ CHAIN", True),
        ("COMMIT AND NO CHAIN", False),
        ("COMMIT AND NO  CHAIN", False),
        ("COMMIT AND NO /* really */ CHAIN", False),
        ("COMMIT", False),
    ],
)
def test_what_begins_another_transaction_at_once(statement: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    assert chains(statement) is expected


def test_a_dollar_sign_in_a_name_is_no_literal() -> None:
    assert not generates_alone("SELECT 'SELECT 1' AS a$b")


# --- COPY -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "COPY t FROM STDIN",
        "copy t (a, b) from stdin with (format csv)",
        "COPY t FROM/* the client */STDIN",
        "COPY t FROM -- the client\n STDIN",
        'COPY "from" . "a ""b" ("c)", d) FROM STDIN',
        'COPY"t"FROM STDIN',
        "COPY\n public.t(a)FROM\tstdin",
        "COPY BINARY t FROM STDIN",
        "COPY größe FROM STDIN",
        "COPY t FROM STDOUT",  # the grammar does not care which
    ],
)
def test_a_copy_that_reads_what_follows_it(statement: str) -> None:
    assert reads_copy_data(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "COPY t TO STDOUT",
        "COPY t FROM '/tmp/stdin'",
        "COPY t FROM PROGRAM 'from stdin'",
        "COPY t FROM 'a' WHERE b = 'from stdin'",
        "COPY (SELECT * FROM stdin) TO '/tmp/x'",
        "COPY (SELECT ' FROM STDIN') TO '/tmp/x'",
        "COPY t FROM stdinn",
        "SELECT 'COPY t FROM STDIN'",
        "COPYING FROM STDIN",
        "CREATE TABLE copy AS SELECT * FROM stdin",
    ],
)
def test_one_that_does_not(statement: str) -> None:
    assert not reads_copy_data(statement)


@pytest.mark.parametrize(
    ("options", "quote"),
    [
        ("", ""),
        ("WITH (FORMAT text)", ""),
        ("(FORMAT csv)", '"'),
        ("WITH (FORMAT 'csv', HEADER)", '"'),
        ('(format "csv")', '"'),
        ("CSV", '"'),
        ("WITH csv HEADER", '"'),
        ("DELIMITER ',' CSV QUOTE AS '|'", "|"),
        ("csv quote '|' escape '|'", "|"),
        ("(QUOTE '~', FORMAT csv)", "~"),
        ("(FORMAT csv, QUOTE /* it */ '''')", "'"),
        ("(FORMAT csv, QUOTE E'\\'')", "'"),
        ("(FORMAT csv, QUOTE E'\\b')", "\b"),
        ("(FORMAT csv, QUOTE e'\\x01', DELIMITER E'\\x02')", "\x01"),
        ("(FORMAT csv, QUOTE E'\\001')", "\x01"),
        ("(FORMAT csv, QUOTE $$|$$)", "|"),
        ("(FORMAT csv, QUOTE $a$|$a$)", "|"),
        ("(FORMAT csv, ESCAPE '\\')", '"\\'),
        ("(FORMAT csv, ESCAPE E'\\\\', QUOTE '|')", "|\\"),
        ("(FORMAT csv, ESCAPE '\"')", '"'),
        ("(DELIMITER ',', NULL 'csv')", ""),
        ("(FORMAT text) WHERE a = 'csv' AND csv", ""),
        ("(FORMAT csv, NULL 'quote', FORCE_QUOTE (a))", '"'),
        ("(FORMAT csv) -- QUOTE '|'", '"'),
    ],
)
def test_what_quotes_in_the_data(options: str, quote: str) -> None:
    assert copy_quote(f"COPY csv (quote) FROM stdin {options}") == quote


# --- what changes how the next statement is read or run ---------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("SET standard_conforming_strings = off", False),
        ("set session Standard_Conforming_Strings to false", False),
        ("SET LOCAL standard_conforming_strings TO 'off'", False),
        ("SET standard_conforming_strings=0", False),
        ("SET/**/standard_conforming_strings = n -- no", False),
        ("SET standard_conforming_strings = on", True),
        ("SET standard_conforming_strings TO DEFAULT", True),
        ("SET standard_conforming_strings = tr", True),
        ("RESET standard_conforming_strings", True),
        ("reset all", True),
        ("RESET search_path", None),
        ("SET standard_conforming_strings = maybe", None),
        ("SET standard_conforming_strings_too = off", None),
        ("SHOW standard_conforming_strings", None),
        ("SELECT 'SET standard_conforming_strings = off'", None),
    ],
)
def test_what_sets_how_strings_are_read(statement: str, value: bool | None) -> None:  # noqa: FBT001 - a table's column
    assert sets_standard_strings(statement) is value
    assert changes_reading(statement) or value is None


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SET backslash_quote = on",
        "SET NAMES 'UTF8'",
        "RESET  ALL",
        "DISCARD ALL",
    ],
)
def test_what_may_change_how_the_server_reads(statement: str) -> None:
    assert changes_reading(statement)


@pytest.mark.parametrize("statement", ["", "SELECT 1", "SET search_path = ''", "RESET search_path"])
def test_what_does_not(statement: str) -> None:
    assert not changes_reading(statement)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("SAVEPOINT a", True),
        ("/* a */ release a", True),
        ("ROLLBACK TO a", True),
        ("rollback work to savepoint a", True),
        ("SELECT 'SAVEPOINT a'", False),
        ("CREATE TABLE savepoint ()", False),
        ("", False),
    ],
)
def test_what_uses_savepoints(statement: str, found: bool) -> None:  # noqa: FBT001 - a table's column
    assert uses_savepoints(statement) is found


@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path = x",
        "set session role y",
        "SELECT set_config('search_path', '', false)",
        "CREATE TEMP TABLE t ()",
        "create or replace local temporary view v as select 1",
        "PREPARE p AS SELECT 1",
        "LISTEN l",
        "LOAD 'auto_explain'",
    ],
)
def test_some_statements_are_for_their_session(statement: str) -> None:
    assert needs_session(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL search_path = x",
        "RESET ALL",
        "CREATE TABLE temp ()",
        "CREATE TEMPORARY TABLE t () ON COMMIT DROP",
        "CREATE TABLE t ()",
        "SELECT 1",
    ],
)
def test_others_are_not(statement: str) -> None:
    assert not needs_session(statement)
