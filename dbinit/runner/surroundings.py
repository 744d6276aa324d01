"""What the work on a file or a folder is given by the `Initializer`."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from dbinit.losses import Losses
from dbinit.readiness import Step

if TYPE_CHECKING:
    from .hooks import Hooks

__all__ = ["Connect", "Surroundings"]

Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]


class Surroundings(NamedTuple):
    """What there is around the work.

    Attributes:
        connect: Connects, as patiently as the options say.
        connect_again: Makes another connection, of which no more need be said.
        step: Told of how far the work has come.
        hooks: Callables to run with migrations.
        losses: The losses of connections, which are to be outlasted.
    """

    connect: Connect
    connect_again: Connect
    step: Step
    hooks: "Hooks | None"
    losses: Losses
