"""What keeps starters from harm, taken away piece by piece: a kit that does not notice proves nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import asyncpg

from tests.kit.server import Server

from .campaign import Campaign, Play, play
from .crowds import crowd_of_tasks, gathering
from .cuts import cutting
from .stragglers import straggling
from .workload import SCRIPT

__all__ = ["GUARDS", "Guard", "what_is_noticed"]

_MOST_ROUNDS = 20


@dataclass(frozen=True)
class Guard:
    """Something that keeps starters from harm.

    Attributes:
        name: What to call it.
        off: Takes it away, in this process.
        prepared: Sets up the rounds that have to notice.
    """

    name: str
    off: Callable[[], AbstractContextManager[Any]]
    prepared: Callable[[Server], AbstractContextManager[Play]]


def what_is_noticed(guard: Guard, server: Server) -> str:
    """Take a guard away, and play until that is noticed; return what was.

    Raises:
        AssertionError: It was not noticed.
    """
    campaign = Campaign(guard.name, _MOST_ROUNDS, "", partial(_without, guard))
    try:
        play(campaign, server, _MOST_ROUNDS, 1)
    except AssertionError as error:
        return str(error).partition("\n")[0]
    raise AssertionError(f"{_MOST_ROUNDS} rounds without the {guard.name} went well: the kit notices nothing")


@contextmanager
def _without(guard: Guard, server: Server) -> Iterator[Play]:
    with guard.prepared(server) as play_one:

        def play_without(chance: Any) -> Any:
            with guard.off():
                return play_one(chance)

        yield play_without


async def _begin_without_lock(connection: asyncpg.Connection, *_: object, **__: object) -> None:
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")


GUARDS = (
    Guard(
        "lock",
        partial(patch, "dbinit.lock._begin", _begin_without_lock),
        partial(gathering, crowd=crowd_of_tasks, size=4, workloads=(SCRIPT,)),
    ),
    Guard(
        "fence",
        partial(patch, "dbinit.runner.ledger._FENCE", ""),
        straggling,
    ),
    Guard("retry", partial(patch, "dbinit.losses._MOST_IN_A_ROW", 1), cutting),
)
"""The lock, the fence behind it, and the new beginning behind a lost connection."""
