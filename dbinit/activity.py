"""Who holds the migration lock, and who is in a statement's way: sessions, as `pg_stat_activity` shows them.

Each question is one round trip outside of any transaction, and qualifies every name, as in `history`.
"""

import re
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from .durations import format_duration
from .quoting import quote_literal
from .rows import fetch_rows
from .sql.text import hide_passwords

__all__ = ["Session", "blockers_of", "find_holder", "find_sessions", "holding", "locking", "note", "process"]

_WIDEST = 80  # characters of a query
_HIDDEN = "<insufficient privilege>"  # the server's words for a query that a role may not see
_OURS = "dbinit"
# What dbinit says of a message of its own, and what it puts before a batch of a script's statements.
_NOTE = re.compile(r"/\* dbinit: (.*?) \*/")
_HEAD = re.compile(r"RELEASE SAVEPOINT dbinit_batch;.*\n")
# A key of 64 bits is split in two; an objsubid of 1 tells it from two keys of 32 bits.
_HOLDING = """
SELECT l.pid FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) l.database
WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted AND l.objsubid OPERATOR(pg_catalog.=) 1
  AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
  AND l.classid OPERATOR(pg_catalog.=) {high}::pg_catalog.oid AND l.objid OPERATOR(pg_catalog.=) {low}::pg_catalog.oid
"""
# Who waits to have a table to himself keeps all away who come behind him.
_LOCKING = """
SELECT COALESCE(l.pid, 0) FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) l.database
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.relation
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE l.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock'
  AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
  AND n.nspname OPERATOR(pg_catalog.=) {schema}::pg_catalog.text
  AND c.relname OPERATOR(pg_catalog.=) {table}::pg_catalog.text
ORDER BY l.granted DESC
"""
# Who blocks is asked only about a session that waits: the question holds up all who want a lock for a moment.
_BLOCKING = """
SELECT DISTINCT b.pid FROM pg_catalog.pg_stat_activity w
CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) b(pid)
WHERE w.wait_event_type OPERATOR(pg_catalog.=) 'Lock' AND w.pid OPERATOR(pg_catalog.=) ANY ({waiting})
"""
_SESSIONS = """
SELECT f.pid, a.application_name,
    a.application_name OPERATOR(pg_catalog.=) pg_catalog.current_setting('application_name'),
    a.state, pg_catalog.date_part('epoch', a.xact_start),
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.xact_start),
    pg_catalog.substr(a.query, 1, 2000)
FROM ({pids}) f(pid) LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) f.pid
WHERE f.pid IS NOT NULL
"""


class Session(NamedTuple):
    """A session; `str()` describes it for a person, without passwords.

    Attributes:
        pid: The server process; 0 for a prepared transaction, which has none.
        application: What its client calls itself.
        same: Whether it calls itself as we do.
        state: `active`, `idle in transaction` and the like; empty where this role may not see it.
        since: When its transaction began; None where this role may not see it.
        seconds: How long ago that was, by the server's clock.
        query: What it runs, or ran last, up to 2000 characters; empty where this role may not see it.
    """

    pid: int
    application: str
    same: bool
    state: str
    since: datetime | None
    seconds: float
    query: str

    @property
    def is_dbinit(self) -> bool:
        """Whether it is a dbinit, by what it calls itself."""
        return (self.same and bool(self.application)) or self.application.startswith(_OURS)

    def __str__(self) -> str:
        if not self.pid:
            return "a prepared transaction (see pg_prepared_xacts)"
        about = [_one_line(self.application) or "without an application name", self.state]
        if self.since:
            about.append(f"its transaction began {self.since:%H:%M:%S} UTC, {format_duration(self.seconds)} ago")
        if not self.query:
            about.append("what it runs is not shown to this role; pg_read_all_stats would show it")
        described = f"pid {self.pid} ({', '.join(part for part in about if part)})"
        return f"{described}: {self.words}" if self.query else described

    @property
    def words(self) -> str:
        """The first words of what it runs, in one line, without passwords."""
        if found := _NOTE.match(self.query):
            return found[1]
        words = _one_line(hide_passwords(_HEAD.sub("", self.query, count=1)))
        return words if len(words) <= _WIDEST else words[: _WIDEST - 3] + "..."


def note(text: str) -> str:
    """Return a comment for the head of a message of ours, which tells others what it does: `Session.words`."""
    # In ASCII, which every server's encoding has.
    plain = _one_line(text).encode("ascii", "replace").decode().replace("*/", "* /").replace("/*", "/ *")
    return f"/* dbinit: {plain} */ "


def holding(key: int) -> str:
    """Return the query for the process that holds the advisory lock with a key of 64 bits."""
    unsigned = key % 2**64
    return _HOLDING.format(high=unsigned >> 32, low=unsigned % 2**32)


def process(pid: int) -> str:
    """Return the query for the process with a number; behind a pooler the driver does not know that number."""
    return f"SELECT {pid}"


def locking(schema: str, table: str) -> str:
    """Return the query for the processes that have a table to themselves, or wait for that."""
    return _LOCKING.format(schema=quote_literal(schema), table=quote_literal(table))


async def find_holder(connection: asyncpg.Connection, *keys: int) -> Session | None:
    """Return who holds the first of several advisory locks that is held; None where nobody does any more.

    Args:
        connection: Where to ask, outside of any transaction.
        *keys: The locks' keys.

    Raises:
        asyncpg.PostgresError: This role may not ask.
    """
    return next(iter(await find_sessions(connection, " UNION ALL ".join(map(holding, keys)))), None)


async def blockers_of(connection: asyncpg.Connection, waiting: str) -> list[Session]:
    """Return who is in the way of a session that waits for a lock; nobody where it does not wait.

    Args:
        connection: Another connection, outside of any transaction.
        waiting: A query for the process of the session, such as `holding()` returns.

    Raises:
        asyncpg.PostgresError: This role may not ask.
    """
    return await find_sessions(connection, _BLOCKING.format(waiting=waiting))


async def find_sessions(connection: asyncpg.Connection, pids: str) -> list[Session]:
    """Return sessions.

    Args:
        connection: Where to ask, outside of any transaction.
        pids: A query for their processes.

    Raises:
        asyncpg.PostgresError: This role may not ask.
    """
    return [_session(row) for row in await fetch_rows(connection, _SESSIONS.format(pids=pids))]


def _session(row: list[str | None]) -> Session:
    pid, application, same, state, since, seconds, query = row
    began = datetime.fromtimestamp(float(since), UTC) if since else None
    shown = "" if query == _HIDDEN else query or ""
    return Session(int(pid or 0), application or "", same == "t", state or "", began, float(seconds or 0), shown)


def _one_line(text: str) -> str:
    return " ".join(text.split())
