"""Fixtures for the folders of migrations."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kit import tools
from tests.kit.server import Server
from tests.kit.stand_ins import Flyway, GolangMigrate, Goose, StandIn
from tests.kit.tools import Program, Tool

FOLDERS = Path(__file__).parent / "folders"
HOOKS = "--exclude-table=hook"
"""An option of pg_dump's: Flyway's callbacks leave rows at every run, which nobody takes back."""
_numbers = itertools.count()

FLYWAY = Flyway("flyway", "flyway_schema_history", FOLDERS / "flyway.toml", {"second_genre": "essay"})
STAND_INS: dict[Program, StandIn] = {
    tools.GOLANG_MIGRATE: GolangMigrate("golang-migrate", "schema_migrations", FOLDERS / "golang-migrate.toml"),
    tools.GOOSE: Goose("goose", "goose_db_version*", FOLDERS / "goose.toml"),
    tools.FLYWAY: FLYWAY,
}
TOOLS: list[Tool] = [tools.SQLX, tools.DBMATE, *STAND_INS.values()]


def folder_of(tool: Tool) -> Path:
    """Return the folder that is written for a tool."""
    return FOLDERS / tool.name


def skip_without(program: Program) -> None:
    """Skip a test for want of a program."""
    if program.path is None:
        why = f"there is no {program.program} here; it comes from {program.source}"
        pytest.skip(f"NOT PROVED AGAINST THE REAL {program.name}: {why}")


@pytest.fixture(params=TOOLS, ids=lambda tool: tool.name if isinstance(tool, Program) else f"{tool.name}-by-psql")
def tool(request: pytest.FixtureRequest) -> Tool:
    """Each tool in turn, or what stands for it."""
    found: Tool = request.param
    if isinstance(found, Program):
        skip_without(found)
    return found


class Database(NamedTuple):
    """A fresh database."""

    server: Server
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def dump(self, tool: Tool, *options: str) -> str:
        """Return everything that is in it, but the histories of a tool and of dbinit."""
        histories = [f"--exclude-table=*.{table}" for table in (tool.tables, "dbinit_migrations")]
        return self.server.dump(self.name, *histories, *options)


@contextmanager
def _fresh(server: Server) -> Iterator[Database]:
    name = f"folders_{os.getpid()}_{next(_numbers)}"
    where = ["-h", str(server.folder), "-p", str(server.port), "-U", "postgres", name]
    server.run("createdb", *where)
    yield Database(server, name)
    server.run("dropdb", "--force", *where)


@pytest.fixture
def theirs(server: Server) -> Iterator[Database]:
    """A database for the tool."""
    with _fresh(server) as database:
        yield database


@pytest.fixture
def ours(server: Server) -> Iterator[Database]:
    """A database for dbinit."""
    with _fresh(server) as database:
        yield database


@pytest.fixture(scope="session")
def empty(server: Server) -> str:
    """The dump of an empty database."""
    with _fresh(server) as database:
        return server.dump(database.name)
