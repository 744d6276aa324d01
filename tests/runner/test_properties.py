"""What holds for any folder: run on a real server, with few and small examples."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbinit import Outcome
from dbinit.folders import Down
from tests.kit.databases import fresh_database
from tests.kit.server import Server

from .kit import Project

FEW = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NO_HISTORY = "--exclude-table=*.dbinit_migrations*"


@st.composite
def folders(draw: st.DrawFn) -> dict[str, str]:
    """Draw migrations that each refer to those they depend on, with their ways back."""
    numbers = draw(st.permutations(range(1, draw(st.integers(2, 7)) + 1)))
    found = {}
    for place, number in enumerate(numbers):
        needs = draw(st.lists(st.sampled_from(numbers[:place]), unique=True, max_size=2)) if place else []
        columns = ["id int PRIMARY KEY", *(f"of_{need} int REFERENCES t{need} (id)" for need in needs)]
        work = f"CREATE TABLE t{number} ({', '.join(columns)});\nINSERT INTO t{number} VALUES ({number});\n"
        if draw(st.booleans()):
            work += f"CREATE INDEX CONCURRENTLY i{number} ON t{number} (id);\n"
        head = f"-- dbinit: depends {', '.join(map(str, needs)) or 'none'}\n"
        found[f"{number:03}_m.sql"] = f"{head}{work}-- dbinit: down\nDROP TABLE t{number};\n"
    return found


@contextmanager
def project_of(server: Server, files: dict[str, str]) -> Iterator[tuple[Project, str]]:
    with TemporaryDirectory() as folder, fresh_database(server) as database:
        project = Project(Path(folder, "migrations"), server.url(database))
        project.write(files)
        yield project, database


def dump(server: Server, database: str) -> str:
    return server.dump(database, NO_HISTORY)


@FEW
@given(files=folders(), data=st.data())
def test_up_and_then_down_restores_the_dump(server: Server, files: dict[str, str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(files) - 1))
    with project_of(server, files) as (project, database):
        asyncio.run(_first(project, first))
        before = dump(server, database)
        report = asyncio.run(project.up())
        assert dump(server, database) != before
        asyncio.run(project.migrate(Down(len(report.migrations))))
        assert dump(server, database) == before


async def _first(project: Project, count: int) -> None:
    """Apply everything and take all back again but `count`."""
    report = await project.up()
    await project.migrate(Down(len(report.migrations) - count))


@FEW
@given(files=folders(), jobs=st.integers(2, 4))
def test_one_by_one_and_several_at_a_time_end_in_equal_dumps(server: Server, files: dict[str, str], jobs: int) -> None:
    with project_of(server, files) as (serial, one), project_of(server, files) as (parallel, several):
        asyncio.run(serial.up())
        asyncio.run(parallel.up(jobs=jobs))
        assert dump(server, several) == dump(server, one)
        assert asyncio.run(parallel.pending()) == []
        assert asyncio.run(parallel.up()).outcome is Outcome.CURRENT
