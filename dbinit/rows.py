"""Rows of text in one round trip of the simple protocol, which also works behind a transaction pooler."""

import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import asyncpg

__all__ = ["fetch_columns", "fetch_rows"]

_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


async def fetch_rows(connection: asyncpg.Connection, select: str) -> list[list[str | None]]:
    """Return what a query returns, as text, None for NULL; the rows come through COPY.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the query.
    """
    return await _collected(lambda output: connection.copy_from_query(select, output=output, format="text"))


async def fetch_columns(
    connection: asyncpg.Connection, schema: str, table: str, columns: Sequence[str]
) -> list[list[str | None]]:
    """Return what is in columns of a table, which takes the server half as long as a query.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused that.
    """
    names = list(columns)
    return await _collected(
        lambda output: connection.copy_from_table(
            table, schema_name=schema, columns=names, output=output, format="text"
        )
    )


async def _collected(
    copy: Callable[[Callable[[bytes], Coroutine[Any, Any, None]]], Awaitable[str]],
) -> list[list[str | None]]:
    chunks: list[bytes] = []

    async def collect(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    await copy(collect)
    lines = b"".join(chunks).decode().split("\n")[:-1]
    return [[_value(field) if "\\" in field else field for field in line.split("\t")] for line in lines]


def _value(field: str) -> str | None:
    """Undo COPY's escapes, https://www.postgresql.org/docs/current/sql-copy.html (text format)."""
    return None if field == "\\N" else _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), field)
