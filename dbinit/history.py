"""The history table: what ran, when, how long, by whom.

Every name in these statements is qualified and every operator is spelt out, so that a hostile or an emptied
`search_path` makes no difference.
"""

import socket
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from .errors import HistoryError
from .model import Applied, Home, Outcome
from .progress import Begun, RowProgress
from .quoting import quote_literal, quote_name, quote_value, split_name
from .roles import back_to
from .rows import fetch_rows
from .version import __version__

__all__ = ["FORMAT", "TABLE", "Entry", "Present", "create", "find", "progress_of", "read", "record"]

TABLE = "dbinit_history"
FORMAT = 1
"""The shape of the rows; a newer dbinit that changes their meaning counts it up."""

_CREATE = """
CREATE TABLE {table} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    format integer NOT NULL,
    script pg_catalog.text NOT NULL,
    checksum pg_catalog.text NOT NULL,
    outcome pg_catalog.text NOT NULL,
    statements integer NOT NULL,
    progress pg_catalog.text NOT NULL DEFAULT '',
    applied_at timestamp with time zone NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    seconds double precision NOT NULL,
    applied_by pg_catalog.text NOT NULL DEFAULT session_user,
    host pg_catalog.text NOT NULL,
    dbinit_version pg_catalog.text NOT NULL
);
COMMENT ON TABLE {table} IS 'What dbinit applied to this database.'
"""
_SELECT = """
SELECT id, format, dbinit_version, script, checksum, outcome, pg_catalog.date_part('epoch', applied_at),
    statements, progress
FROM {table}
"""
_INSERT = """
INSERT INTO {table} (format, script, checksum, outcome, statements, seconds, host, dbinit_version) VALUES ({values})
"""
# The catalog is asked, not to_regclass(), which raises 42501 where the role may not look into the schema.
_PRESENT = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE {schema}), EXISTS (SELECT {table} AND {schema}),
    EXISTS (SELECT {sentinel})
"""
_FROM_TABLES = """
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.=) {name}::pg_catalog.text
  AND c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p,v,m,f}}'::pg_catalog."char"[])
"""
_IN_SCHEMA = "n.nspname OPERATOR(pg_catalog.=) {schema}::pg_catalog.text"
_IN_PATH = "n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(false))"


class Present(NamedTuple):
    """What is there: the schema of the history, its table, and the sentinel."""

    schema: bool
    table: bool
    sentinel: bool


class Entry(NamedTuple):
    """What is recorded about one file; the server adds when and by whom, `record` where and by which version."""

    script: str
    checksum: str
    outcome: Outcome
    statements: int = 0
    seconds: float = 0.0


async def read(connection: asyncpg.Connection, home: Home) -> list[Applied] | None:
    """Return the history, oldest first, or None where there is no history table.

    One round trip of the simple protocol, which also works behind a transaction pooler: the rows come through COPY.

    Raises:
        HistoryError: The table is not one that this version can read.
        LockTimeoutError: Somebody has locked it.
    """
    try:
        found = await fetch_rows(connection, _SELECT.format(table=_qualified(home)), home.role)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    except (TimeoutError, asyncpg.LockNotAvailableError) as error:
        from .lockers import raise_if_locked  # noqa: PLC0415 - seldom needed

        await raise_if_locked(connection, home, TABLE, error)
        raise
    except (asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError) as error:
        raise HistoryError.unreadable(_qualified(home), str(error)) from None
    try:
        rows = [[field or "" for field in row] for row in found]
        # Sorted here, as a sort in the query costs a fresh session more than it does us.
        return [_row(home, row) for row in sorted(rows, key=lambda row: int(row[0]))]
    except (OverflowError, ValueError) as error:
        raise HistoryError.unreadable(_qualified(home), str(error)) from None


async def find(connection: asyncpg.Connection, home: Home, sentinel: str) -> Present:
    """Look what is there, in one round trip.

    Args:
        connection: Where.
        home: Of the history.
        sentinel: A table or view, as `split_name` reads it, empty for none; without a schema it is looked for in the
            search path of that role.
    """
    where, name = split_name(sentinel) if sentinel else ("", "")
    in_schema = _IN_SCHEMA.format(schema=quote_literal(home.schema))
    there = _IN_SCHEMA.format(schema=quote_literal(where)) if where else _IN_PATH
    select = _PRESENT.format(
        schema=in_schema,
        table=_FROM_TABLES.format(name=quote_literal(TABLE)),
        sentinel=f"{_FROM_TABLES.format(name=quote_literal(name))} AND {there}" if name else "WHERE false",
    )
    (found,) = await fetch_rows(connection, select, home.role)
    return Present(*(value == "t" for value in found))


async def create(connection: asyncpg.Connection, home: Home, *, schema_exists: bool) -> None:
    """Create the table, and its schema when that is missing. Call it inside the transaction that holds the lock."""
    first = "" if schema_exists else f"CREATE SCHEMA {quote_name(home.schema)};"
    await connection.execute(first + _CREATE.format(table=_qualified(home)))


async def record(connection: asyncpg.Connection, home: Home, entry: Entry) -> None:
    """Add a row. Call it inside the transaction that did the work, so that both happen or neither."""
    done = (entry.script, entry.checksum, entry.outcome.value, entry.statements, entry.seconds)
    values = ", ".join(quote_value(value) for value in (FORMAT, *done, socket.gethostname(), __version__))
    # The script may have changed its role; what is recorded is still our doing.
    await connection.execute(back_to(home.role) + _INSERT.format(table=_qualified(home), values=values))


def progress_of(connection: asyncpg.Connection, home: Home, row: Applied, checksum: str) -> RowProgress:
    """Return what records how far an unfinished script comes.

    Args:
        connection: Where the script is run.
        home: Where the history is.
        row: The script's row.
        checksum: The script's checksum now.
    """
    states = (Outcome.UNFINISHED.value, Outcome.APPLIED.value)
    begun = Begun(_qualified(home), home.role, row.id, row.script, "outcome", states, row.statements, row.progress)
    return RowProgress(connection, begun, checksum)


def _row(home: Home, row: list[str]) -> Applied:
    number, written_format, version, script, checksum, outcome, seconds, statements, progress = row
    if int(written_format) > FORMAT:
        raise HistoryError.too_new(_qualified(home), version)
    applied_at = datetime.fromtimestamp(float(seconds), UTC)
    return Applied(script, checksum, Outcome(outcome), applied_at, int(statements), progress, int(number))


def _qualified(home: Home) -> str:
    return f"{quote_name(home.schema)}.{TABLE}"
