import pytest

from dbinit.advice import advise


@pytest.mark.parametrize(
    ("sqlstate", "advice"),
    [
        ("42P07", "IF NOT EXISTS"),  # table
        ("42P06", "IF NOT EXISTS"),  # schema
        ("42710", "IF NOT EXISTS"),  # object
        ("42701", "IF NOT EXISTS"),  # column
        ("42723", "CREATE OR REPLACE FUNCTION"),
        ("42P13", "DROP FUNCTION IF EXISTS"),
        ("23505", "ON CONFLICT DO NOTHING"),
        ("2BP01", "DROP what depends on it first"),
        ("40P01", "deadlocks"),
        ("55P03", "pg_locks"),
        ("57014", "statement_timeout"),
        ("42501", "GRANT CREATE ON SCHEMA public"),
        ("25006", "target_session_attrs=read-write"),
        ("58P01", "install the extension's package"),
        ("25001", "cannot run inside a transaction"),
        ("2D000", "-- dbinit: no-transaction"),
    ],
)
def test_what_to_do_about_an_error(sqlstate: str, advice: str) -> None:
    assert advice in advise(sqlstate, "message", "statement")


def test_an_isolation_level_that_comes_too_late_has_its_own_way() -> None:
    late = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"
    assert "between BEGIN ISOLATION LEVEL" in advise("25001", "must be called before any query", late)


def test_a_role_that_is_needed_has_no_cascade() -> None:
    assert "REASSIGN OWNED" in advise("2BP01", "because some objects depend on it", "DROP ROLE writer")


@pytest.mark.parametrize("sqlstate", ["", "XX000", "22P02"])
def test_nothing_is_said_where_there_is_nothing_sensible_to_say(sqlstate: str) -> None:
    assert advise(sqlstate, "message", "statement") == ""


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE FUNCTION f() RETURNS void AS 'x",
        "create or replace function f()",
        "CREATE OR\n  REPLACE\tPROCEDURE p()",
    ],
)
def test_a_syntax_error_in_a_function_points_at_its_quotes(statement: str) -> None:
    assert "proper $$ delimiters" in advise("42601", "syntax error", statement)


@pytest.mark.parametrize("statement", ["SELEC 1", "CREATE FUNCTIONAL f()", "SELECT 'create function f()'"])
def test_a_syntax_error_elsewhere_speaks_for_itself(statement: str) -> None:
    assert advise("42601", "syntax error", statement) == ""


def test_an_extension_that_is_not_installed_is_told_from_a_feature_that_is_not_there() -> None:
    missing = advise("0A000", 'extension "postgis" is not available', "CREATE EXTENSION postgis")
    assert "install the extension's package" in missing
    assert advise("0A000", "unlogged sequences are not supported", "") != missing


def test_a_variable_that_is_not_set_is_guessed() -> None:
    assert "-v name=value" in advise("42601", 'syntax error at or near ":"', "SELECT :'x'")


def test_a_unique_index_over_duplicates_needs_them_gone() -> None:
    assert advise("23505", "could not create unique index", "CREATE UNIQUE INDEX i ON t (a)") == (
        "remove the duplicate rows first"
    )


@pytest.mark.parametrize("statement", ["CREATE EXTENSION hstore", "create schema billing"])
def test_rights_in_the_database_are_told_from_those_in_a_schema(statement: str) -> None:
    assert "GRANT CREATE ON DATABASE" in advise("42501", "permission denied for database app", statement)
