"""A server that crashes in mid-run and is started again; dbinit waits for it and goes on by itself."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dbinit import ExitCode
from tests.kit.databases import execute
from tests.kit.server import Server

from .campaign import Campaign, Play, Round
from .scene import End, Scene, Stage, Stages
from .workload import ALL, Workload

__all__ = ["CRASHES", "crashing"]

# The servers of the tests do not wait for what they write; this one does, so that what is committed stays.
_DURABLE = "ALTER ROLE postgres SET synchronous_commit = on"


_AIM = 0.8  # of the time that a start takes: the server needs a moment to crash


@contextmanager
def crashing(server: Server, workloads: Sequence[Workload] = ALL) -> Iterator[Play]:
    """Set up rounds in which the server crashes while one of the workloads, by chance, is under way."""
    asyncio.run(execute(server, _DURABLE))
    with Stages(server, workloads) as stages:
        yield lambda chance: _crash(stages.choose(chance), chance)


def _crash(stage: Stage, chance: random.Random) -> Round:
    with stage.scene() as scene:
        hit, end = asyncio.run(_start_and_crash(scene, chance.uniform(0, _AIM * stage.seconds)))
        scene.check_as_it_is()
        assert end == End(ExitCode.OK), f"it did not go on by itself, and ended with {end.code}: {end.said}"
        scene.check_in_the_end()
        return Round(hit=hit, unaided=True)


async def _start_and_crash(scene: Scene, moment: float) -> tuple[bool, End]:
    start = asyncio.create_task(scene.start(retry_attempts=0))
    await asyncio.wait([start], timeout=moment)
    await asyncio.to_thread(scene.server.stop, "immediate")
    hit = not start.done()
    await asyncio.to_thread(scene.server.start)
    return hit, await start


CRASHES = Campaign("crashes", 40, "`pg_ctl stop -m immediate` in mid-run, and a start of the server", crashing)
