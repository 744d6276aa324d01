"""Rows of text in one round trip of the simple protocol, which also works behind a transaction pooler."""

import re
from collections.abc import Sequence

import asyncpg

from .quoting import quote_name
from .roles import acting_as

__all__ = ["fetch_columns", "fetch_rows"]

_ESCAPE = r"\\(.)"
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


async def fetch_rows(connection: asyncpg.Connection, select: str, role: str = "") -> list[list[str | None]]:
    """Return what a query returns, as text, None for NULL; the rows come through COPY.

    Args:
        connection: Where, inside of a transaction or not.
        select: The query.
        role: The role that asks. Default: whoever we are.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the query.
    """
    return await _copied(connection, f"({select})", role)


async def fetch_columns(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], role: str = ""
) -> list[list[str | None]]:
    """Return what is in columns of a table, which takes the server half as long as a query.

    Args:
        connection: Where, inside of a transaction or not.
        table: The table, as SQL.
        columns: Their names.
        role: The role that asks. Default: whoever we are.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused that.
    """
    return await _copied(connection, f"{table} ({', '.join(map(quote_name, columns))})", role)


async def _copied(connection: asyncpg.Connection, source: str, role: str) -> list[list[str | None]]:
    chunks: list[bytes] = []

    async def collect(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    # The public methods send one statement; a message of two is a transaction, which is what the role is set for.
    copy = f"{acting_as(role)}COPY {source} TO STDOUT"
    await connection._copy_out(copy, collect, None)  # type: ignore[attr-defined]  # noqa: SLF001
    # What a session of another database runs may be in its encoding, and comes as it is.
    lines = b"".join(chunks).decode(errors="replace").split("\n")[:-1]
    return [[_value(field) if "\\" in field else field for field in line.split("\t")] for line in lines]


def _value(field: str) -> str | None:
    """Undo COPY's escapes, https://www.postgresql.org/docs/current/sql-copy.html (text format)."""
    return None if field == "\\N" else re.sub(_ESCAPE, lambda match: _ESCAPES.get(match[1], match[1]), field)
