"""What a starting service can say of itself: phases, and the table of how one follows another.

Pure: the state is a frozen value, and `advance` returns the next one. An illegal step raises and changes nothing.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

__all__ = ["Phase", "Readiness", "Step", "advance", "unheard"]


class Phase(Enum):
    """How far the start has come."""

    NEW = "new"
    CONNECTING = "connecting"
    CHECKING = "checking"
    WAITING = "waiting"
    """For another starter that holds the lock, or in `verify` mode for the schema to appear."""
    APPLYING = "applying"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


# From each phase, the phases that may follow. FAILED and READY lead back to CONNECTING, as a start can be
# tried or checked again. APPLYING leads back to WAITING, as between two migrations another starter may come first.
_NEXT = {
    Phase.NEW: {Phase.CONNECTING},
    Phase.CONNECTING: {Phase.CHECKING},
    Phase.CHECKING: {Phase.CONNECTING, Phase.WAITING, Phase.APPLYING, Phase.READY},
    Phase.WAITING: {Phase.CONNECTING, Phase.CHECKING, Phase.APPLYING, Phase.READY},
    Phase.APPLYING: {Phase.CONNECTING, Phase.WAITING, Phase.READY},
    Phase.READY: {Phase.CONNECTING},
    Phase.FAILED: {Phase.CONNECTING},
    Phase.CLOSED: set(),
}


@dataclass(frozen=True)
class Readiness:
    """A snapshot of a start.

    Attributes:
        phase: How far it has come.
        attempt: The attempt to connect that is or was under way, from 1; 0 before the first.
        attempts: How many there will be at most.
        file: The path of the file of SQL.
        statement: The statement that is or was under way, from 1; 0 before the first.
        statements: How many statements the file has; 0 while that is not known.
        migration: Which one of the migrations to run that file is, from 1; 0 where it is not one of a folder.
        migrations: How many migrations there are to run.
        detail: What a long statement is doing, such as how far an index has been built, or who is waited for; of this
            phase, and usually empty.
        elapsed: Seconds since the start began, until it ended.
        error: Name of the error's class once `phase` is `FAILED`; never its text.
    """

    phase: Phase = Phase.NEW
    attempt: int = 0
    attempts: int = 0
    file: str = ""
    statement: int = 0
    statements: int = 0
    migration: int = 0
    migrations: int = 0
    detail: str = ""
    elapsed: float = 0.0
    error: str = ""

    @property
    def ready(self) -> bool:
        """Whether the schema is there."""
        return self.phase is Phase.READY


class Step(Protocol):
    """Takes a start one step further; the work below the `Initializer` reports its progress by it."""

    def __call__(self, phase: Phase, /, **changes: Any) -> None:
        """Enter `phase`, with `changes` to other fields of the `Readiness`."""


def unheard(_: Phase, /, **__: object) -> None:
    """Be a `Step` that nobody is told of."""


def advance(readiness: Readiness, phase: Phase, **changes: Any) -> Readiness:
    """Return the snapshot after a step to `phase` (which may be the present one) with further `changes`.

    Failing and closing are possible from everywhere, except that a closed start stays closed.

    Raises:
        ValueError: `phase` cannot follow the present one.
    """
    present = readiness.phase
    ending = phase in {Phase.FAILED, Phase.CLOSED} and present is not Phase.CLOSED
    if phase is not present and not ending and phase not in _NEXT[present]:
        raise ValueError(f"{phase.value} cannot follow {present.value}")
    error = "" if phase is not Phase.FAILED else readiness.error
    detail = readiness.detail if phase is present else ""
    return replace(readiness, **{"phase": phase, "error": error, "detail": detail, **changes})
