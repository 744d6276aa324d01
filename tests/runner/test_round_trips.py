"""How often the server is asked: once for each migration and little else; and next to nothing when nothing is to do."""

from collections.abc import Iterator

import pytest

from dbinit.embedded import installed_binaries
from tests.kit.databases import fresh_database
from tests.kit.latency import LatencyProxy
from tests.kit.server import Server

from .kit import Project

MANY = 200


@pytest.fixture
def counted(project: Project) -> Iterator[LatencyProxy]:
    """A proxy in front of a server that asks for no password; the project's URL leads through it."""
    with Server(installed_binaries()) as server:
        (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
        server.run("pg_ctl", "reload", "-D", str(server.data))
        with fresh_database(server) as name, LatencyProxy(server.port, 0) as proxy:
            project.url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable"
            yield proxy


async def test_one_for_each_migration_and_three_besides(counted: LatencyProxy, project: Project) -> None:
    project.write({f"{n:03}_m.sql": f"CREATE TABLE t{n} (id int);\n" for n in range(1, MANY + 1)})
    report = await project.up()
    assert len(report.migrations) == MANY
    assert counted.round_trips <= MANY + 3

    before = counted.round_trips
    await project.up()
    assert counted.round_trips - before <= 3
