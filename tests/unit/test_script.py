import pytest

from dbinit.errors import ExitCode, ScriptError
from dbinit.model import Statement
from dbinit.sql.script import read_statements
from dbinit.sql.text import SourceText

CONTROLS = (
    "controls the transaction, but dbinit runs the whole file in one of its own; take the statement out of the file:"
)


def read(text: str) -> list[Statement]:
    return read_statements(SourceText("init-db.sql", text))


def refusal(text: str) -> list[str]:
    """Return the lines of the message by which a script is refused."""
    with pytest.raises(ScriptError) as caught:
        read(text)
    assert caught.value.exit_code is ExitCode.FAILED
    assert caught.value.outcome == "Nothing was applied."
    assert caught.value.__cause__ is None
    return caught.value.message.splitlines()


def test_statements_come_with_where_they_begin() -> None:
    assert read("SELECT 1;\n\n  -- two\n  SELECT 2 ;") == [Statement("SELECT 1", 0), Statement("SELECT 2", 22)]


@pytest.mark.parametrize("text", ["", "\n", ";;", "-- nothing\n", "/* nothing */"])
def test_a_script_without_statements_has_none(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize(
    ("text", "reason", "place", "caret"),
    [
        (
            "SELECT 1;\n  BEGIN;",
            f"BEGIN {CONTROLS}",
            "init-db.sql:2:3",
            ["  2 |   BEGIN;", "    |   ^"],
        ),
        (
            "SELECT 1; COMMIT;",
            f"COMMIT {CONTROLS}",
            "init-db.sql:1:11",
            ["  1 | SELECT 1; COMMIT;", "    |           ^"],
        ),
        (
            "CREATE TABLE t ();\nCOPY t FROM STDIN;\n",
            "COPY from stdin or to stdout cannot be run from a file yet; use INSERT, or load the data with psql:",
            "init-db.sql:2:1",
            ["  2 | COPY t FROM STDIN;", "    | ^"],
        ),
        (
            "SELECT 1;\r\n\\i more.sql\r\n",
            "the psql command \\i cannot be run by dbinit yet:",
            "init-db.sql:2:1",
            ["  2 | \\i more.sql", "    | ^"],
        ),
        (
            "SELECT 1 \\gx\n",
            "the psql command \\gx cannot be run by dbinit yet:",
            "init-db.sql:1:10",
            ["  1 | SELECT 1 \\gx", "    |          ^"],
        ),
    ],
    ids=["begin", "commit", "copy", "include", "gx"],
)
def test_what_cannot_be_run_is_refused_with_its_place(text: str, reason: str, place: str, caret: list[str]) -> None:
    assert refusal(text) == [reason, place, *caret]


@pytest.mark.parametrize(
    ("opening", "what"),
    [
        ("'text", "quoted string"),
        ("E'text\\'", "quoted string"),
        ('"name', "quoted identifier"),
        ("$$ body", "dollar-quoted string $$"),
        ("$tag$ body $$", "dollar-quoted string $tag$"),
        ("/* comment /* inner */", "comment"),
        ("(1 + (2)", "parenthesis"),
    ],
)
def test_what_is_never_closed_is_shown_where_it_opened(opening: str, what: str) -> None:
    message, place, line, caret = refusal(f"SELECT 1;\nSELECT 2, {opening}\n\nFROM t;\nSELECT 3;")
    assert message == f"this {what} is opened here and never closed:"
    assert place == "init-db.sql:2:11"
    assert line == f"  2 | SELECT 2, {opening}"
    assert caret.index("^") == line.index(opening)


def test_a_function_body_that_is_never_closed_is_shown_where_it_begins() -> None:
    message, place, *_ = refusal("CREATE FUNCTION f() RETURNS int\nBEGIN ATOMIC\n  SELECT 1;\n")
    assert message == "this BEGIN ATOMIC body is opened here and never closed:"
    assert place == "init-db.sql:2:1"


def test_advice_is_given_where_something_is_never_closed() -> None:
    with pytest.raises(ScriptError) as caught:
        read("SELECT 'x")
    assert caught.value.advice == "close it"


def test_the_first_of_several_faults_is_reported() -> None:
    assert refusal("BEGIN;\n\\i more.sql\nSELECT 'x")[1] == "init-db.sql:1:1"


def test_a_refusal_hides_the_passwords_of_its_line() -> None:
    assert "Zqcanaryq7" not in "\n".join(refusal("ALTER ROLE a PASSWORD 'Zqcanaryq7'; COMMIT;"))
