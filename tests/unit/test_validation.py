"""What is found before a script is run, and where: by PostgreSQL's grammar alone."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dbinit.errors import ExitCode, SyntaxProblem, ValidationError
from dbinit.grammar import available, grammar_version
from dbinit.sql.context import Context
from dbinit.sql.reader import Reader
from dbinit.sql.statement import Statement
from dbinit.validation import validate
from tests.kit.scripts import script_of

ROOT = Path(__file__).parents[2]


def read(text: str, path: str = "init-db.sql", **variables: str) -> list[Statement]:
    return list(Reader(script_of(text, path=path), Context(variables)))


def problems(text: str, **variables: str) -> list[SyntaxProblem]:
    return validate(read(text, **variables), grammar_version())


def place(text: str) -> tuple[int, int, str]:
    """Return where the one error of a text is, and what it is."""
    ((_, line, column, message, _),) = problems(text)
    return line, column, message


def test_the_grammar_is_there() -> None:
    assert available()
    assert 180_000 <= grammar_version() < 190_000


def test_all_errors_of_all_files_are_reported_at_once() -> None:
    statements = [
        *read("SELECT 1;\nSELEC 2;\nSELECT 3 FROM;\n", "a.sql"),
        *read("SELECT 1;\n\n  CREATE TABEL t ();", "b.sql"),
    ]
    found = validate(statements, grammar_version())
    assert [tuple(problem[:4]) for problem in found] == [
        ("a.sql", 2, 1, 'syntax error at or near "SELEC"'),
        ("a.sql", 3, 13, "syntax error at end of input"),
        ("b.sql", 3, 10, 'syntax error at or near "TABEL"'),
    ]
    error = ValidationError(found)
    assert error.problems == tuple(found)
    assert error.exit_code is ExitCode.FAILED
    assert str(error).splitlines() == [
        "3 statements have errors of syntax:",
        "a.sql:2:1",
        "  2 | SELEC 2;",
        "    | ^",
        'ERROR: syntax error at or near "SELEC"',
        "a.sql:3:13",
        "  3 | SELECT 3 FROM;",
        "    |             ^",
        "ERROR: syntax error at end of input",
        "b.sql:3:10",
        "  3 |   CREATE TABEL t ();",
        "    |          ^",
        'ERROR: syntax error at or near "TABEL"',
        "Nothing was applied.",
        "What to do: correct the SQL; PostgreSQL refuses it",
    ]


def test_columns_are_characters() -> None:
    assert place("SELECT 'ü', '🐘', \"é\" FROM t t t;") == (1, 31, 'syntax error at or near "t"')


def test_a_place_is_where_the_text_came_from() -> None:
    ((path, line, column, _, _),) = problems("SELECT :a,\n  :a FORM x;", a="'0123456789'")
    assert (path, line, column) == ("init-db.sql", 2, 11)


BODY = "CREATE FUNCTION f(n int) RETURNS int LANGUAGE plpgsql AS $$\nDECLARE\n  x int;\nBEGIN\n  x := n;\n{}\nEND;\n$$;"


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("  retrun x;", 3, 'syntax error at or near "retrun"'),
        ("  RETURN x +;", 13, "syntax error at end of input"),
        ("  RETURN x x x;", 14, 'syntax error at or near "x"'),
        ("  x := abs(1 +);", 15, 'syntax error at or near ")"'),
        ("  x := 1 RETURN x;", 17, 'syntax error at or near "x"'),
        ("  IF x a b THEN NULL; END IF;", 10, 'syntax error at or near "b"'),
        ("  IF x THEN NULL; END;", 22, 'syntax error at or near ";"'),
        ("  WHILE x > 1 LOOP NULL; END LOP;", 30, 'syntax error at or near "LOP"'),
        ("  FOR i IN 1..3 LOP NULL; END LOOP;", 25, 'missing "LOOP" at end of SQL expression'),
        ("  INSERT INTO t VALUES (1,, 2);", 27, 'syntax error at or near ","'),
        ("  EXECUTE 'x' USING;", 20, 'missing expression at or near ";"'),
        ("  RETURN (1;", 12, 'mismatched parentheses at or near ";"'),
        ("  PERFORM 'ü', 'é' FROM FROM;", 25, 'syntax error at or near "FROM"'),
    ],
)
def test_an_error_in_plpgsql_has_its_place_in_the_file(line: str, column: int, message: str) -> None:
    assert place("SELECT 'ü';\n" + BODY.format(line)) == (7, column, message)


def test_an_end_that_is_missing_is_missing_at_the_end() -> None:
    text = "DO $$\nBEGIN\n  NULL;\n$$;"
    assert place(text) == (4, 1, "syntax error at end of input")


def test_a_literal_that_is_not_closed_is_where_it_begins() -> None:
    assert place("DO $$\nBEGIN\n  PERFORM 'ü', 'x;\nEND\n$$;") == (3, 16, "unterminated quoted string")


def test_a_body_in_quotes_is_looked_into() -> None:
    assert place("DO 'BEGIN\n  PERFORM ''it''''s'', 1 FROM;\nEND';")[:2] == (2, 30)
    # What escapes stand for is not counted.
    assert place("DO E'BEGIN\\n  PERFORM 1 FROM; END';")[:2] == (1, 4)


def test_functions_in_sql_are_looked_into() -> None:
    text = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $body$\n  SELECT 1;\n  SELEC 2;\n$body$;"
    assert place(text) == (3, 3, 'syntax error at or near "SELEC"')


@pytest.mark.parametrize("language", ["plperl", "plpython3u", "c", "internal"])
def test_other_languages_are_not(language: str) -> None:
    assert problems(f"CREATE FUNCTION f() RETURNS int LANGUAGE {language} AS $$ return 1 + $$;") == []


@pytest.mark.parametrize(
    "statement",
    [
        # What is not known without a catalog: types, variables, labels, other functions.
        "CREATE FUNCTION f(u users, VARIADIC v int[]) RETURNS users LANGUAGE plpgsql AS $$ BEGIN u.a := 1; END $$",
        "CREATE FUNCTION f(t.x%TYPE) RETURNS t.x%TYPE LANGUAGE plpgsql AS $$ BEGIN RETURN $1; END $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ DECLARE r t%ROWTYPE; BEGIN r.a := 1; RETURN 1; END $$",
        "CREATE FUNCTION f(c refcursor) RETURNS int LANGUAGE plpgsql AS $$ BEGIN FETCH c INTO unknown; END $$",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a := TG_OP; RETURN NEW; END $$",
        "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', tg_tag; END $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'a', 'b'",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "CREATE FUNCTION f(a int DEFAULT " + "(" * 300 + "1" + ")" * 300 + ") RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT " + "1 + " * 20_000 + "1",
        "COPY t FROM STDIN",
        "DO LANGUAGE plperl $$ 1 + $$",
    ],
)
def test_what_cannot_be_known_is_not_reported(statement: str) -> None:
    assert problems(statement) == []


def test_a_server_of_another_version_may_know_other_syntax() -> None:
    statements = read("SELEC 1;")
    for version in (130_000, 170_006, 190_000):
        assert validate(statements, version) == []
    assert len(validate(statements, 180_000)) == 1


def test_strings_that_the_script_has_read_otherwise_are_not_looked_at() -> None:
    text = "SET standard_conforming_strings = {};\nSELECT 'it\\'s';\nSET standard_conforming_strings = on;\nSELEC 2;"
    assert [problem.line for problem in problems(text.format("off"))] == [4]


def test_bodies_that_the_script_does_not_want_checked_are_not() -> None:
    function = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELEC 1';\n"
    off, on = "SET check_function_bodies = false;\n", "SET check_function_bodies TO on;\n"
    assert [problem.line for problem in problems(function + off + function + on + function)] == [1, 5]
    # A DO block is run at once, so its body is checked whatever is set.
    assert [problem.line for problem in problems(off + "DO 'BEGIN 1 END';")] == [2]


def test_no_secret_is_repeated() -> None:
    for text in (
        "CREATE ROEL a PASSWORD 'canary';",
        "CREATE ROLE a PASSWORD 'canary' LOGIN NOW;",
        "DO $$ BEGIN CREATE ROLE a PASSWORD 'canary' LOGIN NOW; END $$;",
    ):
        assert "canary" not in str(ValidationError(problems(text)))
        assert problems(text)
    # Nor is a literal that nobody said is one, apart from the line that it stands in.
    for text in ("CREATE ROLE a PASSWORD = 'canary';", "SELECT $$a$$ $$canary$$;", "SELECT E'\\n' E'canary';"):
        assert place(text)[2].startswith("syntax error")
        assert "canary" not in place(text)[2]


@pytest.mark.parametrize("file", sorted((ROOT / "scripts").rglob("*.sql")), ids=lambda file: file.name)
def test_the_shipped_scripts_pass(file: Path) -> None:
    assert problems(file.read_text()) == []


def test_threads_do_not_disturb_each_other() -> None:
    texts = [BODY.format(f"  RETURN {number} +;") if number % 2 else f"SELECT {number};" for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(problems, texts))
    assert [len(one) for one in found] == [number % 2 for number in range(40)]
