"""The history table: what ran, when, how long, by whom.

Every name in these statements is qualified and every operator is spelt out, so that a hostile or an emptied
`search_path` makes no difference.
"""

import re
import socket
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from .errors import HistoryError
from .model import Applied, Outcome
from .version import __version__

__all__ = ["FORMAT", "TABLE", "Entry", "advance", "create", "has_table", "read", "record"]

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
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_INSERT = """
INSERT INTO {table} (format, script, checksum, outcome, statements, seconds, host, dbinit_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_UPDATE = """
UPDATE {table} SET statements = $1, progress = $2, checksum = $3, outcome = $4,
    seconds = pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) applied_at)
WHERE id OPERATOR(pg_catalog.=) $5::bigint AND statements OPERATOR(pg_catalog.=) $6::integer
"""
_HAS_SCHEMA = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) $1::pg_catalog.text"
# The catalog is asked, not to_regclass(), which raises 42501 where the role may not look into the schema.
_HAS_TABLE = """
SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.=) $1::pg_catalog.text
  AND c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p,v,m,f}}'::pg_catalog."char"[])
  AND {where}
LIMIT 1
"""
_IN_SCHEMA = "n.nspname OPERATOR(pg_catalog.=) $2::pg_catalog.text"
_IN_PATH = "n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(false))"


class Entry(NamedTuple):
    """What is recorded about one file; the server adds when and by whom, `record` where and by which version."""

    script: str
    checksum: str
    outcome: Outcome
    statements: int = 0
    seconds: float = 0.0


async def read(connection: asyncpg.Connection, schema: str) -> list[Applied] | None:
    """Return the history, oldest first, or None where there is no history table.

    One round trip of the simple protocol, which also works behind a transaction pooler: the rows come through COPY.

    Raises:
        HistoryError: The table is not one that this version can read.
    """
    chunks: list[bytes] = []

    async def collect(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    try:
        await connection.copy_from_query(_SELECT.format(table=_qualified(schema)), output=collect, format="text")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    except (asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError) as error:
        raise _unreadable(schema, str(error)) from None
    lines = b"".join(chunks).decode().split("\n")[:-1]
    try:
        rows = [[_unescape(field) for field in line.split("\t")] for line in lines]
        # Sorted here, as a sort in the query costs a fresh session more than it does us.
        return [_row(schema, row) for row in sorted(rows, key=lambda row: int(row[0]))]
    except ValueError as error:
        raise _unreadable(schema, str(error)) from None


async def has_table(connection: asyncpg.Connection, name: str) -> bool:
    """Tell whether a table or view `name` or `schema.name` is there; a plain name is looked for in the search path.

    Call it inside a transaction: the extended protocol is not safe behind a pooler otherwise.
    """
    schema, _, table = name.rpartition(".")
    if schema:
        status = await connection.execute(_HAS_TABLE.format(where=_IN_SCHEMA), table, schema)
    else:
        status = await connection.execute(_HAS_TABLE.format(where=_IN_PATH), table)
    return status == "SELECT 1"


async def create(connection: asyncpg.Connection, schema: str) -> None:
    """Create the table, and its schema when that is missing. Call it inside the transaction that holds the lock."""
    if await connection.execute(_HAS_SCHEMA, schema) == "SELECT 0":
        await connection.execute(f"CREATE SCHEMA {_quoted(schema)}")
    await connection.execute(_CREATE.format(table=_qualified(schema)))


async def record(connection: asyncpg.Connection, schema: str, entry: Entry) -> None:
    """Add a row. Call it inside the transaction that did the work, so that both happen or neither."""
    # The script may have changed its role; what is recorded is still our doing.
    await connection.execute("RESET SESSION AUTHORIZATION; RESET ROLE")
    values = (entry.script, entry.checksum, entry.outcome.value, entry.statements, entry.seconds)
    insert = _INSERT.format(table=_qualified(schema))
    await connection.execute(insert, FORMAT, *values, socket.gethostname(), __version__)


async def advance(connection: asyncpg.Connection, schema: str, before: Applied, after: Applied) -> None:
    """Record how far an unfinished script has come. Call it inside the transaction that did the work.

    Raises:
        HistoryError: The row is not as we left it: another starter has gone on with the script.
    """
    update = _UPDATE.format(table=_qualified(schema))
    values = (after.statements, after.progress, after.checksum, after.outcome.value, before.id, before.statements)
    if await connection.execute(update, *values) != "UPDATE 1":
        raise HistoryError(f"another starter has gone on with {before.script}", advice="start again")


def _row(schema: str, row: list[str]) -> Applied:
    number, written_format, version, script, checksum, outcome, seconds, statements, progress = row
    if int(written_format) > FORMAT:
        raise HistoryError(
            f"the history in {_qualified(schema)} was written by a newer dbinit ({version})",
            advice="update dbinit in this service to at least that version",
        )
    applied_at = datetime.fromtimestamp(float(seconds), UTC)
    return Applied(script, checksum, Outcome(outcome), applied_at, int(statements), progress, int(number))


def _unescape(field: str) -> str:
    """Undo COPY's escapes, https://www.postgresql.org/docs/current/sql-copy.html (text format)."""
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), field) if "\\" in field else field


def _unreadable(schema: str, reason: str) -> HistoryError:
    return HistoryError(
        f"the table {_qualified(schema)} is no history that this dbinit can read: {reason}",
        advice="set DBINIT_HISTORY_SCHEMA to a schema of dbinit's own, or move that table out of the way",
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _qualified(schema: str) -> str:
    return f"{_quoted(schema)}.{TABLE}"
