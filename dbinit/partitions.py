"""Sees the detaching of a partition through that another session, or an earlier start, has left half-way.

https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-DETACH-PARTITION
"""

import logging
import re
from typing import NamedTuple

import asyncpg

from .backoff import is_connection_loss
from .failure import statement_error
from .patience import unlimited
from .quoting import quote_literal
from .rows import fetch_rows
from .sql.facts import BLANKS, TABLE

__all__ = ["Detachment", "concurrent_detachment", "finish_detachment"]

logger = logging.getLogger("dbinit")

_DETACH = re.compile(
    rf"alter{BLANKS}table{BLANKS}(?:if{BLANKS}exists{BLANKS})?(?:only{BLANKS})?(?P<table>{TABLE})(?:\*|{BLANKS})*+"
    rf"detach{BLANKS}partition{BLANKS}(?P<partition>{TABLE}){BLANKS}concurrently\b",
    re.IGNORECASE | re.DOTALL,
)
# One row, if both tables are there: true for a partition that is being detached, NULL for one that is none.
_STATE = """
SELECT i.inhdetachpending
FROM (VALUES (pg_catalog.to_regclass({table}), pg_catalog.to_regclass({partition}))) v (parent, child)
LEFT JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) v.parent::pg_catalog.oid
    AND i.inhrelid OPERATOR(pg_catalog.=) v.child::pg_catalog.oid
WHERE v.parent IS NOT NULL AND v.child IS NOT NULL
"""
_REFUSED = frozenset({"55000", "42P01"})  # it is being detached; it is no partition of that table


class Detachment(NamedTuple):
    """A partition that is to be detached from its table, as the statement has their names."""

    table: str
    partition: str


def concurrent_detachment(statement: str) -> Detachment | None:
    """Return what a statement detaches concurrently; None if it detaches nothing."""
    found = _DETACH.match(statement)
    return Detachment(found["table"], found["partition"]) if found else None


async def finish_detachment(
    connection: asyncpg.Connection, detachment: Detachment, sqlstate: str, *, begun: bool
) -> bool:
    """Finish what an interrupted statement has begun, where PostgreSQL has refused to run that statement again.

    Args:
        connection: Where the statement was run, outside of any transaction.
        detachment: What it detaches.
        sqlstate: Why it was refused.
        begun: Whether it was begun before; then it may have been done, too.

    Returns:
        Whether the partition is detached.

    Raises:
        StatementError: It could not be finished.
    """
    if sqlstate not in _REFUSED:
        return False
    table, partition = detachment
    rows = await fetch_rows(connection, _STATE.format(table=quote_literal(table), partition=quote_literal(partition)))
    match rows:
        case [["t"]]:
            logger.warning("The partition %s was left half detached; finishing that", partition)
            await _finalize(connection, detachment)
            return True
        case [[None]]:
            return begun
    return False


async def _finalize(connection: asyncpg.Connection, detachment: Detachment) -> None:
    finalize = f"ALTER TABLE {detachment.table} DETACH PARTITION {detachment.partition} FINALIZE"
    try:
        with unlimited(connection):  # it waits for whoever reads the table
            await connection.execute(finalize)
    except asyncpg.PostgresError as error:
        if is_connection_loss(error):
            raise
        raise statement_error(error, title=f"{finalize} failed, which was to finish what had been begun:") from None
