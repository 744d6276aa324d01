"""Dependencies for routes: the pool, or a connection of it for the length of the request."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from fastapi import Depends, HTTPException
from starlette.requests import HTTPConnection

from .gate import RETRY_AFTER, why_not
from .service import service_of

__all__ = ["connection", "pool"]

_ACQUIRE_LIMIT = 10.0  # seconds
_RELEASE_LIMIT = 3.0  # seconds


async def pool(request: HTTPConnection) -> asyncpg.Pool:
    """Return the service's pool, for `Depends(pool)`; answers 503 while the schema is not there."""
    service = service_of(request.scope)
    if service is None or service.pool is None:
        raise HTTPException(503, why_not(service), headers=RETRY_AFTER)
    return service.pool


async def connection(pool: Annotated[asyncpg.Pool, Depends(pool)]) -> AsyncIterator[PoolConnectionProxy]:
    """Lend a connection of the pool to the request, for `Depends(connection)`; answers 503 when none is free."""
    try:
        lent = await pool.acquire(timeout=_ACQUIRE_LIMIT)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        raise HTTPException(503, "The database is not available.", headers=RETRY_AFTER) from None
    try:
        yield lent
    finally:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # the pool has dropped it then
            await pool.release(lent, timeout=_RELEASE_LIMIT)
