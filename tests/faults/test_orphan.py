"""A start behind a `kill -9`, while the server process of the one that was killed works on and knows nothing of it."""

import asyncio
import logging

import asyncpg
import pytest

from dbinit import ExitCode
from tests.kit.patience import eventually_async
from tests.kit.process import dbinit
from tests.kit.server import Server

from .scene import End, Scene, Stage
from .workload import File, Workload

_TABLES = ("CREATE TABLE item (id serial);", "SELECT pg_sleep(0.7);", "CREATE TABLE other (id serial);")
_MARKS = ("INSERT INTO journal VALUES ('one');", "INSERT INTO journal VALUES ('two');")
_JOURNAL = "CREATE TABLE journal (mark text);"
FOLDER = Workload("slow", (File("001_journal.sql", (_JOURNAL,)), File("002_items.sql", (*_TABLES, *_MARKS))))
SCRIPT = Workload("slow-script", (File("init-db.sql", (_JOURNAL, *_TABLES, *_MARKS)),), is_folder=False)
_AT_WORK = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'PgSleep' AND pid <> pg_backend_pid()
"""


@pytest.mark.parametrize("workload", [FOLDER, SCRIPT], ids=lambda workload: workload.name)
def test_the_next_start_waits_for_the_orphan(
    workload: Workload, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dbinit")
    with Stage.prepared(server, workload) as stage, stage.scene() as scene:
        caplog.clear()
        asyncio.run(_kill_at_work(scene))
        end = asyncio.run(scene.start())

        assert end == End(ExitCode.OK), end.said
        assert "Another starter holds the migration lock" in caplog.text
        scene.check_in_the_end()


async def _kill_at_work(scene: Scene) -> None:
    """Kill a start whose server process sleeps in a statement; return while it still does."""
    connection = await asyncpg.connect(scene.url)

    async def is_at_work() -> bool:
        return bool(await connection.fetchval(_AT_WORK))

    try:
        with dbinit(env=scene.env) as process:
            await eventually_async(is_at_work)
            process.popen.kill()
            process.popen.wait(10)
        assert await is_at_work(), "the server process has gone already"
    finally:
        await connection.close()
