"""Runs again what got into another's way: as a whole, behind a pause, some times; and says each time into whose."""

import logging
import random
import re
from collections import Counter

import anyio
import asyncpg

from .activity import Session, find_sessions
from .backoff import delays
from .durations import format_duration
from .errors import DbInitError
from .watching import Watch

__all__ = ["Retries"]

logger = logging.getLogger("dbinit")

_CONFLICTS = {
    "55P03": "did not get a lock in time",
    "40P01": "ran into a deadlock",
    "40001": "changed or read what another transaction has changed meanwhile",
}
# Ten tries with pauses up to ten seconds take a minute: that is longer than most of what is in the way, and shorter
# than what probes and deployments have patience for.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds
_DEADLOCKED = re.compile(r"blocked by process (\d+)")
_OTHERS = """
SELECT v.pid FROM (VALUES {pids}) v(pid) WHERE v.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
"""


class Retries:
    """Counts the tries of each script, and says whether there is another.

    Args:
        most: How often one is tried again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._failures: Counter[str] = Counter()

    def wants_care(self, key: str) -> bool:
        """Tell whether a script is to be run with care at once: it got into another's way before, or has one try only.

        Run as one message, it would wait for a lock once more before the statement is known that does not get it.
        """
        return self._failures[key] > 0 or not self._most

    def is_due(self, error: BaseException, key: str) -> bool:
        """Tell whether another try may help against an error, and is left."""
        return _conflict(error) is not None and self._failures[key] < self._most

    def go_on(self, key: str) -> None:
        """Take note that a script has come further: what follows has all its tries."""
        del self._failures[key]

    async def again(self, error: Exception, key: str, connection: asyncpg.Connection, watch: Watch) -> None:
        """Pause before another try; raise the error if it is none that another helps against, or if there is none left.

        Args:
            error: What has failed.
            key: The script that is counted, by the name that the log calls it.
            connection: Where it was run; everything is rolled back.
            watch: Who was in the way.
        """
        watch.end()
        if (sqlstate := _conflict(error)) is None:
            raise error
        blockers = watch.blockers or await _deadlocked(connection, error)
        self._failures[key] += 1
        number = self._failures[key]
        if number > self._most:
            raise _exhausted(error, number, blockers)
        pause = _pause(number)
        logger.warning(
            "%s %s; trying again in %s (%d of %d)%s",
            key,
            _CONFLICTS[sqlstate],
            format_duration(pause),
            number,
            self._most,
            _in_the_way(blockers),
        )
        await anyio.sleep(pause)


def _conflict(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error that another try may help against; a hook's own is behind it."""
    states = (getattr(found, "sqlstate", None) for found in (error, error.__cause__))
    return next((state for state in states if state in _CONFLICTS), None)


def _pause(number: int) -> float:
    pauses = delays(_FIRST_PAUSE, random.random, cap=_LONGEST_PAUSE)
    return next(pause for count, pause in enumerate(pauses, start=1) if count == number)


async def _deadlocked(connection: asyncpg.Connection, error: Exception) -> list[Session]:
    """Return who else was part of a deadlock: that is over before anybody looks, but the server says who it was."""
    said = [getattr(error, "detail", None), getattr(error, "message", None), str(error.__cause__)]
    pids = set(_DEADLOCKED.findall(" ".join(text for text in said if text)))
    if not pids or connection.is_closed():
        return []
    try:
        return await find_sessions(connection, _OTHERS.format(pids=", ".join(f"({pid})" for pid in sorted(pids))))
    except asyncpg.PostgresError:
        return []


def _in_the_way(blockers: list[Session]) -> str:
    return f"; in the way: {'; '.join(str(blocker) for blocker in blockers)}" if blockers else ""


def _exhausted(error: Exception, tries: int, blockers: list[Session]) -> Exception:
    """Return the error with how often it was tried, who was in the way, and what to do."""
    if isinstance(error, DbInitError):
        error.message += f"\nTried {tries} time{'s' if tries > 1 else ''}{_in_the_way(blockers)}"
        end = f"end what is in the way (SELECT pg_terminate_backend({blockers[0].pid})), or " if blockers else ""
        error.advice = (
            f"{end}start again when less is going on; or raise DBINIT_LOCK_RETRIES, or how long a statement may wait"
            " for a lock (DBINIT_LOCK_TIMEOUT, or a line `-- dbinit: lock-timeout 10s` in the migration)"
        )
    return error
