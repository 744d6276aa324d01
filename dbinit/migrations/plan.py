"""A plan: steps as values, and which of them can be run now. Pure."""

from collections.abc import Collection, Iterator
from enum import Enum
from typing import NamedTuple

from .history import Recorded
from .model import Kind, Migration, Part
from .version import Version

__all__ = ["Action", "Plan", "Step", "step_of"]


class Action(Enum):
    """What a step does."""

    APPLY = "apply"
    RESUME = "resume"
    """Go on with a migration of which some statements were run."""
    REVERT = "revert"
    RECORD = "record"
    """Record it as applied without running it."""


class Step(NamedTuple):
    """A step of a plan.

    Attributes:
        action: What it does.
        version: The migration's version; None for a repeatable one.
        name: The migration's name.
        kind: The migration's kind.
        checksum: What the history row is to hold.
        part: The script to run; for `RECORD` the one that is not run.
        migration: The migration in the folder; None when it is taken back and its file is gone.
        recorded: The history row it goes on with or takes back; None when there is none.
        after: The places, in the plan, of the steps that must have ended before.
    """

    action: Action
    version: Version | None
    name: str
    kind: Kind
    checksum: str
    part: Part
    migration: Migration | None = None
    recorded: Recorded | None = None
    after: frozenset[int] = frozenset()


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        steps: In the order in which they run one by one.
        notes: What is remarkable about the plan, one sentence each, for the log.
    """

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    def ready(self, done: Collection[int], running: Collection[int] = ()) -> Iterator[int]:
        """Yield the places of the steps that can be begun now, in order.

        Args:
            done: The places of those that ended well.
            running: The places of those that were begun and have not ended. Default: none.
        """
        for place, step in enumerate(self.steps):
            if place not in done and place not in running and all(need in done for need in step.after):
                yield place


def step_of(action: Action, migration: Migration) -> Step:
    """Return a step with the up part of a migration, which waits for no other."""
    version, name, kind = migration.version, migration.name, migration.kind
    return Step(action, version, name, kind, migration.checksum, migration.up, migration)
