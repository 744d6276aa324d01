"""The values of settings: read from what code or the environment gives, or refused. Pure.

Each function returns the value, or raises a `ValueError` that says what is wrong with it.
"""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from .durations import parse_duration
from .quoting import split_name
from .timeouts import LONGEST
from .url import DatabaseUrl, UrlError, parse_url

__all__ = [
    "TRY_EMBEDDED",
    "attempts",
    "boolean",
    "choice",
    "database_url",
    "duration",
    "identifier",
    "jobs",
    "limit_of_server",
    "optional",
    "path",
    "positive",
    "sentinel",
    "texts",
    "variables",
]

_E = TypeVar("_E", bound=Enum)
_T = TypeVar("_T")

TRY_EMBEDDED = (
    "set it to postgresql://user:password@host:5432/database; to try dbinit without a server of your own,"
    " install dbinit[embedded] and set DATABASE_URL=embedded:///tmp/dbinit-try"
)
_VARIABLE_NAME = r"\w+"  # what psql allows
_LONGEST_NAME = 63  # bytes; PostgreSQL cuts longer ones off


def optional(read: Callable[[object], _T]) -> Callable[[object], _T | None]:
    """Return what reads a value that may be None."""
    return lambda value: None if value is None else read(value)


def database_url(value: object) -> DatabaseUrl:
    """Read a database URL, which may be parsed already."""
    if isinstance(value, DatabaseUrl):
        return value
    if not isinstance(value, str):
        raise ValueError(f"it is not set; {TRY_EMBEDDED}")  # noqa: TRY004 - one kind for all
    try:
        return parse_url(value)
    except UrlError as error:
        raise ValueError(f"the URL cannot be used: {error}") from None


def path(value: object) -> Path:
    """Read the path of a file or folder."""
    if not isinstance(value, Path | str) or not str(value) or "\0" in str(value):
        raise ValueError("it is no path")
    return Path(value)


def texts(value: object) -> Mapping[str, str]:
    """Read a mapping of names to texts."""
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise ValueError("it must be a mapping of names to texts")
    for name, text in value.items():
        _check_text(text, f"the value of {name}")
    return MappingProxyType(dict(value))


def variables(value: object) -> Mapping[str, str]:
    """Read the variables of a script."""
    if not isinstance(value, Mapping):
        raise ValueError("it must be a mapping of names to texts")  # noqa: TRY004 - one kind for all
    for name, text in value.items():
        if not isinstance(name, str) or not re.fullmatch(_VARIABLE_NAME, name):
            raise ValueError(f"{name!r} is no name for a variable; use letters, digits and underscores only")
        _check_text(text, f"the value of {name}")
    return MappingProxyType(dict(value))


def boolean(value: object) -> bool:
    """Read `true`, `yes`, `on`, `1`, or one of their opposites."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueError("it must be true or false")  # noqa: TRY004 - one kind for all
    if value.strip().lower() in {"true", "yes", "on", "1", "false", "no", "off", "0"}:
        return value.strip().lower() in {"true", "yes", "on", "1"}
    raise ValueError(f"{value!r} is neither true nor false")


def attempts(value: object) -> int:
    """Read a whole number of at least 0."""
    return _whole(value, least=0)


def jobs(value: object) -> int:
    """Read a whole number of at least 1."""
    return _whole(value, least=1)


def _whole(value: object, *, least: int) -> int:
    try:
        number = int(value) if isinstance(value, int | str) else least - 1
    except ValueError:
        number = least - 1
    if number < least:
        raise ValueError(f"{value!r} is not a whole number of at least {least}")
    return number


def duration(value: object) -> timedelta:
    """Read a duration of zero or more."""
    if isinstance(value, str):
        return parse_duration(value)
    if not isinstance(value, timedelta):
        raise ValueError("it must be a timedelta, such as timedelta(seconds=5)")  # noqa: TRY004 - one kind for all
    if value < timedelta():
        raise ValueError("it is negative")
    return value


def positive(value: object) -> timedelta:
    """Read a duration of more than zero."""
    if not (found := duration(value)):
        raise ValueError("it must be more than zero")
    return found


def limit_of_server(value: object) -> timedelta:
    """Read a duration of zero or more that the server is told of, which counts it in 31 bits."""
    if (found := duration(value)) > LONGEST:
        raise ValueError(f"it is more than PostgreSQL takes, which is {LONGEST.days} days")
    return found


def choice(kind: type[_E]) -> Callable[[object], _E]:
    """Return what reads one of the values of an enumeration."""

    def read(value: object) -> _E:
        if isinstance(value, kind):
            return value
        try:
            return kind(value.strip().lower() if isinstance(value, str) else value)
        except ValueError:
            raise ValueError(f"{value!r} is not one of {', '.join(item.value for item in kind)}") from None

    return read


def identifier(value: object) -> str:
    """Read the name of something in a database."""
    if not isinstance(value, str) or not value:
        raise ValueError("it must be a name")
    _check_text(value, "it")
    if len(value.encode()) > _LONGEST_NAME:
        raise ValueError(f"it is longer than {_LONGEST_NAME} bytes, where PostgreSQL cuts names off")
    return value


def sentinel(value: object) -> str:
    """Read the name of a table, with or without its schema; an empty text means none."""
    if not isinstance(value, str):
        raise ValueError("it must be a table's name, or an empty text for none")  # noqa: TRY004 - one kind for all
    name = value.strip()
    _check_text(name, "it")
    try:
        split_name(name or "none")
    except ValueError:
        write = """users, schema.users, or "names"."with dots", or nothing for none"""
        raise ValueError(f"{value!r} is not a table's name; write {write}") from None
    return name


def _check_text(text: object, what: str) -> None:
    """Refuse what PostgreSQL cannot take for a text; bytes of the environment that are not UTF-8 become surrogates."""
    if not isinstance(text, str):
        raise ValueError(f"{what} is no text")  # noqa: TRY004 - one kind for all
    if "\0" in text:
        raise ValueError(f"{what} has a NUL in it, which PostgreSQL cannot take")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is not UTF-8") from None
