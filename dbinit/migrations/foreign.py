"""The history tables of other tools: whose a table is, told by its name and its columns. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from .model import Format

__all__ = ["LAYOUTS", "NAMES", "Layout", "owner_of"]


class Layout(NamedTuple):
    """How a tool that can be adopted keeps its history.

    Attributes:
        table: The table's usual name.
        columns: The columns that are to be read.
        order: The column by which the rows come, oldest first.
    """

    table: str
    columns: tuple[str, ...]
    order: str


LAYOUTS = {
    Format.GOLANG_MIGRATE: Layout("schema_migrations", ("version", "dirty"), "version"),
    Format.DBMATE: Layout("schema_migrations", ("version",), "version"),
    Format.GOOSE: Layout("goose_db_version", ("id", "version_id", "is_applied"), "id"),
    Format.SQLX: Layout("_sqlx_migrations", ("version", "success", "checksum"), "version"),
    Format.FLYWAY: Layout(
        "flyway_schema_history",
        ("installed_rank", "version", "description", "type", "script", "checksum", "success"),
        "installed_rank",
    ),
}
"""The histories that can be adopted."""

_OTHERS = {
    "alembic_version": "alembic",
    "schema_version": "tern",
    "databasechangelog": "Liquibase",
    "atlas_schema_revisions": "Atlas",
    "pgmigrations": "node-pg-migrate",
    "_yoyo_migration": "yoyo",
    "_yoyo_migrations": "yoyo",
    "_pogo_migration": "pogo-migrate",
    "gorp_migrations": "sql-migrate",
    "refinery_schema_history": "refinery",
    "_prisma_migrations": "Prisma",
    "django_migrations": "Django",
}
NAMES = frozenset({*_OTHERS, *(layout.table for layout in LAYOUTS.values())})
"""The usual names of the tables in which tools keep their histories."""

_PGDBM = {"filename", "checksum"}


def owner_of(table: str, columns: Collection[str]) -> Format | str | None:
    """Tell whose history a table is.

    Args:
        table: Its name, without a schema.
        columns: The names of its columns.

    Returns:
        A format whose history can be adopted, the name of a tool whose cannot, or None where nobody knows the table.
    """
    columns = frozenset(columns)
    # Older versions of Flyway called their table as tern does.
    if table in _OTHERS and "installed_rank" not in columns:
        return _OTHERS[table]
    if table == "schema_migrations" and columns.issuperset(_PGDBM):
        return "pgdbm"
    if columns == {"version"}:
        return Format.DBMATE
    # With most tools the name is the user's choice, and the columns are not. The more of them fit, the better.
    fitting = [
        owner for owner, layout in LAYOUTS.items() if len(layout.columns) > 1 and columns.issuperset(layout.columns)
    ]
    return max(fitting, key=lambda owner: len(LAYOUTS[owner].columns), default=None)
