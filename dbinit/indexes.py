"""Sees a concurrent index build through: its progress, what an interrupted one has left over, and whether it is valid.

https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY
https://www.postgresql.org/docs/current/sql-reindex.html#SQL-REINDEX-CONCURRENTLY
"""

import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
import asyncpg

from .backoff import is_connection_loss
from .durations import format_duration
from .errors import LockTimeoutError
from .failure import statement_error
from .patience import unlimited
from .quoting import quote_literal
from .readiness import Phase, Step
from .rows import fetch_rows
from .sql.facts import BLANKS, NAME, TABLE, concurrently

__all__ = ["Index", "concurrent_build", "index_build"]

logger = logging.getLogger("dbinit")

_LOOK_EVERY = 0.5  # seconds
_ORPHAN_LIMIT = 3600.0  # seconds: as long as anybody builds an index, as a rule
_BUILD = re.compile(
    rf"create{BLANKS}(?:unique{BLANKS})?index{BLANKS}concurrently{BLANKS}(?:if{BLANKS}not{BLANKS}exists{BLANKS})?"
    rf"(?P<index>{NAME}){BLANKS}on{BLANKS}(?:only{BLANKS})?(?P<table>{TABLE})",
    re.IGNORECASE | re.DOTALL,
)
_REBUILD = re.compile(
    rf"reindex(?:\s*\([^)]*\)\s*|{BLANKS})(?:index|table){BLANKS}(?:concurrently{BLANKS})?(?P<name>{TABLE})",
    re.IGNORECASE | re.DOTALL,
)
# Indexes that are not valid, and whether somebody is building one at the moment.
_INVALID = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), EXISTS (
    SELECT FROM pg_catalog.pg_stat_progress_create_index p
    WHERE p.index_relid OPERATOR(pg_catalog.=) i.indexrelid
)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE NOT i.indisvalid AND {condition}
"""
# What a build leaves over: an index of that name on that table.
_LEFT_BY_BUILD = """
c.relname OPERATOR(pg_catalog.=) {index}::pg_catalog.text
AND i.indrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({table})::pg_catalog.oid
"""
# What a rebuild leaves over: the new index beside the old one, or the other way round, on the table that is named, or
# that the index which is named belongs to.
_LEFT_BY_REBUILD = """
c.relname OPERATOR(pg_catalog.~) '_cc(new|old)[0-9]*$'
AND i.indrelid OPERATOR(pg_catalog.=) COALESCE(
    (SELECT x.indrelid FROM pg_catalog.pg_index x
     WHERE x.indexrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({name})::pg_catalog.oid),
    pg_catalog.to_regclass({name})::pg_catalog.oid)
"""
_PROGRESS = """
SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, lockers_done, lockers_total
FROM pg_catalog.pg_stat_progress_create_index WHERE pid OPERATOR(pg_catalog.=) {pid}
"""


class Index(NamedTuple):
    """An index that is to be built, or built anew, or all those of a table.

    Attributes:
        name: What to call it in messages.
        left_over: As SQL, which indexes an interrupted build leaves over.
    """

    name: str
    left_over: str


def concurrent_build(statement: str) -> Index | None:
    """Return the index that a statement builds concurrently; None if it builds none, or one without a name."""
    if found := _BUILD.match(statement):
        name = found["index"]
        name = name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
        left_over = _LEFT_BY_BUILD.format(index=quote_literal(name), table=quote_literal(found["table"]))
        return Index(name, left_over)
    if concurrently(statement) and (found := _REBUILD.match(statement)):
        return Index(found["name"], _LEFT_BY_REBUILD.format(name=quote_literal(found["name"])))
    return None


@asynccontextmanager
async def index_build(
    connection: asyncpg.Connection, watcher: asyncpg.Connection, index: Index, step: Step
) -> AsyncIterator[None]:
    """Do what is to be done around a statement that builds an index concurrently.

    Before it, an invalid index of that name is dropped: the statement would fail because of it, or, with IF NOT EXISTS,
    leave it as it is; REINDEX would leave what another has left beside the index. But one that is still being built is
    waited for: the server goes on with it for a while when the client that wanted it was killed. Meanwhile the progress
    is watched. When the statement fails, what it leaves over is dropped.

    Args:
        connection: Where the statement is run, outside of any transaction.
        watcher: Another connection.
        index: What is built.
        step: Told of the progress.

    Raises:
        StatementError: An invalid index of that name could not be dropped.
    """
    await _until_nobody_builds(connection, index, step)
    try:
        await _drop_left_over(connection, index)
    except asyncpg.PostgresError as error:
        if is_connection_loss(error):
            raise
        # With the statement it would be taken for the one that is wanted.
        raise statement_error(error, title=f"An invalid index {index.name} is there, and stays:") from None
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, connection.get_server_pid(), watcher, index, step)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below; the task group would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    step(Phase.APPLYING, detail="")
    if failure:
        try:
            await _drop_left_over(connection, index)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("An invalid index %s may be left: %s", index.name, error)
        raise failure


async def _until_nobody_builds(connection: asyncpg.Connection, index: Index, step: Step) -> None:
    said, deadline = False, time.monotonic() + _ORPHAN_LIMIT
    while any(building == "t" for _, building in await _invalid(connection, index)):
        if time.monotonic() > deadline:
            raise LockTimeoutError(
                f"another session has been building the index {index.name} for {format_duration(_ORPHAN_LIMIT)}",
                advice="look for it in pg_stat_progress_create_index; start again when it has ended",
            )
        if not said:
            said = True
            logger.info("The index %s is still being built by another session; waiting for it...", index.name)
            step(Phase.APPLYING, detail=f"index {index.name}: waiting for another session that builds it")
        await anyio.sleep(_LOOK_EVERY)


async def _invalid(connection: asyncpg.Connection, index: Index) -> list[list[str | None]]:
    return await fetch_rows(connection, _INVALID.format(condition=index.left_over))


async def _drop_left_over(connection: asyncpg.Connection, index: Index) -> None:
    for name, building in await _invalid(connection, index):
        if building == "t":
            continue
        logger.warning("The index %s is invalid, as its build has failed or was interrupted; dropping it", name)
        with unlimited(connection):  # it waits for whoever uses the table
            await connection.execute(f"DROP INDEX CONCURRENTLY {name}")


async def _watch(pid: int, watcher: asyncpg.Connection, index: Index, step: Step) -> None:
    said = ""
    while True:
        await anyio.sleep(_LOOK_EVERY)
        with anyio.CancelScope(shield=True):  # a query that is cancelled half-way would spoil the connection
            try:
                rows = await fetch_rows(watcher, _PROGRESS.format(pid=pid))
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                return
        if rows and (detail := f"index {index.name}: {_progress(rows[0])}") != said:
            said = detail
            step(Phase.APPLYING, detail=detail)


def _progress(row: list[str | None]) -> str:
    """Return `building index: loading tuples in tree, 45%`, or `waiting for 2 of 3 transactions`."""
    phase, *numbers = row
    blocks, all_blocks, tuples, all_tuples, lockers, all_lockers = (int(number or 0) for number in numbers)
    if all_lockers and (phase or "").startswith("waiting"):
        return f"{phase}, {lockers} of {all_lockers} done"
    done, total = (tuples, all_tuples) if all_tuples else (blocks, all_blocks)
    return f"{phase}, {100 * done // total}%" if total else str(phase)
