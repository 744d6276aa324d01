"""How long an answer is waited for: a peer may have frozen while its kernel still acknowledges what it is sent.

What dbinit asks by itself is answered at once, or the connection is as good as lost. A statement of a user's may take
as long as it takes; where the server has a limit for it, it is waited for a little longer than that.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple
from weakref import WeakKeyDictionary

import asyncpg

__all__ = ["committing", "patient", "set_limits", "unlimited"]

_COMMIT_LIMIT = 600.0  # seconds, as deferred constraints and triggers are seen to then
_SETTING = "statement_timeout"


class _Limits(NamedTuple):
    """Seconds: for what dbinit asks by itself, and for a statement of a user's, None for as long as it takes."""

    own: float
    statement: float | None


_limits: WeakKeyDictionary[asyncpg.Connection, _Limits] = WeakKeyDictionary()


def set_limits(connection: asyncpg.Connection, own: timedelta, statement: timedelta | None) -> None:
    """Set how long answers are waited for on a connection; behind that, it is taken for lost (`TimeoutError`).

    Args:
        connection: The connection.
        own: The limit for what dbinit asks by itself, unless something else is said about it.
        statement: The server's limit for a statement of a user's.
    """
    _limits[connection] = _Limits(own.total_seconds(), statement.total_seconds() if statement else None)
    _set(connection, own.total_seconds())


@contextmanager
def patient(connection: asyncpg.Connection, statements: Iterable[str]) -> Iterator[None]:
    """Wait for one message with statements of a user's; as long as they take, once one of them sets its own limit."""
    known = _limits.get(connection)
    limit = None
    if known and known.statement is not None:
        texts = list(statements)
        if any(_SETTING in text.lower() for text in texts):
            _limits[connection] = known._replace(statement=None)
        else:
            limit = known.statement * len(texts) + known.own
    with _limited(connection, limit):
        yield


@contextmanager
def committing(connection: asyncpg.Connection) -> Iterator[None]:
    """Wait for a commit: what a user has deferred until then takes its time, but not for ever."""
    with _limited(connection, _COMMIT_LIMIT):
        yield


@contextmanager
def unlimited(connection: asyncpg.Connection) -> Iterator[None]:
    """Wait for answers as long as it takes."""
    with _limited(connection, None):
        yield


@contextmanager
def _limited(connection: asyncpg.Connection, seconds: float | None) -> Iterator[None]:
    before = connection._config.command_timeout  # type: ignore[attr-defined]  # noqa: SLF001 - see _set
    _set(connection, seconds)
    try:
        yield
    finally:
        _set(connection, before)


def _set(connection: asyncpg.Connection, seconds: float | None) -> None:
    # asyncpg takes a limit for all that is asked on a connection when that is made, and offers no way to change it.
    changed = connection._config._replace(command_timeout=seconds)  # type: ignore[attr-defined]  # noqa: SLF001
    connection._config = changed  # type: ignore[attr-defined]  # noqa: SLF001
