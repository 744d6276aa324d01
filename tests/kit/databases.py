"""Databases of a server, and what is in them."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from tests.kit.server import Server

RICH = Path(__file__).parents[1] / "oracle" / "rich.sql"
"""Makes a database with one of everything: SQL only, neither a command of psql's nor a COPY from stdin."""

_numbers = itertools.count()


@contextmanager
def fresh_database(server: Server, template: str = "template1") -> Iterator[str]:
    """Create a database, by default an empty one, and drop it in the end; yield its name."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    asyncio.run(execute(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield name
    asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def execute(server: Server, statements: str, database: str = "postgres") -> None:
    """Run statements in one message, as the superuser; by socket, where no password costs time."""
    connection = await asyncpg.connect(host=str(server.folder), port=server.port, user="postgres", database=database)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()
