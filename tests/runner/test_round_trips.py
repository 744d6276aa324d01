"""How often the server is asked: once for each migration and little else; and next to nothing when nothing is to do."""

from collections.abc import Iterator

import asyncpg
import pytest

from tests.kit.latency import LatencyProxy
from tests.kit.server import Server

from .kit import Project

MANY = 200


@pytest.fixture
def counted(server: Server, database: str, project: Project) -> Iterator[LatencyProxy]:
    """A proxy in front of the server; the project's URL leads through it."""
    with LatencyProxy(server.port, 0) as proxy:
        project.url = server.url(database).replace(f":{server.port}/", f":{proxy.port}/") + "?sslmode=disable"
        yield proxy


async def test_one_for_each_migration_and_five_besides(counted: LatencyProxy, project: Project) -> None:
    await (await asyncpg.connect(project.url)).close()
    password = counted.round_trips - 1  # what a server that asks for none would have done without

    before = counted.round_trips
    project.write({f"{n:03}_m.sql": f"CREATE TABLE t{n} (id int);\n" for n in range(1, MANY + 1)})
    report = await project.up()
    assert len(report.migrations) == MANY
    assert counted.round_trips - before <= MANY + 5 + password

    before = counted.round_trips
    await project.up()
    assert counted.round_trips - before <= 3 + password
