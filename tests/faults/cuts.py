"""Connections that are cut behind a byte, either way, and commits whose answer is lost; dbinit goes on by itself."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

from dbinit import ExitCode
from tests.kit.faulty import FaultyProxy
from tests.kit.server import Server

from .campaign import Campaign, Play, Round
from .scene import End, Scene, Stage, Stages, by_port
from .workload import ALL, Workload

__all__ = ["COMMITS", "CUTS", "cutting"]

_WAYS = ("to_server", "to_client")


@dataclass(frozen=True)
class _Line:
    """A way to the server through a proxy, and how much an undisturbed start sends along it."""

    stage: Stage
    proxy: FaultyProxy
    bytes: dict[str, int]


Fault = Callable[[_Line, random.Random], None]
"""Tells the proxy of a line what is to fail."""


def cut(line: _Line, chance: random.Random) -> None:
    """Cut behind a byte that an undisturbed start would send, or receive."""
    way = chance.choice(_WAYS)
    line.proxy.cut_after(**{way: chance.randint(1, line.bytes[way])})


def lose_commit(line: _Line, chance: random.Random) -> None:
    """Keep the answer to a commit to ourselves."""
    commits = sum(len(file.statements) if file.steps else 1 for file in line.stage.workload.files)
    line.proxy.lose_commit(chance.randint(1, commits))


@contextmanager
def cutting(server: Server, fault: Fault = cut, workloads: Sequence[Workload] = ALL) -> Iterator[Play]:
    """Set up rounds in which the connection of a start fails.

    Args:
        server: Where.
        fault: How it fails.
        workloads: What is to be done, by chance.
    """
    with Stages(server, workloads) as stages, FaultyProxy(server.port) as proxy:
        measured = cache(partial(_measured, proxy=proxy))
        yield lambda chance: _play(measured(stages.choose(chance)), fault, chance)


def _measured(stage: Stage, *, proxy: FaultyProxy) -> _Line:
    before = {way: getattr(proxy, way) for way in _WAYS}
    with stage.scene() as scene:
        end = asyncio.run(scene.start(by_port(scene.url, proxy.port)))
        assert end == End(ExitCode.OK), end.said
    return _Line(stage, proxy, {way: getattr(proxy, way) - before[way] for way in _WAYS})


def _play(line: _Line, fault: Fault, chance: random.Random) -> Round:
    with line.stage.scene() as scene:
        cuts = line.proxy.cuts
        fault(line, chance)
        end = asyncio.run(_start(scene, line.proxy))
        scene.check_as_it_is()
        assert end == End(ExitCode.OK), f"it did not go on by itself, and ended with {end.code}: {end.said}"
        scene.check_in_the_end()
        return Round(hit=line.proxy.cuts > cuts, unaided=True)


async def _start(scene: Scene, proxy: FaultyProxy) -> End:
    try:
        return await scene.start(by_port(scene.url, proxy.port))
    finally:
        proxy.cut_after()
        proxy.lose_commit(0)


CUTS = Campaign("cuts", 300, "the connection is cut behind a random byte, in either direction", cutting)
COMMITS = Campaign("commits", 60, "the answer to a random COMMIT is lost", partial(cutting, fault=lose_commit))
