"""What somebody wants to be done with a folder of migrations. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .history import Recorded
from .model import Folder
from .plan import Plan, Step
from .planner import Up, plan_baseline, plan_repair, plan_up
from .reversal import plan_again, plan_down, plan_redo
from .version import Version

__all__ = ["Baseline", "Down", "Import", "Redo", "Repair", "Request", "Up", "make_plan", "takes_back"]


@dataclass(frozen=True)
class Down:
    """Take back what was applied last.

    Attributes:
        count: How many.
        target: Take back all that are newer than this version instead; `ZERO` means all.
    """

    count: int = 1
    target: Version | None = None


@dataclass(frozen=True)
class Redo:
    """Take back what was applied last, and apply it again as it is now."""


@dataclass(frozen=True)
class Baseline:
    """Record all migrations up to `version` as applied, without running them."""

    version: Version


@dataclass(frozen=True)
class Repair:
    """Accept the files as they are now where they were edited after they were applied."""


@dataclass(frozen=True)
class Import:
    """Record as applied what another tool's history says was applied.

    Attributes:
        table: The table with that history; empty for the tool's usual one.
    """

    table: str = ""


Request = Up | Down | Redo | Baseline | Repair | Import


def takes_back(request: Request) -> bool:
    """Tell whether what takes migrations back is needed to plan a request."""
    return isinstance(request, Down | Redo)


def make_plan(request: Request, folder: Folder, rows: Iterable[Recorded], *, done: Sequence[Step] = ()) -> Plan:
    """Plan what is wanted.

    Args:
        request: What is wanted.
        folder: The folder.
        rows: The history, oldest row first.
        done: The steps of it that have been taken already, when planning again.

    Raises:
        PlanError: It cannot be done.
    """
    match request:
        case Up():
            return plan_up(folder, rows, target=request.target, allow_missing=request.allow_missing)
        case Down():
            if request.target is None and 0 < request.count <= len(done):
                return Plan()
            return plan_down(folder, rows, count=request.count - len(done), target=request.target)
        case Redo():
            return plan_again(folder, rows, done) if done else plan_redo(folder, rows)
        case Baseline():
            return plan_baseline(folder, rows, request.version) if not done else Plan()
        case Repair():
            return plan_repair(folder, rows)
        case Import():
            raise ValueError("an import is planned from the other tool's history")
