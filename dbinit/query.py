r"""The result of a statement as text, as psql has it, for `\gset` and `\gexec`.

asyncpg makes Python's values of what a query returns; the text that PostgreSQL writes comes through COPY.
"""

import re
from collections.abc import Iterator
from decimal import Decimal

import asyncpg

from .sql.facts import leading_words
from .sql.statement import Result

__all__ = ["fetch_text"]

_QUERIES = frozenset({"SELECT", "TABLE", "VALUES", "WITH"})
_CHANGES = frozenset({"DELETE", "INSERT", "MERGE", "UPDATE"})
_OTHERS = frozenset({"CALL", "EXECUTE", "EXPLAIN", "FETCH", "SHOW"})
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)
_FIELD = re.compile(r'(?:"((?:[^"]|"")*+)"|([^,"\n]*+))([,\n])')


async def fetch_text(connection: asyncpg.Connection, statement: str) -> Result | None:
    """Run a statement; return what it returns, or None where it is none that returns rows.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused it.
        ValueError: It returns something that has no text here.
    """
    first = next(leading_words(statement), "")
    changes = first in _CHANGES and _RETURNING.search(statement) is not None
    if first in _QUERIES or changes or statement.startswith("("):
        return await _copied(connection, statement)
    if first in _OTHERS:
        records = await connection.fetch(statement)
        return Result(tuple(records[0].keys()) if records else (), [tuple(map(_text, row.values())) for row in records])
    await connection.execute(statement)
    return None


async def _copied(connection: asyncpg.Connection, query: str) -> Result:
    chunks: list[bytes] = []

    async def collect(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    try:
        await connection.copy_from_query(query + "\n", output=collect, format="csv", header=True, force_quote=True)
    except asyncpg.PostgresError as error:
        if position := getattr(error, "position", None):
            error.position = str(int(position) - len("COPY ("))
        raise
    header, *rows = _parsed(b"".join(chunks).decode())
    return Result([name or "" for name in header], rows)


def _parsed(text: str) -> Iterator[list[str | None]]:
    """Yield the rows of CSV in which every value is quoted but NULL."""
    row: list[str | None] = []
    for field in _FIELD.finditer(text):
        quoted, plain, end = field.groups()
        row.append(quoted.replace('""', '"') if quoted is not None else plain or None)
        if end == "\n":
            yield row
            row = []


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int | Decimal):
        return str(value)
    raise ValueError(f"a value of the type {type(value).__name__} cannot be taken from here; SELECT it as text")
