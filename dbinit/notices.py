"""What the server says besides its answers (NOTICE, WARNING and the like), and its way into the log.

A statement may say something a million times over. So it is passed on while the statement runs, or, where only the end
of a message tells whose it is and whether it is to be told at all, kept up to a limit and counted beyond it.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg

from .sql.text import hide_passwords
from .wording import counted

__all__ = ["Notices", "collecting", "passing_on"]

logger = logging.getLogger("dbinit")

_MOST = 1 << 20  # characters that are kept
_APIECE = 100  # characters that each takes at least


class Notices:
    """What was said: the first of it, and how much more there was."""

    def __init__(self) -> None:
        self._kept: list[tuple[str | None, str]] = []
        self._room = _MOST
        self._left_out = 0

    def __bool__(self) -> bool:
        return bool(self._kept or self._left_out)

    def add(self, notice: asyncpg.PostgresLogMessage) -> None:
        """Keep it, or count it where there is no room left."""
        self._room -= len(notice.message) + _APIECE
        if self._room >= 0:
            self._kept.append((notice.severity, notice.message))
        else:
            self._left_out += 1

    def log(self, where: str) -> None:
        """Log it, with the place in a file that it is about."""
        for severity, message in self._kept:
            _log(severity, message, where)
        if self._left_out:
            more = counted(self._left_out, "further message")
            logger.warning("%s: %s of the server left out, as there were so many at once", where, more)


@contextmanager
def collecting(connection: asyncpg.Connection) -> Iterator[Notices]:
    """Collect what the server says meanwhile."""
    notices = Notices()
    with _listening(connection, notices.add):
        yield notices


@contextmanager
def passing_on(connection: asyncpg.Connection, where: str) -> Iterator[None]:
    """Log what the server says meanwhile, as it comes, with the place in a file that it is about."""
    with _listening(connection, lambda notice: _log(notice.severity, notice.message, where)):
        yield


@contextmanager
def _listening(connection: asyncpg.Connection, take: Callable[[asyncpg.PostgresLogMessage], None]) -> Iterator[None]:
    def listen(_: object, notice: asyncpg.PostgresLogMessage) -> None:
        take(notice)

    connection.add_log_listener(listen)
    try:
        yield
    finally:
        connection.remove_log_listener(listen)


def _log(severity: str | None, message: str, where: str) -> None:
    level = logging.WARNING if severity == "WARNING" else logging.INFO
    logger.log(level, "%s: %s: %s", where, severity, hide_passwords(message))
