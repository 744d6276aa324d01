"""A starter that stops between reading the history and applying what it lacks, until another one has applied it all."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager

from dbinit import ExitCode
from dbinit.migrations.request import Up
from dbinit.migrations.version import Version
from dbinit.readiness import Phase, Readiness
from tests.kit.faulty import FaultyProxy
from tests.kit.server import Server

from .campaign import Campaign, Play, Round
from .scene import End, Scene, Stage, Stages, by_port, start
from .workload import FOLDER

__all__ = ["STRAGGLERS", "straggling"]

_LIMIT = 60.0


@contextmanager
def straggling(server: Server) -> Iterator[Play]:
    """Set up rounds in which the line of one of two starters freezes as it is about to apply what it lacks."""
    with Stages(server, (FOLDER,)) as stages, FaultyProxy(server.port) as proxy:
        yield lambda chance: _play(stages.choose(chance), chance, proxy)


def _play(stage: Stage, chance: random.Random, proxy: FaultyProxy) -> Round:
    with stage.scene() as scene:
        # With the history there: creating it would tell one starter of the other, too.
        begun = Up(Version.parse(str(chance.randint(1, len(stage.workload.files) - 1))))
        for end in asyncio.run(_start_all(scene, begun, proxy)):
            assert end == End(ExitCode.OK), f"one of them ended with {end.code}: {end.said}"
        scene.check_as_it_is()
        scene.check_in_the_end()
        return Round(hit=True, unaided=True)


async def _start_all(scene: Scene, begun: Up, proxy: FaultyProxy) -> list[End]:
    first = await start(scene.options(), lambda initializer: initializer.migrate(begun))
    frozen = asyncio.Event()

    def freeze(readiness: Readiness) -> None:
        if readiness.phase is Phase.APPLYING and not frozen.is_set():
            proxy.freeze()
            frozen.set()

    straggler = asyncio.create_task(start(scene.options(by_port(scene.url, proxy.port)), observer=freeze))
    try:
        await asyncio.wait_for(frozen.wait(), _LIMIT)
        other = await scene.start()
    finally:
        proxy.thaw()
    return [first, other, await straggler]


STRAGGLERS = Campaign(
    "stragglers",
    20,
    "a starter freezes behind reading the history, until another one has applied everything",
    straggling,
)
