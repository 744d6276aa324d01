from typing import Any

import asyncpg
import pytest
from asyncpg import exceptions
from hypothesis import given
from hypothesis import strategies as st

from dbinit.backoff import is_connection_loss
from dbinit.errors import ExitCode, PrivilegeError, ReadOnlyDatabaseError, StatementError
from dbinit.failure import statement_error
from dbinit.sql.statement import Statement
from dbinit.sql.text import SourceText

TEXT = "CREATE TABLE a ();\n\n  SELECT 1,\n         nonsense;\n"
STATEMENT = "SELECT 1,\n         nonsense"
SOURCE = SourceText("scripts/init-db.sql", TEXT)
TITLE = "Statement 2 of 2 failed:"


def answer(sqlstate: str = "42703", message: str = 'column "nonsense" does not exist', **fields: str) -> Any:
    """Build the exception asyncpg makes of a server's answer; `fields` go by the protocol's letters."""
    return asyncpg.PostgresError.new({"S": "ERROR", "C": sqlstate, "M": message, **fields}, STATEMENT)


def report(error: asyncpg.PostgresError) -> StatementError:
    """Report a failure of the second statement of `TEXT`."""
    statement = Statement(STATEMENT, SOURCE, TEXT.index(STATEMENT))
    return statement_error(error, statement=statement, title=TITLE)


def test_the_report_says_where_what_and_why() -> None:
    error = report(answer(P=str(STATEMENT.index("nonsense") + 1), D="the detail", H="the hint"))
    assert error.message.splitlines() == [
        TITLE,
        "scripts/init-db.sql:4:10",
        "  4 |          nonsense;",
        "    |          ^",
        'ERROR: column "nonsense" does not exist (SQLSTATE 42703)',
        "DETAIL: the detail",
        "HINT: the hint",
    ]
    assert (error.sqlstate, error.line, error.column) == ("42703", 4, 10)
    assert error.exit_code is ExitCode.FAILED


def test_it_says_that_nothing_was_applied() -> None:
    error = report(answer())
    assert error.outcome.startswith("Everything was rolled back")
    assert error.outcome in str(error)


def test_without_a_position_the_beginning_of_the_statement_is_shown() -> None:
    error = report(answer("23505", "duplicate key value"))
    assert (error.line, error.column) == (3, 3)
    assert "  3 |   SELECT 1,\n    |   ^" in error.message


def test_an_error_inside_a_function_comes_with_its_query_and_its_context() -> None:
    error = report(
        answer(
            "42703",
            "no such column",
            p="8",
            q="SELECT nothing",
            W="PL/pgSQL function f() line 3 at SQL statement",
        )
    )
    assert error.message.splitlines()[-4:] == [
        "QUERY:1:8",
        "  1 | SELECT nothing",
        "    |        ^",
        "CONTEXT: PL/pgSQL function f() line 3 at SQL statement",
    ]
    assert (error.line, error.column) == (3, 3)


def test_a_statement_of_dbinits_own_has_no_place() -> None:
    error = statement_error(answer("42501", "permission denied for schema public"), title="No history:")
    assert error.message == "No history:\nERROR: permission denied for schema public (SQLSTATE 42501)"
    assert (error.line, error.column) == (0, 0)


@pytest.mark.parametrize(
    ("position", "column"),
    [("1", 3), ("2", 4), (str(len("SELECT 1,")), 11)],
)
def test_a_position_is_a_text_and_counts_from_one(position: str, column: int) -> None:
    error = report(answer(P=position))
    assert (error.line, error.column) == (3, column)


@given(st.integers(1, 10_000))
def test_no_position_leads_out_of_the_statement(position: int) -> None:
    error = report(answer(P=str(position)))
    shown = TEXT.splitlines()[error.line - 1]
    assert error.line in {3, 4}
    assert 1 <= error.column <= len(shown)


def test_an_empty_statement_can_fail_too() -> None:
    error = statement_error(answer(P="1"), statement=Statement("", SOURCE, 0), title=TITLE)
    assert (error.line, error.column) == (1, 1)


def test_positions_count_characters_not_bytes() -> None:
    statement = "SELECT '𝄞é', nonsense"
    source = SourceText("a.sql", f"-- é\r\n{statement};")
    position = str(statement.index("nonsense") + 1)
    error = statement_error(answer(P=position), statement=Statement(statement, source, 6), title=TITLE)
    assert (error.line, error.column) == (2, statement.index("nonsense") + 1)


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [("42501", PrivilegeError), ("25006", ReadOnlyDatabaseError), ("42P07", StatementError), ("ZZ999", StatementError)],
)
def test_which_class_an_error_becomes(sqlstate: str, kind: type[StatementError]) -> None:
    error = report(answer(sqlstate, "message"))
    assert type(error) is kind
    assert error.sqlstate == sqlstate


def test_advice_is_added() -> None:
    error = report(answer("42P07", 'relation "a" already exists'))
    assert "IF NOT EXISTS" in error.advice
    assert str(error).splitlines()[-1] == f"What to do: {error.advice}"


def test_advice_looks_at_the_statement() -> None:
    text = "CREATE FUNCTION f() AS 'x"
    statement = Statement(text, SourceText("a.sql", text), 0)
    error = statement_error(answer("42601", "syntax error"), statement=statement, title=TITLE)
    assert "$$ delimiters" in error.advice


# --- in the data of a COPY --------------------------------------------------------------------------------------


def copy(data_line: int = 7) -> Statement:
    return Statement(
        "COPY a FROM stdin", SourceText("a.sql", "\n\nCOPY a FROM stdin;\n"), 2, iter(()), "a.sql", data_line
    )


@pytest.mark.parametrize(
    ("context", "line"),
    [
        ("COPY a, line 1", 7),
        ('COPY a, line 3: "x"', 9),
        ('COPY a, line 12, column b: "x\nCOPY z, line 99"', 18),
        ("PL/pgSQL function f() line 4 at RAISE\nCOPY a, line 2", 8),
    ],
)
def test_an_error_in_the_data_of_a_copy_names_their_line(context: str, line: int) -> None:
    error = statement_error(answer("22P02", "bad", W=context), statement=copy(), title=TITLE)
    assert (error.line, error.column) == (line, 1)
    assert f"a.sql:{line}\n  in the data of the COPY at a.sql:3" in error.message


@pytest.mark.parametrize("context", ["", "PL/pgSQL function f() line 4 at RAISE", "not COPY a, line 2"])
def test_an_error_of_the_copy_itself_names_the_statement(context: str) -> None:
    fields = {"W": context} if context else {}
    error = statement_error(answer("42P01", "no table", P="6", **fields), statement=copy(), title=TITLE)
    assert (error.line, error.column) == (3, 6)


def test_another_statement_has_no_data_for_an_error_to_be_in() -> None:
    assert report(answer("22P02", "bad", W="COPY a, line 2")).line == 3


def test_an_exception_without_the_servers_fields_is_reported_by_its_own_words() -> None:
    error = report(exceptions.UndefinedTableError('relation "x" does not exist'))
    assert 'ERROR: relation "x" does not exist (SQLSTATE 42P01)' in error.message


def test_the_severity_is_the_servers() -> None:
    assert "FATAL: " in report(asyncpg.PostgresError.new({"S": "FATAL", "C": "XX000", "M": "m"})).message


@pytest.mark.parametrize("letter", ["M", "D", "H", "q", "W"])
def test_a_password_in_the_servers_own_words_is_hidden(letter: str) -> None:
    words = "SQL statement \"ALTER ROLE a PASSWORD 'Zqcanaryq7'\""
    message = str(report(answer(**{"message": "m", letter: words} if letter != "M" else {"message": words})))
    assert "Zqcanaryq7" not in message
    assert "SQL statement \"ALTER ROLE a PASSWORD '***'\"" in message


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (exceptions.ConnectionDoesNotExistError("closed"), True),
        (exceptions.ConnectionFailureError("gone"), True),
        (exceptions.AdminShutdownError("terminating"), True),
        (exceptions.CrashShutdownError("crash"), True),
        (exceptions.CannotConnectNowError("starting up"), True),
        (exceptions.QueryCanceledError("cancelled"), False),
        (exceptions.UndefinedTableError("no table"), False),
        (exceptions.DeadlockDetectedError("deadlock"), False),
        (asyncpg.PostgresError("without a code"), False),
    ],
)
def test_a_lost_connection_is_told_from_a_wrong_statement(error: asyncpg.PostgresError, lost: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_connection_loss(error) is lost
