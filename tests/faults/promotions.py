"""A primary that dies in mid-run, and a standby that is promoted; dbinit finds it and goes on by itself.

The standby is synchronous: a commit is answered once it is there, so none that dbinit has heard of is lost.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dbinit import ExitCode
from tests.kit.databases import execute
from tests.kit.replication import Pair
from tests.kit.server import Server

from .campaign import Campaign, Play, Round
from .scene import End, Scene, Stage, Stages
from .workload import ALL, Workload

__all__ = ["PROMOTIONS", "promoting"]

_DATABASE = "service"
_AIM = 0.8  # of the time that a start takes: the server needs a moment to stop


@contextmanager
def promoting(server: Server, workloads: Sequence[Workload] = ALL) -> Iterator[Play]:
    """Set up rounds with a replicated pair of servers each; the server given shows what comes of the workloads."""
    with Stages(server, workloads) as stages:
        yield lambda chance: _promote(stages.choose(chance), chance)


def _promote(stage: Stage, chance: random.Random) -> Round:
    with Pair(stage.server.binaries, synchronous=True) as pair:
        asyncio.run(execute(pair.primary, f"CREATE DATABASE {_DATABASE}"))
        scene = Scene(pair.standby, _DATABASE, stage)
        url = pair.url(_DATABASE, attrs="read-write", standby_first=chance.random() < 0.5)
        hit, end = asyncio.run(_start_and_promote(pair, scene, url, chance.uniform(0, _AIM * stage.seconds)))
        scene.check_as_it_is()
        assert end == End(ExitCode.OK), f"it did not go on by itself, and ended with {end.code}: {end.said}"
        scene.check_in_the_end()
        return Round(hit=hit, unaided=True)


async def _start_and_promote(pair: Pair, scene: Scene, url: str, moment: float) -> tuple[bool, End]:
    start = asyncio.create_task(scene.start(url, retry_attempts=0))
    await asyncio.wait([start], timeout=moment)
    await asyncio.to_thread(pair.primary.stop, "immediate")
    hit = not start.done()
    await asyncio.to_thread(pair.promote)
    return hit, await start


PROMOTIONS = Campaign(
    "promotions", 20, "the primary is stopped with `immediate` in mid-run, and its standby promoted", promoting
)
