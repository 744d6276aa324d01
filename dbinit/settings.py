"""The settings: one frozen value that checks itself, from code or from the environment."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from .durations import parse_duration
from .errors import SettingsError
from .model import Format, Home, Mode, OnChange, OnFailure
from .quoting import split_name
from .url import DatabaseUrl, UrlError, parse_url

__all__ = ["KNOWN_VARIABLES", "InitOptions"]

_E = TypeVar("_E", bound=Enum)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_MAY_BE_SECRET = re.compile("[:@]")  # in a file's name: it may be a URL that somebody has mistyped
_VARIABLE_NAME = r"\w+"  # what psql allows
_FLYWAY = "FLYWAY_PLACEHOLDERS_"

_TRY_EMBEDDED = (
    "set it to postgresql://user:password@host:5432/database; to try dbinit without a server of your own,"
    " install dbinit[embedded] and set DATABASE_URL=embedded:///tmp/dbinit-try"
)
_CONNECT_TIMEOUT = timedelta(seconds=10)
# Who waits for a lock holds up all who come behind. So long a stall is still a slow page, and no outage.
_LOCK_TIMEOUT = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    r"""What to bring into being, where, and how patiently.

    Args:
        database_url: The database; a text is parsed, and its password is never shown again.
        migration_url: The same database for what creates and changes the schema, with a login that may. A service's
            pool and probes, and the mode `verify`, keep to `database_url`. Default: `database_url`.
        role: The role to act as while the schema is created or changed, so that what is created belongs to it; the
            login has to be a member of it. Default: the login itself.
        migrations_path: The file of SQL, or a folder of migrations. Default `scripts/init-db.sql`.
        variables: Variables of the script, as `psql -v name=value` sets them; never shown. Default: none.
        include_root: The folder outside of which the script may not read files (`\i`, `\ir`, `\copy`). Default: the
            one that it lies in.
        migrations_format: Whose rules a folder of migrations is read by: `native`, `golang-migrate`, `sqlx`, `dbmate`,
            `goose` or `flyway`. Default: those that it is found to follow.
        placeholders: What stands for `${name}` in a folder of Flyway's. Default: nothing.
        allow_missing: Whether migrations are applied that come late, behind newer ones. Default: that is an error.
        jobs: How many migrations that do not need each other may run at a time. Default 1.
        retry_attempts: How often to try to connect; 0 for as often as fits into `connect_deadline`. Default 5.
        retry_delay: Pause after the first failed attempt; it doubles up to 30 s. Default 5 s.
        connect_timeout: Limit for one attempt. Default: the URL's `connect_timeout`, else 10 s.
        connect_deadline: Limit for all attempts and pauses together. Default 2 min.
        lock_wait: How long to wait for another starter at most. Default 5 min.
        statement_timeout: Limit for one statement of the file, PostgreSQL's `statement_timeout`. Default: the server's.
        lock_timeout: How long a statement of the file may wait for a lock, PostgreSQL's `lock_timeout`; 0 for what the
            server or the URL says. Default: the URL's `lock_timeout`, else 2 s.
        lock_retries: How often a script or a migration is tried again that did not get a lock in time, or got into
            another's way (a deadlock, a conflict of serializable transactions). Default 10, which takes about a minute.
        sentinel: A table, with or without its schema, whose presence in a database without history means that
            the schema was created before dbinit came; empty for none. Default `users`.
        on_change: What to do when the applied file was edited since. Default `rerun`.
        history_schema: The schema of the table `dbinit_history`; created when missing. Default `public`.
        mode: How a service starts; `dbinit.fastapi` uses it. Default `background`.
        on_failure: What a service does when its start fails for good; `dbinit.fastapi` uses it. Default `exit`.

    Raises:
        SettingsError: One or more cannot be used; the error names all of them.
    """

    database_url: DatabaseUrl | str
    migration_url: DatabaseUrl | str | None = None
    role: str | None = None
    migrations_path: Path | str = Path("scripts/init-db.sql")
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    include_root: Path | str | None = None
    migrations_format: Format | str | None = None
    placeholders: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    allow_missing: bool = False
    jobs: int = 1
    retry_attempts: int = 5
    retry_delay: timedelta = timedelta(seconds=5)
    connect_timeout: timedelta | None = None
    connect_deadline: timedelta = timedelta(minutes=2)
    lock_wait: timedelta = timedelta(minutes=5)
    statement_timeout: timedelta | None = None
    lock_timeout: timedelta | None = None
    lock_retries: int = 10
    sentinel: str = "users"
    on_change: OnChange | str = OnChange.RERUN
    history_schema: str = "public"
    mode: Mode | str = Mode.BACKGROUND
    on_failure: OnFailure | str = OnFailure.EXIT

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name, read in _READERS.items():
            try:
                object.__setattr__(self, name, read(getattr(self, name)))
            except ValueError as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise SettingsError(tuple(problems))

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        read_text: Callable[[Path], str] | None = None,
        **overrides: Any,
    ) -> "InitOptions":
        """Read the settings from the environment.

        Args:
            environ: The variables. Default `os.environ`.
            read_text: Reads the file that `DATABASE_URL_FILE` or `DBINIT_MIGRATION_URL_FILE` names. Default: as UTF-8.
            **overrides: Fields that win over the environment (those that are None do not); `placeholders` win one by
                one. With a `database_url` none of the environment's URLs is looked at.

        Raises:
            SettingsError: One or more cannot be used; the error names all of them.
        """
        environ = os.environ if environ is None else environ
        problems: list[str] = []
        values: dict[str, Any] = {}
        overrides = {name: value for name, value in overrides.items() if value is not None}
        for variable, (name, read) in _VARIABLES.items():
            text = environ.get(variable)
            if name in overrides or text is None or (not text and name != "sentinel"):
                continue
            try:
                values[name] = read(text)
            except ValueError as error:
                problems.append(f"{variable}: {error}")
        for name, variable in _URLS.items():
            if (
                "database_url" not in overrides
                and name not in overrides
                and (url := _read_url(variable, environ, read_text or _read_utf8, problems))
            ):
                values[name] = url
        if isinstance(given := overrides.get("placeholders", {}), Mapping):
            overrides["placeholders"] = {**_flyway_placeholders(environ), **given}
        problems += _unknown_variables(environ)
        try:
            options = cls(**{"database_url": _PLACEHOLDER, **values, **overrides})
        except SettingsError as error:
            raise SettingsError((*problems, *error.problems)) from None
        if problems:
            raise SettingsError(tuple(problems))
        return options

    @property
    def url(self) -> DatabaseUrl:
        """The parsed `database_url`."""
        assert isinstance(self.database_url, DatabaseUrl)  # noqa: S101 - __post_init__ made it so
        return self.database_url

    @property
    def migrating_url(self) -> DatabaseUrl:
        """The parsed `migration_url`, or else the `database_url`."""
        return self.migration_url if isinstance(self.migration_url, DatabaseUrl) else self.url

    @property
    def home(self) -> Home:
        """Where the history is kept, and by whom."""
        return Home(self.history_schema, self.role or "")

    def attempt_timeout(self, url: DatabaseUrl) -> timedelta:
        """Return the limit for one attempt: the setting, else the URL's, else 10 s."""
        return self.connect_timeout or url.connect_timeout or _CONNECT_TIMEOUT

    @property
    def lock_limit(self) -> timedelta | None:
        """How long a statement may wait for a lock; None where the server or the URL says that."""
        if self.lock_timeout is not None:
            return self.lock_timeout or None
        said = self.url.session
        return None if "lock_timeout" in said or "lock_timeout" in said.get("options", "") else _LOCK_TIMEOUT


# Stands in for a URL that is missing or wrong, so that the other mistakes are found in the same go.
_PLACEHOLDER = DatabaseUrl()


def _read_url(
    variable: str, environ: Mapping[str, str], read_text: Callable[[Path], str], problems: list[str]
) -> DatabaseUrl | None:
    """Read a URL from its variable, or from the file that the variable with `_FILE` names."""
    text, file = environ.get(variable), environ.get(f"{variable}_FILE")
    name = variable if text else f"{variable}_FILE"
    shown = "the file" if _MAY_BE_SECRET.search(file or "") else file
    try:
        if text and file:
            problems.append(f"{variable} and {variable}_FILE are both set; unset one of them")
        elif file:
            return _url_from_file(file, variable, read_text)
        elif text:
            return _url(text)
        elif variable == "DATABASE_URL":
            problems.append(f"{variable} is not set; {_TRY_EMBEDDED}")
    except OSError as error:
        problems.append(f"{name}: cannot read {shown}: {error.strerror or type(error).__name__}")
    except UnicodeDecodeError:
        problems.append(f"{name}: {shown} is not UTF-8 text")
    except ValueError as error:
        problems.append(f"{name}: {error}")
    return None


def _url_from_file(file: str, variable: str, read_text: Callable[[Path], str]) -> DatabaseUrl:
    if _SCHEME.match(file):  # not to be repeated: it holds the password
        raise ValueError(f"it holds a URL instead of a file's name; set {variable} to it")
    if not (text := read_text(Path(file)).strip()):
        raise ValueError("the file is empty")
    return _url(text)


def _read_utf8(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _flyway_placeholders(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the placeholders that are given as Flyway itself takes them; their case makes no difference."""
    return {
        name.removeprefix(_FLYWAY): value
        for name, value in environ.items()
        if name.startswith(_FLYWAY) and name != _FLYWAY
    }


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Name the misspelt settings; not all that is unknown, as Kubernetes sets DBINIT_PORT for a service `dbinit`."""
    unknown = [name for name in environ if name.startswith("DBINIT_") and name not in KNOWN_VARIABLES]
    if not unknown:
        return []
    from difflib import get_close_matches  # noqa: PLC0415 - seldom needed, and slow to import

    guesses = [(name, get_close_matches(name, _OWN_VARIABLES, n=1, cutoff=0.85)) for name in unknown]
    return [f"{name}: there is no such setting; did you mean {guess[0]}?" for name, guess in guesses if guess]


def _url(value: object) -> DatabaseUrl:
    if isinstance(value, DatabaseUrl):
        return value
    if not isinstance(value, str):
        raise ValueError(f"it is not set; {_TRY_EMBEDDED}")  # noqa: TRY004 - one kind for all
    try:
        return parse_url(value)
    except UrlError as error:
        raise ValueError(f"the URL cannot be used: {error}") from None


def _migration_url(value: object) -> DatabaseUrl | None:
    return None if value is None else _url(value)._replace(setting=_URLS["migration_url"])


def _path(value: object) -> Path:
    if not isinstance(value, Path | str) or not str(value) or "\0" in str(value):
        raise ValueError("it is no path")
    return Path(value)


def _optional_path(value: object) -> Path | None:
    return None if value is None else _path(value)


def _optional_format(value: Format | str | None) -> Format | None:
    return None if value is None else _choice(Format)(value)


def _texts(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise ValueError("it must be a mapping of names to texts")
    return MappingProxyType(dict(value))


def _boolean(value: bool | str) -> bool:  # noqa: FBT001 - the value of a setting
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueError("it must be true or false")  # noqa: TRY004 - one kind for all
    if value.strip().lower() in {"true", "yes", "on", "1", "false", "no", "off", "0"}:
        return value.strip().lower() in {"true", "yes", "on", "1"}
    raise ValueError(f"{value!r} is neither true nor false")


def _jobs(value: object) -> int:
    if not (number := _attempts(value)):
        raise ValueError("it must be at least 1")
    return number


def _variables_of_script(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("it must be a mapping of names to texts")  # noqa: TRY004 - one kind for all
    for name, text in value.items():
        if not isinstance(name, str) or not re.fullmatch(_VARIABLE_NAME, name):
            raise ValueError(f"{name!r} is no name for a variable; use letters, digits and underscores only")
        if not isinstance(text, str) or "\0" in text:
            raise ValueError(f"the value of {name} is no text")
    return MappingProxyType(dict(value))


def _attempts(value: object) -> int:
    try:
        number = int(value) if isinstance(value, int | str) else -1
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"{value!r} is not a whole number of at least 0")
    return number


def _duration(value: timedelta | str) -> timedelta:
    if isinstance(value, str):
        return parse_duration(value)
    if not isinstance(value, timedelta):
        raise ValueError("it must be a timedelta, such as timedelta(seconds=5)")  # noqa: TRY004 - one kind for all
    if value < timedelta():
        raise ValueError("it is negative")
    return value


def _positive(value: timedelta | str) -> timedelta:
    duration = _duration(value)
    if not duration:
        raise ValueError("it must be more than zero")
    return duration


def _optional_duration(value: timedelta | str | None) -> timedelta | None:
    return None if value is None else _duration(value)


def _optional_positive(value: timedelta | str | None) -> timedelta | None:
    return None if value is None else _positive(value)


def _choice(kind: type[_E]) -> Callable[[_E | str], _E]:
    def read(value: _E | str) -> _E:
        if isinstance(value, kind):
            return value
        try:
            return kind(value.strip().lower() if isinstance(value, str) else value)
        except ValueError:
            raise ValueError(f"{value!r} is not one of {', '.join(item.value for item in kind)}") from None

    return read


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("it must be a name")
    return value


def _optional_identifier(value: object) -> str | None:
    return None if value is None else _identifier(value)


def _sentinel(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be a table's name, or an empty text for none")  # noqa: TRY004 - one kind for all
    name = value.strip()
    try:
        split_name(name or "none")
    except ValueError:
        write = """users, schema.users, or "names"."with dots", or nothing for none"""
        raise ValueError(f"{value!r} is not a table's name; write {write}") from None
    return name


_READERS: dict[str, Callable[[Any], Any]] = {
    "database_url": _url,
    "migration_url": _migration_url,
    "role": _optional_identifier,
    "migrations_path": _path,
    "variables": _variables_of_script,
    "include_root": _optional_path,
    "migrations_format": _optional_format,
    "placeholders": _texts,
    "allow_missing": _boolean,
    "jobs": _jobs,
    "retry_attempts": _attempts,
    "retry_delay": _duration,
    "connect_timeout": _optional_positive,
    "connect_deadline": _positive,
    "lock_wait": _duration,
    "statement_timeout": _optional_positive,
    "lock_timeout": _optional_duration,
    "lock_retries": _attempts,
    "sentinel": _sentinel,
    "on_change": _choice(OnChange),
    "history_schema": _identifier,
    "mode": _choice(Mode),
    "on_failure": _choice(OnFailure),
}
_VARIABLES = {
    variable: (name, _READERS[name])
    for variable, name in {
        "DBINIT_ROLE": "role",
        "MIGRATION_PATH": "migrations_path",
        "DBINIT_INCLUDE_ROOT": "include_root",
        "DBINIT_FORMAT": "migrations_format",
        "DBINIT_ALLOW_MISSING": "allow_missing",
        "DBINIT_JOBS": "jobs",
        "DB_RETRY_ATTEMPTS": "retry_attempts",
        "DB_RETRY_DELAY": "retry_delay",
        "DBINIT_CONNECT_TIMEOUT": "connect_timeout",
        "DBINIT_CONNECT_DEADLINE": "connect_deadline",
        "DBINIT_LOCK_WAIT": "lock_wait",
        "DBINIT_STATEMENT_TIMEOUT": "statement_timeout",
        "DBINIT_LOCK_TIMEOUT": "lock_timeout",
        "DBINIT_LOCK_RETRIES": "lock_retries",
        "DBINIT_SENTINEL": "sentinel",
        "DBINIT_ON_CHANGE": "on_change",
        "DBINIT_HISTORY_SCHEMA": "history_schema",
        "DBINIT_MODE": "mode",
        "DBINIT_ON_FAILURE": "on_failure",
    }.items()
}
_URLS = {"database_url": "DATABASE_URL", "migration_url": "DBINIT_MIGRATION_URL"}
KNOWN_VARIABLES = frozenset({*_URLS.values(), *(f"{name}_FILE" for name in _URLS.values()), *_VARIABLES})
"""The environment variables that dbinit reads."""
_OWN_VARIABLES = frozenset(name for name in KNOWN_VARIABLES if name.startswith("DBINIT_"))
