"""What all routes share on their way to the database and back."""

import json
from collections.abc import Sequence
from typing import Annotated, TypeVar

import asyncpg
from fastapi import Depends, HTTPException

from dbinit.fastapi import connection

from .models import Output, Page, Paging

Connection = Annotated[asyncpg.Connection, Depends(connection)]
"""A connection of the pool, lent for the length of the request."""

Item = TypeVar("Item", bound=Output)


async def prepare_connection(connection: asyncpg.Connection) -> None:
    """Let JSONB be Python objects instead of text; the pool calls this for each new connection."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


def found(row: asyncpg.Record | None) -> asyncpg.Record:
    """Return the row, or answer 404 where there is none."""
    if row is None:
        raise HTTPException(404, "There is nothing with this id.")
    return row


def page_of(item: type[Item], rows: Sequence[asyncpg.Record], paging: Paging) -> Page[Item]:
    """Make a page of rows that were fetched with a limit one higher than the page's.

    The row in excess tells whether there is a next page, for far less than counting them all.
    """
    more = len(rows) > paging.limit
    return Page(
        items=[item(**row) for row in rows[: paging.limit]],
        next_offset=paging.offset + paging.limit if more else None,
    )
