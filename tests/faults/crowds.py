"""Many starters at once on an empty database: each migration has one that applies it, and all end well."""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

from dbinit import ExitCode
from tests.kit.pgbouncer import pgbouncer
from tests.kit.process import dbinit, finished
from tests.kit.server import Server

from .campaign import Campaign, Play, Round
from .scene import End, Scene, Stage, Stages, by_port
from .workload import FOLDER, SCRIPT, STEPS, Workload

__all__ = ["CROWDS", "POOLED", "crowd_of_processes", "crowd_of_tasks", "gathering"]

_ALL = (FOLDER, SCRIPT, STEPS)
_POOL = 4  # server connections behind PgBouncer, fewer than there are starters
_APPLIED = re.compile(r"Applied \S*/([^/\s]+\.sql)")

Crowd = Callable[[Scene, str, int], list[str]]
"""Lets so many starters run against a URL; returns what each of them has said."""


def crowd_of_processes(scene: Scene, url: str, size: int) -> list[str]:
    """Start as many one-shots as fast as this machine can."""
    with ExitStack() as stack:
        processes = [stack.enter_context(dbinit(env={**scene.env, "DATABASE_URL": url})) for _ in range(size)]
        ends = [finished(process, 60) for process in processes]
    failed = [end for end in ends if end.code != ExitCode.OK]
    assert not failed, f"{len(failed)} of {size} failed, one with {failed[0].code}: {failed[0].said}"
    return [end.err for end in ends]


def crowd_of_tasks(scene: Scene, url: str, size: int) -> list[str]:
    """Start as many in this process: far cheaper, and far closer together."""
    with _log() as said:
        ends = asyncio.run(_together(scene, url, size))
    failed = [end for end in ends if end.code != ExitCode.OK]
    assert not failed, f"{len(failed)} of {size} failed, one with {failed[0].code}: {failed[0].said}"
    return ["\n".join(said)]


async def _together(scene: Scene, url: str, size: int) -> list[End]:
    return await asyncio.gather(*(scene.start(url) for _ in range(size)))


@contextmanager
def _log() -> Iterator[list[str]]:
    """Collect what dbinit logs in this process."""
    logger, lines = logging.getLogger("dbinit"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def gathering(
    server: Server, crowd: Crowd, size: int, *, pooled: bool = False, workloads: Sequence[Workload] = _ALL
) -> Iterator[Play]:
    """Set up rounds of so many starters at once.

    Args:
        server: Where.
        crowd: How they are started.
        size: How many.
        pooled: Whether there is a PgBouncer in transaction mode before the server.
        workloads: What they want to do, by chance.
    """
    way = pgbouncer(server, pool=_POOL) if pooled else nullcontext(server.port)
    with way as port, Stages(server, workloads, pooled=pooled) as stages:
        yield lambda chance: _gather(stages.choose(chance), port, crowd, size)


def _gather(stage: Stage, port: int, crowd: Crowd, size: int) -> Round:
    with stage.scene() as scene:
        said = crowd(scene, by_port(scene.url, port), size)
        applied = Counter(_APPLIED.findall("\n".join(said)))
        assert applied == Counter(file.name for file in stage.workload.files), f"applied by how many: {applied}"
        scene.check_as_it_is()
        scene.check_in_the_end()
        return Round(hit=sum("Applied" in text for text in said) < size, unaided=True)


CROWDS = Campaign(
    "crowds", 20, "20 one-shots at once on an empty database", partial(gathering, crowd=crowd_of_processes, size=20)
)
POOLED = Campaign(
    "pooled",
    20,
    "10 one-shots at once behind PgBouncer in transaction mode",
    partial(gathering, crowd=crowd_of_processes, size=10, pooled=True),
)
