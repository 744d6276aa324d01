"""Reads the history that another tool keeps in the database, to take it over."""

from typing import NamedTuple

import asyncpg

from dbinit.errors import HistoryError
from dbinit.history import find
from dbinit.migrations.adoption import adopt
from dbinit.migrations.foreign import LAYOUTS, NAMES, owner_of
from dbinit.migrations.history import State
from dbinit.migrations.model import Folder
from dbinit.migrations.plan import Action, Plan, step_of
from dbinit.migrations.problems import PlanError
from dbinit.model import Format
from dbinit.quoting import quote_literal, quote_name, split_name
from dbinit.rows import fetch_rows
from dbinit.transaction import read_only_transaction
from dbinit.wording import counted

from .ledger import Ledger

__all__ = ["UNUSUAL", "fresh_or_fail", "look_around", "plan_import"]

UNUSUAL = "dbinit: this asks for a closer look"
"""What the server says, as the text of an invalid number, where `fresh_or_fail` fails."""

_TABLES = """
SELECT n.nspname, c.relname, a.attname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p}}'::pg_catalog."char"[])
  AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY[{names}]::pg_catalog.text[])
"""


# Whose history may belong to a folder. Pairs of files look alike, whether they are golang-migrate's or sqlx's.
_READABLE = {
    Format.NATIVE: frozenset(Format),
    Format.GOLANG_MIGRATE: frozenset({Format.GOLANG_MIGRATE, Format.SQLX}),
}


_FRESH = """
SELECT CAST(CASE WHEN EXISTS (
    SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) {schema}::pg_catalog.text
) AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.=) ANY (ARRAY[{names}]::pg_catalog.text[])
) THEN '0' ELSE '{message}' END AS integer);
"""


class _Table(NamedTuple):
    schema: str
    name: str
    columns: frozenset[str]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


async def plan_import(connection: asyncpg.Connection, folder: Folder, ledger: Ledger, table: str) -> Plan:
    """Plan to record what another tool's history says was applied.

    Args:
        connection: Where, outside of any transaction.
        folder: The folder.
        ledger: Our own history, which has to be empty.
        table: The other one; empty for any that is found.

    Raises:
        PlanError: It cannot be taken over.
    """
    if ledger.rows:
        raise PlanError(["dbinit has a history of this database already; there is nothing to take over"])
    owner, found = _chosen(await _tables(connection, table), folder, table)
    layout = LAYOUTS[owner]
    columns = ", ".join(quote_name(column) for column in layout.columns)
    select = (
        f"SELECT {columns} FROM {quote_name(found.schema)}.{quote_name(found.name)} ORDER BY {quote_name(layout.order)}"  # noqa: S608 - quoted
    )
    async with read_only_transaction(connection, ledger.home.role):
        records = await connection.fetch(select)
    adopted = adopt(owner, [dict(record) for record in records], folder)
    migrations = {migration.key: migration for migration in (*folder.baselines, *folder.migrations)}
    steps = []
    for row in adopted:
        step = step_of(Action.RECORD, migrations[row.key])
        # A step that goes on with a row is recorded as applied, and else as there before.
        steps.append(step if row.state is State.BASELINE else step._replace(recorded=row))
    applied = counted(len(adopted), "migration")
    return Plan(tuple(steps), (f"{found} is the history of {owner.value}, with {applied} applied",))


async def look_around(connection: asyncpg.Connection, ledger: Ledger, sentinel: str) -> Ledger:
    """Refuse a database that has a schema already, and no history; return the history with whether its schema is there.

    Args:
        connection: Where, outside of any transaction.
        ledger: Our own history, which is empty.
        sentinel: The table that means that the schema is there; empty where nothing is refused.

    Raises:
        HistoryError: That table is there, or another tool's history.
    """
    present = await find(connection, ledger.home, sentinel)
    if sentinel and (others := await _other_histories(connection)):
        raise HistoryError(
            f"another tool keeps a history in this database ({', '.join(others)}), and dbinit has none",
            advice=f"take it over with `python -m dbinit import`; {_ANYWAY}",
        )
    if present.sentinel:
        raise HistoryError(
            f"the database has the table {sentinel}, but no history of migrations: its schema was there before",
            advice=f"record where it stands with `python -m dbinit baseline VERSION`; {_ANYWAY}",
        )
    return Ledger(ledger.home, ledger.lines, exists=ledger.exists, schema_exists=present.schema, looked=True)


_ANYWAY = "set DBINIT_SENTINEL to nothing to begin anyway"


async def _other_histories(connection: asyncpg.Connection) -> list[str]:
    """Return which tables of other tools' histories there are, with whose they are."""
    owners = [(owner_of(found.name, found.columns), found) for found in await _tables(connection, "")]
    return [f"{found} of {_name(owner)}" for owner, found in owners if owner]


def fresh_or_fail(schema: str, sentinel: str) -> str:
    """Return the SQL that fails, with `UNUSUAL`, unless a history can simply be begun.

    Args:
        schema: Where; it has to be there.
        sentinel: No table may be called so, or as a tool's history usually is; empty where that does not matter.
    """
    names = sorted({*NAMES, split_name(sentinel)[1]}) if sentinel else []
    quoted = ", ".join(quote_literal(name) for name in names)
    return _FRESH.format(schema=quote_literal(schema), names=quoted, message=UNUSUAL)


def _name(owner: Format | str | None) -> str:
    return owner.value if isinstance(owner, Format) else owner or "nobody known"


async def _tables(connection: asyncpg.Connection, table: str) -> list[_Table]:
    names = [table.rpartition(".")[2]] if table else sorted(NAMES)
    select = _TABLES.format(names=", ".join(quote_literal(name) for name in names))
    columns: dict[tuple[str, str], set[str]] = {}
    for schema, name, column in await fetch_rows(connection, select):
        columns.setdefault((schema or "", name or ""), set()).add(column or "")
    found = [_Table(schema, name, frozenset(names)) for (schema, name), names in sorted(columns.items())]
    wanted = table.rpartition(".")[0]
    return [one for one in found if not wanted or one.schema == wanted]


def _chosen(tables: list[_Table], folder: Folder, table: str) -> tuple[Format, _Table]:
    """Return whose history is to be taken over, and the table it is in."""
    owners = [(owner_of(found.name, found.columns), found) for found in tables]
    known = [(owner, found) for owner, found in owners if isinstance(owner, Format)]
    fitting = [(owner, found) for owner, found in known if owner in _READABLE.get(folder.format, {folder.format})]
    if len(fitting) == 1:
        return fitting[0]
    raise PlanError([_refusal(owners, folder, table, several=len(fitting) > 1)])


def _refusal(owners: list[tuple[Format | str | None, _Table]], folder: Folder, table: str, *, several: bool) -> str:
    seen = ", ".join(f"{found} of {_name(owner)}" for owner, found in owners)
    if several:
        return f"there is more than one history: {seen}; name one with --table"
    if not seen:
        return f"there is no history of another tool here{f' in {table}' if table else ''}; name it with --table"
    return (
        f"{folder.path} is a folder of {folder.format.value}, and there is no such history, but {seen};"
        " record where the database stands with `python -m dbinit baseline VERSION`"
    )
