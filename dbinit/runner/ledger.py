"""The history of a folder of migrations: a table with a row for whatever was done to each.

Rows are only added, but for those of migrations that are run step by step. Their numbers are ours to choose, one after
the other: two starters that both believe to be alone would choose the same, and the table lets only one have it.

Every name in these statements is qualified and every operator is spelt out, as in `history`.
"""

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

import asyncpg

from dbinit.durations import format_duration, parse_duration
from dbinit.errors import HistoryError
from dbinit.migrations.history import TABLE, Recorded, State
from dbinit.migrations.model import Folder, Kind, Migration, Part, Transaction
from dbinit.migrations.plan import Step
from dbinit.migrations.version import Version
from dbinit.model import Home
from dbinit.progress import Begun, RowProgress
from dbinit.quoting import quote_name, quote_value
from dbinit.roles import back_to
from dbinit.rows import copy_lines, fetch_rows, fields_of
from dbinit.version import __version__

__all__ = [
    "Entry",
    "Ledger",
    "creation",
    "fence",
    "insertion",
    "progress_of",
    "read_ledger",
    "read_scripts",
]

FORMAT = 1
"""The shape of the rows; a newer dbinit that changes their meaning counts it up."""
FENCE = "dbinit: another starter has changed the history"
"""What the server says, as the text of an invalid number, where `fence` finds more rows than expected."""

_CREATE = """\
CREATE TABLE {table} (
    id bigint PRIMARY KEY,
    format integer NOT NULL,
    version pg_catalog.text,
    name pg_catalog.text NOT NULL,
    kind pg_catalog.text NOT NULL,
    state pg_catalog.text NOT NULL,
    checksum pg_catalog.text NOT NULL,
    script pg_catalog.text,
    compatible_with pg_catalog.text,
    down pg_catalog.text,
    down_transaction pg_catalog.text,
    down_lock_timeout pg_catalog.text,
    statements integer NOT NULL,
    progress pg_catalog.text NOT NULL DEFAULT '',
    applied_at timestamp with time zone NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    seconds double precision NOT NULL,
    applied_by pg_catalog.text NOT NULL DEFAULT session_user,
    host pg_catalog.text NOT NULL,
    dbinit_version pg_catalog.text NOT NULL
);
COMMENT ON TABLE {table} IS 'What dbinit did to this database, migration by migration.';
"""
# Those come first that tell whether a row is just that of a migration.
_COLUMNS = (
    "format, version, name, kind, state, checksum, id, dbinit_version, compatible_with, statements, progress, seconds"
)
_FURTHER = "pg_catalog.date_part('epoch', applied_at), down, down_transaction, down_lock_timeout"
_TABLE = f"{{table}} ({_COLUMNS})"
_SELECT = f"(SELECT {_COLUMNS}, {_FURTHER} FROM {{table}})"  # noqa: S608 - constants
# A dictionary finds them three times as fast as the classes do, which counts in a long history.
_STATES: dict[str | None, State] = {state.value: state for state in State}
_KINDS: dict[str | None, Kind] = {kind.value: kind for kind in Kind}
_OTHER_SHAPE = (asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError, asyncpg.WrongObjectTypeError)
_INSERT = """\
INSERT INTO {table} (id, format, version, name, kind, state, checksum, script, compatible_with, down,
    down_transaction, down_lock_timeout, statements, host, dbinit_version, seconds)
VALUES ({values});
"""
_SECONDS = (
    "pg_catalog.date_part('epoch',"
    " pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.transaction_timestamp())"
)
_FENCE = """\
SELECT CAST(CASE WHEN (SELECT COALESCE(pg_catalog.max(id), 0) FROM {table}) OPERATOR(pg_catalog.=) {last}::bigint
    THEN '0' ELSE '{message}' END AS integer);
"""
_SCRIPTS = """
SELECT id, script FROM {table} WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY[{numbers}]::bigint[])
"""
_LARGEST_SCRIPT = 256 * 1024  # characters
# One message, and so one transaction where none is open: the script's role is back behind it.


class Ledger:
    """What the table holds.

    Args:
        home: Where it is.
        lines: Its rows as COPY writes them, in any order.
        exists: Whether there is such a table.
        schema_exists: Whether there is such a schema, as far as somebody has looked.
        looked: Whether somebody has looked for that, and for what is in the database already.
    """

    def __init__(
        self,
        home: Home,
        lines: Sequence[str] = (),
        *,
        exists: bool = True,
        schema_exists: bool = True,
        looked: bool = False,
    ) -> None:
        self.home = home
        self.lines = lines
        self.exists = exists
        self.schema_exists = schema_exists
        self.looked = looked

    @cached_property
    def rows(self) -> list[Recorded]:
        """Its rows, oldest first.

        Raises:
            HistoryError: They are not such as this version can read.
        """
        try:
            return sorted([_row(self.home, fields_of(line)) for line in self.lines], key=attrgetter("id"))
        except (LookupError, OverflowError, TypeError, ValueError) as error:
            raise HistoryError.unreadable(_table(self.home), str(error)) from None

    def is_just(self, folder: Folder) -> bool:
        """Tell whether the rows are those of the folder's migrations as they are, and no others: the usual start.

        That takes a fraction of the time of a plan. What does not look so simple may be all applied as well.
        """
        return (
            len(self.lines) == len(folder.migrations)
            and not folder.baselines
            and all(map(str.startswith, self.lines, map(_applied, folder.migrations)))
        )

    @property
    def last(self) -> int:
        """The number of the last row; 0 without any."""
        return self.rows[-1].id if self.rows else 0


class Entry(NamedTuple):
    """What a new row says of a step; the server adds when and by whom, `insertion` where and by which version.

    Without `seconds` they are those since the transaction began, by the server's clock.
    """

    step: Step
    state: State
    statements: int = 0
    seconds: float | None = 0.0


async def read_ledger(connection: asyncpg.Connection, home: Home, *, whole: bool = False) -> Ledger:
    """Read the table, in one round trip; outside of a transaction, as it may not be there.

    Args:
        connection: Where.
        home: Where it is.
        whole: Whether it is wanted, too, when each migration was applied and what takes it back.

    Raises:
        HistoryError: The table is not one that this version can read.
        LockTimeoutError: Somebody has locked it.
    """
    try:
        source = (_SELECT if whole else _TABLE).format(table=_table(home))
        lines = await copy_lines(connection, source, home.role)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return Ledger(home, exists=False)
    except (TimeoutError, asyncpg.LockNotAvailableError) as error:
        from dbinit.lockers import raise_if_locked  # noqa: PLC0415 - seldom needed

        await raise_if_locked(connection, home, TABLE, error)
        raise
    except _OTHER_SHAPE as error:
        raise HistoryError.unreadable(_table(home), str(error)) from None
    return Ledger(home, lines)


def _applied(migration: Migration) -> str:
    """Return the line of a migration that was applied, as COPY writes it, up to its checksum."""
    version = r"\N" if migration.version is None else migration.version.text
    name = migration.name.replace("\\", r"\\")  # other signs that COPY writes in its own way lead to a plan
    kind = "versioned" if migration.kind is Kind.VERSIONED else migration.kind.value
    return f"{FORMAT}\t{version}\t{name}\t{kind}\tapplied\t{migration.checksum}\t"


def creation(ledger: Ledger) -> str:
    """Return the SQL that creates the table, and its schema, where they are missing."""
    if ledger.exists:
        return ""
    schema = "" if ledger.schema_exists else f"CREATE SCHEMA {quote_name(ledger.home.schema)};\n"
    return schema + _CREATE.format(table=_table(ledger.home))


def fence(home: Home, last: int) -> str:
    """Return the SQL that fails, with `FENCE`, unless `last` is the number of the last row."""
    return _FENCE.format(table=_table(home), last=last, message=FENCE)


def insertion(home: Home, number: int, entry: Entry) -> str:
    """Return the SQL that adds a row. It belongs into the transaction that did the work."""
    # The script may have changed its role; what is recorded is still our doing.
    seconds = _SECONDS if entry.seconds is None else repr(entry.seconds)
    values = ", ".join(quote_value(value) for value in _values(number, entry))
    return back_to(home.role) + _INSERT.format(table=_table(home), values=f"{values}, {seconds}")


def _values(number: int, entry: Entry) -> tuple[str | int | None, ...]:
    step = entry.step
    found = step.migration or step.recorded
    compatible = found.compatible_with if found else None
    down = found.down if found and entry.state is not State.REVERTED else None
    return (
        number,
        FORMAT,
        step.version.text if step.version else None,
        step.name,
        step.kind.value,
        entry.state.value,
        step.checksum,
        _script(step),
        compatible.text if compatible else None,
        down.text if down else None,
        down.transaction.value if down else None,
        format_duration(down.lock_timeout.total_seconds()) if down and down.lock_timeout is not None else None,
        entry.statements,
        socket.gethostname(),
        __version__,
    )


def _script(step: Step) -> str | None:
    """Return the script as it is applied, to be compared with what becomes of it; none that would fill the table."""
    if not step.migration or len(step.migration.up.text) > _LARGEST_SCRIPT:
        return None
    return step.migration.up.text


async def read_scripts(connection: asyncpg.Connection, home: Home, numbers: Sequence[int]) -> dict[int, str]:
    """Return the scripts of rows, by the rows' numbers, as they were when they were applied; small ones only."""
    if not numbers:
        return {}
    wanted = ", ".join(str(number) for number in numbers)
    found = await fetch_rows(connection, _SCRIPTS.format(table=_table(home), numbers=wanted), home.role)
    return {int(number or 0): script for number, script in found if script is not None}


def progress_of(connection: asyncpg.Connection, home: Home, row: Recorded, checksum: str) -> RowProgress:
    """Return what records how far an unfinished migration comes.

    Args:
        connection: Where it is run.
        home: Where the table is.
        row: The migration's row.
        checksum: Its checksum now.
    """
    states = (row.state.value, _FINISHED[row.state].value)
    begun = Begun(_table(home), home.role, row.id, row.name, "state", states, row.statements, row.progress)
    return RowProgress(connection, begun, checksum)


_FINISHED = {State.UNFINISHED: State.APPLIED, State.REVERTING: State.REVERTED}


def _row(home: Home, fields: list[str | None]) -> Recorded:
    format_, version, name, kind, state, checksum, number, written_by, compatible, *done = fields
    count, progress, seconds, *further = done
    if int(format_ or 0) > FORMAT:
        raise HistoryError.too_new(_table(home), written_by)
    row = Recorded(
        None if version is None else Version.parse(version),
        name or "",
        checksum or "",
        _STATES.get(state) or State(state),
        _KINDS.get(kind) or Kind(kind),
        None if compatible is None else Version.parse(compatible),
        None,
        int(number or 0),
        int(count or 0),
        progress or "",
        float(seconds or 0),
    )
    return _whole(row, *further) if further else row


def _whole(row: Recorded, applied_at: str | None, *down: str | None) -> Recorded:
    return row._replace(down=_down(*down), applied_at=datetime.fromtimestamp(float(applied_at or 0), UTC))


def _down(text: str | None, transaction: str | None, timeout: str | None) -> Part | None:
    if text is None:
        return None
    return Part("", text, Transaction(transaction), parse_duration(timeout) if timeout else None)


def _table(home: Home) -> str:
    return f"{quote_name(home.schema)}.{TABLE}"
