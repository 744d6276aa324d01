"""How soon a start is gone that is told to end, a killed one is replaced, and a probe of a frozen database answered."""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg

from benchmarks.corpus import execute, fresh_database
from benchmarks.measure import Row, compare
from tests.kit.faulty import FaultyProxy
from tests.kit.patience import eventually
from tests.kit.process import Process, dbinit, running
from tests.kit.server import Server
from tests.kit.service import Serving, probe, serving

_PACE = "CREATE TABLE pace AS SELECT 60 AS seconds"
_SCRIPT = "CREATE TABLE item (id int);\nSELECT pg_sleep(seconds) FROM pace;\n"
_ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
_BARE = f"""
import asyncio, signal, sys, asyncpg
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute({_SCRIPT!r})
try:
    asyncio.run(main())
except asyncio.CancelledError:
    pass
"""
_SECOND = 1.0
"""What we allow ourselves."""
_PROBES = 100


class _Scene(NamedTuple):
    """A database with a script that sleeps in it, and a line to it that can be frozen."""

    url: str
    line: FaultyProxy
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {"DATABASE_URL": self.url, "MIGRATION_PATH": str(self.folder / "script.sql"), "DBINIT_SENTINEL": ""}

    def wait_for_sleep(self) -> None:
        """Wait until the script sleeps."""
        eventually(lambda: asyncio.run(_fetch(self.url, _ASLEEP)) == 1)


def rows(server: Server, runs: int = 11) -> list[Row]:
    """Measure with real processes and signals."""
    parts = [
        ("SIGTERM in a statement, until it is gone", _one_shot, "bare process with asyncpg", _bare),
        ("the same, with a server that has fallen silent", _frozen_one_shot, "what we allow", _allowed),
        ("the same, a service that starts", _starting_service, "a service that is ready", _ready_service),
        ("kill -9, until the next start has applied", _takeover, "a start that applies", _start),
        (f"slowest of {_PROBES} probes, frozen database", _slowest_probe, "what we allow", _allowed),
    ]
    return [
        compare(what, against, [(_played(server, ours), _played(server, theirs)) for _ in range(runs)])
        for what, ours, against, theirs in parts
    ]


def _played(server: Server, part: Callable[[_Scene], float]) -> float:
    with _scene(server) as scene:
        return part(scene)


@contextmanager
def _scene(server: Server) -> Iterator[_Scene]:
    with ExitStack() as stack:
        name = stack.enter_context(fresh_database(server))
        execute(server.url(name), _PACE)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "script.sql").write_text(_SCRIPT)
        line = stack.enter_context(FaultyProxy(server.port))
        yield _Scene(server.url(name).replace(f":{server.port}/", f":{line.port}/"), line, folder)


def _one_shot(scene: _Scene) -> float:
    with dbinit(env=scene.env) as process:
        scene.wait_for_sleep()
        return _end(process)


def _frozen_one_shot(scene: _Scene) -> float:
    with dbinit(env=scene.env) as process:
        scene.wait_for_sleep()
        scene.line.freeze()
        return _end(process)


def _bare(scene: _Scene) -> float:
    with running(sys.executable, "-c", _BARE, scene.url) as process:
        scene.wait_for_sleep()
        return _end(process)


def _starting_service(scene: _Scene) -> float:
    with serving(scene.folder, {**scene.env, "DBINIT_MODE": "blocking"}) as service:
        scene.wait_for_sleep()
        scene.line.freeze()
        return _end(service.process)


def _ready_service(scene: _Scene) -> float:
    with _ready(scene) as service:
        return _end(service.process)


def _slowest_probe(scene: _Scene) -> float:
    with _ready(scene) as service:
        scene.line.freeze()
        answers = asyncio.run(probe(service.port, _PROBES))
        return max(seconds for _, seconds in answers)


def _takeover(scene: _Scene) -> float:
    with dbinit(env=scene.env) as process:
        scene.wait_for_sleep()
        execute(scene.url, "UPDATE pace SET seconds = 0")
        process.send(signal.SIGKILL)
        began = time.perf_counter()
        with dbinit(env=scene.env) as following:
            following.popen.wait()
        return time.perf_counter() - began


def _start(scene: _Scene) -> float:
    execute(scene.url, "UPDATE pace SET seconds = 0")
    began = time.perf_counter()
    with dbinit(env=scene.env) as process:
        process.popen.wait()
    return time.perf_counter() - began


def _allowed(_: _Scene) -> float:
    return _SECOND


@contextmanager
def _ready(scene: _Scene) -> Iterator[Serving]:
    execute(scene.url, "UPDATE pace SET seconds = 0")
    with serving(scene.folder, scene.env, health={"check_database": True}) as service:
        service.until("/items", 200)
        yield service


def _end(process: Process) -> float:
    process.send(signal.SIGTERM)
    began = time.perf_counter()
    process.popen.wait()
    return time.perf_counter() - began


async def _fetch(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
