"""Rows of text in one round trip of the simple protocol, which also works behind a transaction pooler."""

import re

import asyncpg

from .roles import acting_as

__all__ = ["copy_lines", "fetch_rows", "fields_of"]

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
    return [fields_of(line) for line in await copy_lines(connection, f"({select})", role)]


async def copy_lines(connection: asyncpg.Connection, source: str, role: str = "") -> list[str]:
    """Return the lines of a COPY, for `fields_of`.

    Args:
        connection: Where, inside of a transaction or not.
        source: A table with columns, which takes the server half as long as a query, or a query in parentheses.
        role: The role that asks. Default: whoever we are.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused that.
    """
    chunks: list[bytes] = []

    async def collect(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    # The public methods send one statement; a message of two is a transaction, which is what the role is set for.
    copy = f"{acting_as(role)}COPY {source} TO STDOUT"
    await connection._copy_out(copy, collect, None)  # type: ignore[attr-defined]  # noqa: SLF001
    # What a session of another database runs may be in its encoding, and comes as it is.
    return b"".join(chunks).decode(errors="replace").split("\n")[:-1]


def fields_of(line: str) -> list[str | None]:
    """Return the fields of a line as text, None for NULL."""
    return [_value(field) if "\\" in field else field for field in line.split("\t")]


def _value(field: str) -> str | None:
    """Undo COPY's escapes, https://www.postgresql.org/docs/current/sql-copy.html (text format)."""
    return None if field == "\\N" else re.sub(_ESCAPE, lambda match: _ESCAPES.get(match[1], match[1]), field)
