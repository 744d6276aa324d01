"""The history tables of other tools: whose a table is, told by its name and its columns. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from .model import Format

__all__ = ["LAYOUTS", "Layout", "owner_of"]


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
    for owner, layout in LAYOUTS.items():
        # The name is the user's choice with most of the tools; their columns are not.
        if columns == {"version"}:
            break
        if owner is not Format.DBMATE and columns.issuperset(layout.columns):
            return owner
    if columns.issuperset(_PGDBM) and table == LAYOUTS[Format.DBMATE].table:
        return "pgdbm"
    if table in _OTHERS:
        return _OTHERS[table]
    return Format.DBMATE if columns == {"version"} else None
