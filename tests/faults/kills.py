"""One-shots that are ended by `kill -9`, and their server processes, which go on for a while and know nothing of it."""

import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.kit.process import Process, dbinit
from tests.kit.server import Server

from .campaign import Campaign, Play, Round
from .scene import Scene, Stage, Stages
from .workload import ALL, Workload

__all__ = ["KILLS", "killing"]

_FROM_THE_START = 0.15  # of the rounds
_AIM = 0.5  # of the time that a start takes in the beginning: later ones, and those that are seen late, take less
_LIFE = 0.4  # seconds that a one-shot lives at least


@contextmanager
def killing(server: Server, workloads: Sequence[Workload] = ALL) -> Iterator[Play]:
    """Set up rounds in which a start of one of the workloads, by chance, is killed."""
    with Stages(server, workloads) as stages:
        yield lambda chance: _kill_one(stages.choose(chance), chance)


def _kill_one(stage: Stage, chance: random.Random) -> Round:
    """Kill a start, look at what it has left, and have the next one end it while the server may still be at it."""
    with stage.scene() as scene:
        alive = _start_and_kill(scene, chance)
        scene.check_as_it_is()
        scene.check_in_the_end()
        return Round(hit=alive, unaided=not alive)


def _start_and_kill(scene: Scene, chance: random.Random) -> bool:
    early = chance.random() < _FROM_THE_START
    moment = chance.uniform(0, _LIFE if early else _AIM * scene.stage.seconds)
    with dbinit(env=scene.env) as process:
        if not early:
            process.wait_for("Running")
        return not _ends_within(process, moment) and _kill(process)


def _ends_within(process: Process, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: Process) -> bool:
    process.popen.kill()
    process.popen.wait(10)
    return True


KILLS = Campaign("kills", 300, "`kill -9` of a one-shot at a random moment", killing)
