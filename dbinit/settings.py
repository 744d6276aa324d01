"""The settings: one frozen value that checks itself, from code or from the environment."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from . import values
from .errors import SettingsError
from .model import Format, Home, Mode, OnChange, OnFailure
from .url import DatabaseUrl

__all__ = ["KNOWN_VARIABLES", "InitOptions"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_MAY_BE_SECRET = re.compile("[:@]")  # in a file's name: it may be a URL that somebody has mistyped
_FLYWAY = "FLYWAY_PLACEHOLDERS_"
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
        found: dict[str, Any] = {}
        overrides = {name: value for name, value in overrides.items() if value is not None}
        for variable, (name, read) in _VARIABLES.items():
            text = environ.get(variable)
            if name in overrides or text is None or (not text and name != "sentinel"):
                continue
            try:
                found[name] = read(text)
            except ValueError as error:
                problems.append(f"{variable}: {error}")
        for name, variable in _URLS.items():
            if (
                "database_url" not in overrides
                and name not in overrides
                and (url := _read_url(variable, environ, read_text or _read_utf8, problems))
            ):
                found[name] = url
        if isinstance(given := overrides.get("placeholders", {}), Mapping):
            overrides["placeholders"] = {**_flyway_placeholders(environ), **given}
        problems += _unknown_variables(environ)
        try:
            options = cls(**{"database_url": _PLACEHOLDER, **found, **overrides})
        except SettingsError as error:
            raise SettingsError((*problems, *error.problems)) from None
        if problems:
            raise SettingsError(tuple(problems))
        return options

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

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
        said = self.migrating_url.session
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
            return values.database_url(text)
        elif variable == "DATABASE_URL":
            problems.append(f"{variable} is not set; {values.TRY_EMBEDDED}")
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
    return values.database_url(text)


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


def _migration_url(value: object) -> DatabaseUrl:
    return values.database_url(value)._replace(setting=_URLS["migration_url"])


def _statement_timeout(value: object) -> timedelta:
    return values.limit_of_server(values.positive(value))


_READERS: dict[str, Callable[[object], Any]] = {
    "database_url": values.database_url,
    "migration_url": values.optional(_migration_url),
    "role": values.optional(values.identifier),
    "migrations_path": values.path,
    "variables": values.variables,
    "include_root": values.optional(values.path),
    "migrations_format": values.optional(values.choice(Format)),
    "placeholders": values.texts,
    "allow_missing": values.boolean,
    "jobs": values.jobs,
    "retry_attempts": values.attempts,
    "retry_delay": values.duration,
    "connect_timeout": values.optional(values.positive),
    "connect_deadline": values.positive,
    "lock_wait": values.duration,
    "statement_timeout": values.optional(_statement_timeout),
    "lock_timeout": values.optional(values.limit_of_server),
    "lock_retries": values.attempts,
    "sentinel": values.sentinel,
    "on_change": values.choice(OnChange),
    "history_schema": values.identifier,
    "mode": values.choice(Mode),
    "on_failure": values.choice(OnFailure),
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
