import copy
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dbinit import settings
from dbinit.errors import ExitCode, SettingsError
from dbinit.model import Format, Mode, OnChange, OnFailure
from dbinit.settings import KNOWN_VARIABLES, InitOptions
from dbinit.url import parse_url
from tests.unit.migrations.kit import folder

URL = "postgresql://u:p@host/db"
CANARY = "Zqcanaryq7"
CANARY_URL = f"postgresql://u:{CANARY}@host/db"


def from_env(**variables: str) -> InitOptions:
    return InitOptions.from_env({"DATABASE_URL": URL, **variables})


def problems(read: Callable[[], InitOptions]) -> tuple[str, ...]:
    """Return the mistakes that are reported."""
    with pytest.raises(SettingsError) as caught:
        read()
    assert caught.value.exit_code is ExitCode.USAGE
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return caught.value.problems


def only_problem(read: Callable[[], InitOptions]) -> str:
    (problem,) = problems(read)
    return problem


DEFAULTS: dict[str, Any] = {
    "migration_url": None,
    "role": None,
    "variables": {},
    "include_root": None,
    "migrations_format": None,
    "placeholders": {},
    "allow_missing": False,
    "jobs": 1,
    "database_url": parse_url(URL),
    "migrations_path": Path("scripts/init-db.sql"),
    "retry_attempts": 5,
    "retry_delay": timedelta(seconds=5),
    "connect_timeout": None,
    "connect_deadline": timedelta(minutes=2),
    "lock_wait": timedelta(minutes=5),
    "statement_timeout": None,
    "lock_timeout": None,
    "lock_retries": 10,
    "sentinel": "users",
    "on_change": OnChange.RERUN,
    "history_schema": "public",
    "mode": Mode.BACKGROUND,
    "on_failure": OnFailure.EXIT,
}


@pytest.mark.parametrize("read", [lambda: InitOptions(database_url=URL), from_env], ids=["code", "environment"])
def test_the_defaults(read: Callable[[], InitOptions]) -> None:
    options = read()
    assert {field.name: getattr(options, field.name) for field in fields(options)} == DEFAULTS


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("DBINIT_ROLE", "Owner of all", "role", "Owner of all"),
        ("MIGRATION_PATH", "db/schema.sql", "migrations_path", Path("db/schema.sql")),
        ("DBINIT_INCLUDE_ROOT", "db", "include_root", Path("db")),
        ("DBINIT_FORMAT", "goose", "migrations_format", Format.GOOSE),
        ("DBINIT_ALLOW_MISSING", "yes", "allow_missing", True),
        ("DBINIT_ALLOW_MISSING", "off", "allow_missing", False),
        ("DBINIT_JOBS", "4", "jobs", 4),
        ("DB_RETRY_ATTEMPTS", "12", "retry_attempts", 12),
        ("DB_RETRY_ATTEMPTS", "0", "retry_attempts", 0),
        ("DB_RETRY_DELAY", "1m30s", "retry_delay", timedelta(seconds=90)),
        ("DB_RETRY_DELAY", "500ms", "retry_delay", timedelta(seconds=0.5)),
        ("DB_RETRY_DELAY", "7", "retry_delay", timedelta(seconds=7)),
        ("DB_RETRY_DELAY", "0", "retry_delay", timedelta()),
        ("DBINIT_CONNECT_TIMEOUT", "3s", "connect_timeout", timedelta(seconds=3)),
        ("DBINIT_CONNECT_DEADLINE", "1h", "connect_deadline", timedelta(hours=1)),
        ("DBINIT_LOCK_WAIT", "0", "lock_wait", timedelta()),
        ("DBINIT_STATEMENT_TIMEOUT", "1m", "statement_timeout", timedelta(minutes=1)),
        ("DBINIT_LOCK_TIMEOUT", "500ms", "lock_timeout", timedelta(milliseconds=500)),
        ("DBINIT_LOCK_TIMEOUT", "0", "lock_timeout", timedelta()),
        ("DBINIT_LOCK_RETRIES", "0", "lock_retries", 0),
        ("DBINIT_SENTINEL", "app.accounts", "sentinel", "app.accounts"),
        ("DBINIT_SENTINEL", "", "sentinel", ""),
        ("DBINIT_SENTINEL", "  ", "sentinel", ""),
        ("DBINIT_ON_CHANGE", "warn", "on_change", OnChange.WARN),
        ("DBINIT_ON_CHANGE", " FAIL ", "on_change", OnChange.FAIL),
        ("DBINIT_HISTORY_SCHEMA", "ops", "history_schema", "ops"),
        ("DBINIT_MODE", "verify", "mode", Mode.VERIFY),
        ("DBINIT_ON_FAILURE", "stay", "on_failure", OnFailure.STAY),
    ],
)
def test_each_variable_sets_its_field(variable: str, text: str, field: str, value: object) -> None:
    expected = DEFAULTS | {field: value}
    options = from_env(**{variable: text})
    assert {name: getattr(options, name) for name in expected} == expected


@pytest.mark.parametrize("variable", sorted(KNOWN_VARIABLES - {"DATABASE_URL", "DBINIT_SENTINEL"}))
def test_an_empty_variable_is_as_good_as_none(variable: str) -> None:
    assert from_env(**{variable: ""}) == InitOptions(database_url=URL)


def test_the_documented_variables_are_the_known_ones() -> None:
    assert {
        "DBINIT_MIGRATION_URL",
        "DBINIT_MIGRATION_URL_FILE",
        "DBINIT_ROLE",
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "MIGRATION_PATH",
        "DBINIT_INCLUDE_ROOT",
        "DBINIT_FORMAT",
        "DBINIT_ALLOW_MISSING",
        "DBINIT_JOBS",
        "DB_RETRY_ATTEMPTS",
        "DB_RETRY_DELAY",
        "DBINIT_CONNECT_TIMEOUT",
        "DBINIT_CONNECT_DEADLINE",
        "DBINIT_LOCK_WAIT",
        "DBINIT_STATEMENT_TIMEOUT",
        "DBINIT_LOCK_TIMEOUT",
        "DBINIT_LOCK_RETRIES",
        "DBINIT_SENTINEL",
        "DBINIT_ON_CHANGE",
        "DBINIT_HISTORY_SCHEMA",
        "DBINIT_MODE",
        "DBINIT_ON_FAILURE",
    } == KNOWN_VARIABLES


def test_the_process_environment_is_read_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in KNOWN_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("DB_RETRY_ATTEMPTS", "9")
    assert InitOptions.from_env() == InitOptions(database_url=URL, retry_attempts=9)


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("DB_RETRY_ATTEMPTS", "-1", "not a whole number of at least 0"),
        ("DB_RETRY_ATTEMPTS", "5s", "not a whole number of at least 0"),
        ("DB_RETRY_ATTEMPTS", "2.5", "not a whole number of at least 0"),
        ("DB_RETRY_DELAY", "soon", "is not a duration"),
        ("DB_RETRY_DELAY", "-5s", "is not a duration"),
        ("DBINIT_CONNECT_TIMEOUT", "0", "more than zero"),
        ("DBINIT_CONNECT_DEADLINE", "0s", "more than zero"),
        ("DBINIT_LOCK_WAIT", "5 min", "is not a duration"),
        ("DBINIT_LOCK_TIMEOUT", "-1s", "is not a duration"),
        ("DBINIT_LOCK_RETRIES", "some", "is not a whole number"),
        ("DBINIT_SENTINEL", "a.b.c", "is not a table's name"),
        ("DBINIT_SENTINEL", ".users", "is not a table's name"),
        ("DBINIT_SENTINEL", 'a"b', "is not a table's name"),
        ("DBINIT_SENTINEL", '""', "is not a table's name"),
        ("DBINIT_ON_CHANGE", "ignore", "is not one of rerun, warn, fail"),
        ("DBINIT_MODE", "lazy", "is not one of background, blocking, verify"),
        ("DBINIT_ON_FAILURE", "retry", "is not one of exit, stay"),
        ("MIGRATION_PATH", "a\0b", "no path"),
        ("DBINIT_HISTORY_SCHEMA", "a\0b", "has a NUL in it"),
        ("DBINIT_HISTORY_SCHEMA", "a\udcff", "is not UTF-8"),
        ("DBINIT_HISTORY_SCHEMA", "é" * 32, "longer than 63 bytes"),
        ("DBINIT_SENTINEL", "a\udcff", "is not UTF-8"),
        ("DBINIT_STATEMENT_TIMEOUT", "0", "more than zero"),
        ("DBINIT_STATEMENT_TIMEOUT", "597h", "more than PostgreSQL takes, which is 24 days"),
        ("DBINIT_LOCK_TIMEOUT", "597h", "more than PostgreSQL takes, which is 24 days"),
        ("DATABASE_URL", "postgresql://u:p\udcff@host", "bytes in it that are not UTF-8"),
        ("DATABASE_URL", "mysql://host", "the URL cannot be used: its scheme is unknown"),
        ("DBINIT_MIGRATION_URL", "mysql://host", "the URL cannot be used: its scheme is unknown"),
        ("DBINIT_ROLE", "a\0b", "has a NUL in it"),
        ("DBINIT_ROLE", "a\udcff", "is not UTF-8"),
    ],
)
def test_a_mistake_in_the_environment_is_reported_under_its_variable(variable: str, text: str, reason: str) -> None:
    problem = only_problem(lambda: from_env(**{variable: text}))
    assert problem.startswith(f"{variable}: ")
    assert reason in problem


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("database_url", None, "DATABASE_URL=embedded:///"),
        ("database_url", b"postgresql://host", "it is not set"),
        ("database_url", "", "does not begin with postgresql://"),
        ("migration_url", "", "does not begin with postgresql://"),
        ("role", "", "must be a name"),
        ("migrations_path", "", "no path"),
        ("migrations_path", None, "no path"),
        ("retry_attempts", -1, "at least 0"),
        ("retry_attempts", 2.5, "at least 0"),
        ("retry_attempts", None, "at least 0"),
        ("jobs", -1, "at least 1"),
        ("jobs", 0, "at least 1"),
        ("retry_delay", 5, "it must be a timedelta"),
        ("retry_delay", timedelta(seconds=-1), "it is negative"),
        ("connect_timeout", timedelta(), "more than zero"),
        ("connect_deadline", timedelta(), "more than zero"),
        ("connect_deadline", None, "it must be a timedelta"),
        ("lock_wait", timedelta(seconds=-1), "it is negative"),
        ("sentinel", None, "empty text for none"),
        ("history_schema", "", "must be a name"),
        ("history_schema", None, "must be a name"),
        ("on_change", "ignore", "not one of rerun, warn, fail"),
        ("on_change", Mode.VERIFY, "not one of rerun, warn, fail"),
        ("mode", None, "not one of background"),
        ("on_failure", 1, "not one of exit, stay"),
        ("variables", {"a": "b\udcff"}, "the value of a is not UTF-8"),
        ("placeholders", {"a": "b\udcff"}, "the value of a is not UTF-8"),
    ],
)
def test_a_mistake_in_code_is_reported_under_its_field(field: str, value: object, reason: str) -> None:
    arguments: dict[str, Any] = {"database_url": URL, field: value}
    problem = only_problem(lambda: InitOptions(**arguments))
    assert problem.startswith(f"{field}: ")
    assert reason in problem


def test_what_migrates_has_a_url_of_its_own_where_one_is_given(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://owner:p@host/db\n")

    assert from_env().migrating_url == from_env().url == parse_url(URL)
    for variable, text in {"DBINIT_MIGRATION_URL": file.read_text(), "DBINIT_MIGRATION_URL_FILE": str(file)}.items():
        options = from_env(**{variable: text})
        assert (options.url.user, options.migrating_url.user) == ("u", "owner")
        assert (options.url.setting, options.migrating_url.setting) == ("DATABASE_URL", "DBINIT_MIGRATION_URL")


def test_a_url_in_code_is_meant_instead_of_both_of_the_environment() -> None:
    environ = {"DATABASE_URL": URL, "DBINIT_MIGRATION_URL": CANARY_URL}
    options = InitOptions.from_env(environ, database_url="postgresql://other/db")
    assert options.migrating_url == options.url == parse_url("postgresql://other/db")


def test_texts_are_understood_in_code_too() -> None:
    given: dict[str, Any] = {"retry_delay": "1m", "on_change": "warn", "mode": "verify", "migrations_path": "a.sql"}
    options = InitOptions(database_url=URL, **given)
    assert options.retry_delay == timedelta(minutes=1)
    assert options.on_change is OnChange.WARN
    assert options.mode is Mode.VERIFY
    assert options.migrations_path == Path("a.sql")


def test_all_mistakes_are_reported_at_once() -> None:
    environ = {
        "DATABASE_URL": "mysql://host",
        "DB_RETRY_ATTEMPTS": "many",
        "DB_RETRY_DELAY": "soon",
        "DBINIT_ON_CHANGE": "ignore",
        "DBINIT_SENTINAL": "users",
    }
    found = problems(lambda: InitOptions.from_env(environ, lock_wait=5))
    assert [problem.partition(":")[0] for problem in found] == [
        "DB_RETRY_ATTEMPTS",
        "DB_RETRY_DELAY",
        "DBINIT_ON_CHANGE",
        "DATABASE_URL",
        "DBINIT_SENTINAL",
        "lock_wait",
    ]


def test_one_mistake_and_many_have_headings_of_their_own() -> None:
    assert SettingsError(("a",)).message == "A setting cannot be used:\n  - a"
    assert SettingsError(("a", "b")).message == "Some settings cannot be used:\n  - a\n  - b"


def test_without_a_url_the_error_says_how_to_try_it() -> None:
    problem = only_problem(lambda: InitOptions.from_env({}))
    assert problem.startswith("DATABASE_URL is not set")
    assert "embedded:///" in problem


# --- DATABASE_URL_FILE ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [CANARY_URL, f"{CANARY_URL}\n", f"\n {CANARY_URL} \r\n"])
def test_the_url_is_read_from_the_file_it_stands_in(text: str) -> None:
    asked = []

    def read_text(path: Path) -> str:
        asked.append(path)
        return text

    options = InitOptions.from_env({"DATABASE_URL_FILE": "/run/secrets/url"}, read_text=read_text)
    assert options.url == parse_url(CANARY_URL)
    assert asked == [Path("/run/secrets/url")]


def test_a_real_file_is_read_as_utf8(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_bytes("postgresql://jürgen@host/db\n".encode())
    assert InitOptions.from_env({"DATABASE_URL_FILE": str(file)}).url.user == "jürgen"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read {file}: No such file or directory"),
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"postgresql://u:\xff@host", "{file} is not UTF-8 text"),
        (b"mysql://host", "the URL cannot be used: its scheme is unknown"),
    ],
    ids=["missing", "empty", "blank", "not UTF-8", "no URL"],
)
def test_a_file_that_gives_no_url(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)
    problem = only_problem(lambda: InitOptions.from_env({"DATABASE_URL_FILE": str(file)}))
    assert problem.startswith(f"DATABASE_URL_FILE: {reason.format(file=file)}")


def test_a_folder_where_the_file_is_meant(tmp_path: Path) -> None:
    problem = only_problem(lambda: InitOptions.from_env({"DATABASE_URL_FILE": str(tmp_path)}))
    assert problem == f"DATABASE_URL_FILE: cannot read {tmp_path}: Is a directory"


def test_url_and_file_exclude_each_other() -> None:
    assert "are both set" in only_problem(lambda: from_env(DATABASE_URL_FILE="/run/secrets/url"))


# --- misspelt settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("DBINIT_SENTINAL", "DBINIT_SENTINEL"),
        ("DBINIT_ONCHANGE", "DBINIT_ON_CHANGE"),
        ("DBINIT_LOCK_WAITS", "DBINIT_LOCK_WAIT"),
        ("DBINIT_HISTORY_SHEMA", "DBINIT_HISTORY_SCHEMA"),
        ("DBINIT_CONNECTION_TIMEOUT", "DBINIT_CONNECT_TIMEOUT"),
    ],
)
def test_a_misspelt_setting_is_named_with_what_was_meant(variable: str, meant: str) -> None:
    problem = only_problem(lambda: from_env(**{variable: "x"}))
    assert problem == f"{variable}: there is no such setting; did you mean {meant}?"


def test_what_kubernetes_sets_for_a_service_of_that_name_is_left_alone() -> None:
    service = {
        "DBINIT_SERVICE_HOST": "10.0.0.11",
        "DBINIT_SERVICE_PORT": "8000",
        "DBINIT_SERVICE_PORT_HTTP": "8000",
        "DBINIT_PORT": "tcp://10.0.0.11:8000",
        "DBINIT_PORT_8000_TCP": "tcp://10.0.0.11:8000",
        "DBINIT_PORT_8000_TCP_PROTO": "tcp",
        "DBINIT_PORT_8000_TCP_PORT": "8000",
        "DBINIT_PORT_8000_TCP_ADDR": "10.0.0.11",
    }
    assert from_env(**service) == InitOptions(database_url=URL)


def test_variables_of_others_are_left_alone() -> None:
    assert from_env(DB_RETRY="x", DATABASE_URLS="x", PATH="/bin") == InitOptions(database_url=URL)


# --- overrides --------------------------------------------------------------------------------------------------


def test_what_is_given_in_code_wins_over_the_environment() -> None:
    environ = {"DATABASE_URL": "no URL", "MIGRATION_PATH": "a.sql", "DB_RETRY_ATTEMPTS": "many"}
    options = InitOptions.from_env(environ, database_url=URL, migrations_path=Path("b.sql"), retry_attempts=2)
    assert options == InitOptions(database_url=URL, migrations_path="b.sql", retry_attempts=2)


def test_none_in_code_leaves_the_environment_its_say() -> None:
    options = InitOptions.from_env(
        {"DATABASE_URL": URL, "MIGRATION_PATH": "a.sql"}, database_url=None, migrations_path=None
    )
    assert options == InitOptions(database_url=URL, migrations_path="a.sql")


def test_an_override_that_is_no_field_is_a_mistake_in_the_program() -> None:
    with pytest.raises(TypeError, match="databse_url"):
        InitOptions.from_env({"DATABASE_URL": URL}, databse_url=URL)


# --- the value itself -------------------------------------------------------------------------------------------


def test_options_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        InitOptions(database_url=URL).retry_attempts = 3  # type: ignore[misc]


def test_a_changed_copy_checks_itself_too() -> None:
    options = InitOptions(database_url=URL)
    assert replace(options, retry_attempts=1).retry_attempts == 1
    assert "retry_attempts" in only_problem(lambda: replace(options, retry_attempts=-1))


def test_options_can_be_counted_and_copied() -> None:
    options = InitOptions(database_url=f"{URL}?application_name=a", variables={"a": "b"})
    same = InitOptions(database_url=f"{URL}?application_name=a", variables={"a": "b"})
    assert {options, same, copy.deepcopy(options)} == {options}


def test_fields_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        InitOptions(URL)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("url", "setting", "seconds"),
    [
        ("postgresql://host", None, 10),
        ("postgresql://host?connect_timeout=7", None, 7),
        ("postgresql://host?connect_timeout=7", timedelta(seconds=3), 3),
    ],
)
def test_the_limit_of_an_attempt_is_the_settings_else_the_urls_else_ten_seconds(
    url: str, setting: timedelta | None, seconds: int
) -> None:
    options = InitOptions(database_url=url, connect_timeout=setting)
    assert options.attempt_timeout(options.url) == timedelta(seconds=seconds)


def test_placeholders_are_read_as_flyway_reads_them_and_given_ones_win() -> None:
    environ = {
        "DATABASE_URL": URL,
        "FLYWAY_PLACEHOLDERS_ROLE": "app",
        "FLYWAY_PLACEHOLDERS_db-name": "",
        "FLYWAY_URL": "x",
    }
    assert InitOptions.from_env(environ).placeholders == {"ROLE": "app", "db-name": ""}

    options = InitOptions.from_env(environ, placeholders={"role": "web"})
    found = folder({"V1__a.sql": "SELECT '${Role}${DB-NAME}'"}, placeholders=options.placeholders)
    assert found.migrations[0].up.text == "SELECT 'web'"


def test_every_variable_belongs_to_a_field_and_every_field_has_one() -> None:
    named = {name for name, _ in settings._VARIABLES.values()}  # noqa: SLF001 - the two tables belong together
    # A script's variables belong to a call, as psql's do; and placeholders have a variable each.
    assert named | {"database_url", "migration_url", "variables", "placeholders"} == {
        field.name for field in fields(InitOptions)
    }


# --- the password -----------------------------------------------------------------------------------------------


def test_no_text_of_options_shows_the_password() -> None:
    options = InitOptions(database_url=CANARY_URL)
    for text in (repr(options), str(options), f"{options}", f"{[options]}"):
        assert CANARY not in text
        assert "postgresql://u:***@host/db" in text


@pytest.mark.parametrize("field", [field.name for field in fields(InitOptions) if field.name != "database_url"])
def test_no_mistake_in_another_field_brings_the_password_out(field: str) -> None:
    arguments: dict[str, Any] = {"database_url": CANARY_URL, field: object() if field != "connect_timeout" else -1}
    assert CANARY not in "".join(problems(lambda: InitOptions(**arguments)))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}/@host/db",
        f"postgresql://u:{CANARY}#@host/db",
        f"postgresql://u:{CANARY}%@host/db",
        f"postgresql://u:1?{CANARY}=@host/db",
        f"postgresql://u@host/db?password={CANARY}&sslmode=maybe",
        f"{CANARY}",
        f"{CANARY}://u@host",
    ],
)
def test_no_malformed_url_is_repeated(url: str) -> None:
    ways: list[Callable[[], InitOptions]] = [
        lambda: InitOptions(database_url=url),
        lambda: InitOptions.from_env({"DATABASE_URL": url}),
        lambda: InitOptions.from_env({"DATABASE_URL_FILE": "/x"}, read_text=lambda _: url),
    ]
    for read in ways:
        with pytest.raises(SettingsError) as caught:
            read()
        assert CANARY not in str(caught.value)
        assert CANARY not in repr(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("query", "setting", "limit"),
    [
        ("", None, timedelta(seconds=2)),
        ("", "5s", timedelta(seconds=5)),
        ("", "0", None),
        ("?lock_timeout=10s", None, None),
        ("?options=-c%20lock_timeout%3D10s", None, None),
        ("?lock_timeout=10s", "5s", timedelta(seconds=5)),
    ],
)
def test_the_limit_for_a_lock_is_the_settings_or_the_urls_or_two_seconds(
    query: str, setting: str | None, limit: timedelta | None
) -> None:
    options = InitOptions(database_url=f"postgresql://host/{query}", lock_timeout=setting)  # type: ignore[arg-type]
    assert options.lock_limit == limit


def test_the_limit_for_a_lock_is_that_of_the_url_which_migrates() -> None:
    plain, limited = "postgresql://host/", "postgresql://host/?lock_timeout=10s"
    assert InitOptions(database_url=limited, migration_url=plain).lock_limit == timedelta(seconds=2)
    assert InitOptions(database_url=plain, migration_url=limited).lock_limit is None
