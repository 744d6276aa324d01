"""Rows of text in one round trip of the simple protocol, which also works behind a transaction pooler."""

import re

import asyncpg

__all__ = ["fetch_rows"]

_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


async def fetch_rows(connection: asyncpg.Connection, select: str) -> list[list[str | None]]:
    """Return what a query returns, as text, None for NULL; the rows come through COPY.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the query.
    """
    chunks: list[bytes] = []

    async def collect(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    await connection.copy_from_query(select, output=collect, format="text")
    lines = b"".join(chunks).decode().split("\n")[:-1]
    return [[_value(field) for field in line.split("\t")] for line in lines]


def _value(field: str) -> str | None:
    """Undo COPY's escapes, https://www.postgresql.org/docs/current/sql-copy.html (text format)."""
    if "\\" not in field:
        return field
    return None if field == "\\N" else _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), field)
