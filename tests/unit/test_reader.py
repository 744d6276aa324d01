import pytest

from dbinit.errors import ExitCode, ScriptError, SourceError
from dbinit.sql.context import Context
from dbinit.sql.reader import Reader
from dbinit.sql.statement import Statement
from dbinit.sql.survey import Survey, survey
from dbinit.sql.text import Place
from tests.kit.scripts import script_of


def read(text: str, size: int = 7) -> list[Statement]:
    """Read the statements of a text that comes in chunks of `size`."""
    return list(Reader(script_of(text, size)))


def look(text: str) -> Survey:
    return survey(script_of(text), Context())


def refusal(text: str) -> list[str]:
    """Return the lines of the message by which a script is refused."""
    with pytest.raises(ScriptError) as caught:
        read(text)
    assert caught.value.exit_code is ExitCode.FAILED
    assert caught.value.outcome == "Nothing was applied."
    assert caught.value.__cause__ is None
    return caught.value.message.splitlines()


def test_statements_come_with_where_they_begin() -> None:
    found = read("SELECT 1;\n\n  -- two\n  SELECT 2 ;")
    assert [(statement.text, statement.place, statement.data) for statement in found] == [
        ("SELECT 1", Place(1, 1), None),
        ("SELECT 2", Place(4, 3), None),
    ]
    assert [statement.source.whole_offset(statement.offset) for statement in found] == [0, 22]
    assert {statement.source.path for statement in found} == {"init-db.sql"}


def test_what_is_a_byte_order_mark_elsewhere_is_a_letter_of_a_statement() -> None:
    assert [statement.text for statement in read("\ufeffSELECT 1;\n\ufeff\\:a;\n\ufeffb;")] == [
        "SELECT 1",
        "\ufeff:a",
        "\ufeffb",
    ]


def test_a_statement_keeps_its_place_when_more_has_been_read() -> None:
    found = read("".join(f"SELECT {number};\n" for number in range(1000)))
    assert [statement.place for statement in found] == [Place(number, 1) for number in range(1, 1001)]
    assert all(f"| SELECT {number};" in found[number].source.excerpt(found[number].offset) for number in range(1000))


@pytest.mark.parametrize("text", ["", "\n", ";;", "-- nothing\n", "/* nothing */"])
def test_a_script_without_statements_has_none(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize(
    ("text", "reason", "place", "caret"),
    [
        (
            "SELECT 1;\n  PREPARE TRANSACTION 'a';",
            "two-phase transactions cannot be run from a script:",
            "init-db.sql:2:3",
            ["  2 |   PREPARE TRANSACTION 'a';", "    |   ^"],
        ),
        (
            "CREATE TABLE t ();\nCOPY t TO STDOUT;\n",
            "COPY to stdout has nowhere to write to; take the statement out of the file:",
            "init-db.sql:2:1",
            ["  2 | COPY t TO STDOUT;", "    | ^"],
        ),
        (
            "SELECT 1;\r\n\\! rm -rf /\r\n",
            "dbinit does not run the psql command \\!:",
            "init-db.sql:2:1",
            ["  2 | \\! rm -rf /", "    | ^"],
        ),
        (
            "SELECT 1 \\watch\n",
            "dbinit does not run the psql command \\watch:",
            "init-db.sql:1:10",
            ["  1 | SELECT 1 \\watch", "    |          ^"],
        ),
    ],
    ids=["two phases", "copy", "a program", "watch"],
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
    assert refusal("COPY a TO stdout;\n\\! ls\nSELECT 'x")[1] == "init-db.sql:1:1"


def test_a_refusal_hides_the_passwords_of_its_line() -> None:
    assert "Zqcanaryq7" not in "\n".join(refusal("ALTER ROLE a PASSWORD 'Zqcanaryq7'; COPY a TO stdout;"))


# --- COPY -------------------------------------------------------------------------------------------------------


def read_with_data(text: str) -> list[tuple[str, int, str | None, int]]:
    """Return text, line, data and the line of the data of each statement."""
    found = []
    for statement in Reader(script_of(text, 1)):
        data = None if statement.data is None else b"".join(statement.data).decode()
        found.append((statement.text, statement.place.line, data, statement.data_line))
    return found


def test_a_copy_brings_its_data_along() -> None:
    assert read_with_data("\nCOPY a FROM stdin;\n1\n2\n\\.\nSELECT 1;") == [
        ("COPY a FROM stdin", 2, "1\n2\n", 3),
        ("SELECT 1", 6, None, 0),
    ]


def test_data_that_nobody_takes_are_passed_over() -> None:
    found = read("COPY a FROM stdin;\n1;2;'\n\\.\nSELECT 1;")
    assert [(statement.text, statement.place.line) for statement in found] == [
        ("COPY a FROM stdin", 1),
        ("SELECT 1", 4),
    ]


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("COPY a\n FROM stdin;\n", 3),
        ("COPY a FROM stdin\n\n;\n", 4),
        ("COPY a FROM stdin -- c\n /* d\n */ ;\r\n", 4),
        ("SELECT 1; COPY a FROM stdin; SELECT 2;\n", 2),
    ],
)
def test_where_data_begin(head: str, line: int) -> None:
    found = read_with_data(f"{head}1\n\\.\nSELECT 3;")
    (copy,) = [statement for statement in found if statement[2] is not None]
    assert copy[2:] == ("1\n", line)
    assert found[-1] == ("SELECT 3", line + 2, None, 0)


def test_where_data_begin_that_stand_behind_others() -> None:
    text = "COPY a FROM stdin; COPY b FROM stdin; COPY\n1\n1\n\\.\n2\n\\.\nc FROM stdin;\n3\n\\.\n"
    assert read_with_data(text) == [
        ("COPY a FROM stdin", 1, "1\n1\n", 2),
        ("COPY b FROM stdin", 1, "2\n", 5),
        ("COPY\nc FROM stdin", 1, "3\n", 8),
    ]


def test_csv_may_hold_the_line_that_ends_data() -> None:
    text = "COPY a FROM stdin (FORMAT csv, QUOTE '|');\n|\n\\.\n|\n\\.\nSELECT 1;"
    assert [statement[2] for statement in read_with_data(text)] == ["|\n\\.\n|\n", None]


@pytest.mark.parametrize("text", ["SELECT 'COPY a FROM stdin;\n';\n1;", "-- COPY a FROM stdin;\nSELECT 1;\n1;"])
def test_no_data_belong_to_a_copy_in_a_string_or_a_comment(text: str) -> None:
    assert [statement.data for statement in read(text)] == [None, None]


# --- standard_conforming_strings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "turn", ["SET standard_conforming_strings = off", "set session standard_conforming_strings to 0"]
)
@pytest.mark.parametrize(
    "back", ["SET standard_conforming_strings TO on", "RESET standard_conforming_strings", "RESET ALL"]
)
def test_backslashes_in_strings_are_followed_as_the_script_sets_them(turn: str, back: str) -> None:
    text = f"SELECT 'a\\';\n{turn};\nSELECT 'b\\';c';\n{back};\nSELECT 'd\\';\nSELECT 1"
    texts = ["SELECT 'a\\'", turn, "SELECT 'b\\';c'", back, "SELECT 'd\\'", "SELECT 1"]
    assert [statement.text for statement in read(text)] == texts


# --- a look at the whole ----------------------------------------------------------------------------------------


def test_the_statements_are_counted_without_the_data() -> None:
    found = look("SELECT 1; COPY a FROM stdin;\n;;;\n\\.\nSELECT 2")
    assert (found.statements, found.stepwise) == (3, None)


@pytest.mark.parametrize("text", ["", "\n", ";;", "-- nothing\n", "/* nothing */"])
def test_a_script_without_statements_is_no_script(text: str) -> None:
    with pytest.raises(SourceError, match="holds no SQL statement, only comments"):
        look(text)


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        (r"SELECT \:a$b$c;", ["SELECT :a$b$c"]),
        (r"SELECT 1\; SELECT 2;", ["SELECT 1; SELECT 2"]),
        (r"SELECT 1\;\; SELECT \:x\;;", ["SELECT 1;; SELECT :x"]),
        (r"BEGIN\; SELECT 1\; COMMIT;", ["BEGIN", "SELECT 1", "COMMIT"]),
        (r"SELECT (1\; 2);", ["SELECT (1; 2)"]),
        (
            r"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN \; END; END;",
            ["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN ; END; END"],
        ),
    ],
)
def test_escaped_semicolons_and_colons(text: str, statements: list[str]) -> None:
    assert [statement.text for statement in read(text)] == statements
