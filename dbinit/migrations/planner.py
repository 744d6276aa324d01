"""What is to be done about a database: a folder, its history and a wish go in, a plan comes out. Pure.

A plan is made anew from the history each time: applying one and planning again gives nothing to do.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .history import History, Recorded, once_gone
from .model import Folder, Kind
from .plan import Action, Plan, Step, step_of
from .problems import PlanError
from .standing import Standing, Status, newest, survey
from .version import ZERO, Version

__all__ = ["RUNS", "Up", "plan_baseline", "plan_repair", "plan_up", "status", "up_step"]

RUNS = (Status.PENDING, Status.LATE, Status.UNFINISHED)
"""How migrations stand that can be applied."""


class Up(NamedTuple):
    """The request to apply what is pending.

    Attributes:
        target: The last version to apply; None: all.
        allow_missing: Whether to apply those that come late, too.
        jobs: How many migrations that do not need each other may run at a time.
        single_transaction: Whether all of them are one transaction.
        dry_run: Whether to run them and then roll all back.
    """

    target: Version | None = None
    allow_missing: bool = False
    jobs: int = 1
    single_transaction: bool = False
    dry_run: bool = False


def status(folder: Folder, rows: Iterable[Recorded]) -> list[Standing]:
    """Say how each migration of the folder and of the history stands: the folder's first, in its order."""
    return survey(folder, History(rows))


def plan_up(
    folder: Folder, rows: Iterable[Recorded], *, target: Version | None = None, allow_missing: bool = False
) -> Plan:
    """Plan to apply what is pending.

    Args:
        folder: The folder.
        rows: The history, oldest row first.
        target: The last version to apply; repeatable migrations then wait unless nothing newer is pending.
            Default: all.
        allow_missing: Whether to apply those that come late, too. Default: they are a mistake.

    Raises:
        PlanError: A migration was edited or has vanished since it was applied, comes late, or the database is ahead
            of the files and does not say that it can be used by them; or there is no such target.
    """
    standings = survey(folder, History(rows), target)
    problems = _unknown_target(folder, target) + _conflicts(folder, standings, allow_missing=allow_missing)
    if problems:
        raise PlanError(problems)
    ahead = [standing for standing in standings if _is_ahead(folder, standing)]
    steps = _up_steps(folder, standings, target, with_repeatable=not ahead)
    late = [standing for standing in standings if standing.status is Status.LATE]
    notes = [f"{_name(standing)} comes late, behind newer ones" for standing in late]
    notes += [f"the database is ahead of the files, by {_name(standing)}" for standing in ahead]
    return Plan(tuple(steps), tuple(notes))


def _up_steps(
    folder: Folder, standings: Sequence[Standing], target: Version | None, *, with_repeatable: bool
) -> list[Step]:
    pending = [found for found in standings if found.status in RUNS and found.version is not None and found.migration]
    wanted = _wanted(folder, target) if pending else set[Version]()
    chosen = [found for found in pending if found.version in wanted or found.kind is Kind.BASELINE]
    places: dict[Version, int] = {}
    steps: list[Step] = []
    base: frozenset[int] = frozenset()
    for found in chosen:
        needs = folder.needs.get(found.version, frozenset()) if found.version else frozenset()
        after = base | {places[need] for need in needs if need in places}
        if found.kind is Kind.BASELINE:
            base = frozenset({len(steps)})
        elif found.version:
            places[found.version] = len(steps)
        steps.append(up_step(found, after))
    if with_repeatable and len(chosen) == len(pending):
        steps += _repeatable_steps(standings, len(steps))
    return steps


def _wanted(folder: Folder, target: Version | None) -> set[Version]:
    """Return the versions up to the target, and what they need, which may be beyond it."""
    left = [version for version in folder.needs if target is None or version <= target]
    wanted: set[Version] = set()
    while left:
        version = left.pop()
        if version not in wanted:
            wanted.add(version)
            left += folder.needs[version]
    return wanted


def _repeatable_steps(standings: Iterable[Standing], place: int) -> list[Step]:
    """Return the steps of the repeatable migrations, each behind the one before, and all behind the others."""
    after = frozenset(range(place))
    steps: list[Step] = []
    for found in standings:
        if found.status in (*RUNS, Status.EDITED) and found.version is None and found.migration:
            steps.append(up_step(found, after))
            after = frozenset({place + len(steps) - 1})
    return steps


def up_step(found: Standing, after: frozenset[int]) -> Step:
    """Return the step that applies a migration of the folder, or goes on with it, behind those at other places."""
    if found.migration is None:
        raise ValueError("only what has a file can be applied")
    action = Action.RESUME if found.status is Status.UNFINISHED else Action.APPLY
    return step_of(action, found.migration)._replace(recorded=found.recorded, after=after)


def _conflicts(folder: Folder, standings: Sequence[Standing], *, allow_missing: bool) -> list[str]:
    problems = []
    for found in standings:
        if found.status is Status.EDITED and found.version is not None:
            problems.append(f"{_name(found)} was edited after it was applied; undo the edit, or accept it with repair")
        elif found.status is Status.MISSING:
            gone = f"{_name(found)} was applied, and its file has vanished from {folder.path}"
            problems.append(f"{gone}; put it back, or, {once_gone(found.version, unfinished=False)}")
        elif found.status is Status.UNFINISHED and not found.migration and not _is_ahead(folder, found):
            gone = f"{_name(found)} is unfinished, and its file has vanished from {folder.path}"
            problems.append(f"{gone}; put it back and run up, or, {once_gone(found.version, unfinished=True)}")
        elif found.status is Status.REVERTING:
            problems.append(f"{_name(found)} is taken back half-way; finish that with down")
        elif found.status is Status.LATE and not allow_missing:
            problems.append(
                f"{_name(found)} comes late: newer ones were applied before; renumber it, or allow it"
                " (--allow-missing, or DBINIT_ALLOW_MISSING=yes)"
            )
    ahead = [found for found in standings if _is_ahead(folder, found)]
    return problems + (_refused_ahead(folder, ahead) if ahead else [])


def _is_ahead(folder: Folder, found: Standing) -> bool:
    """Tell whether a migration is newer than all files; one that is unfinished may be at work in a newer image."""
    begun = found.status is Status.UNFINISHED and not found.migration
    return found.status is Status.AHEAD or (begun and (found.version or ZERO) > newest(folder))


def _refused_ahead(folder: Folder, ahead: Sequence[Standing]) -> list[str]:
    """Return why files cannot be used with a database that is ahead of them: the newest migration has the last word."""
    last = max(ahead, key=lambda found: found.version or ZERO)
    compatible = last.recorded.compatible_with if last.recorded else None
    if compatible is not None and compatible <= newest(folder):
        return []
    unfinished = next((found.version for found in ahead if found.status is Status.UNFINISHED), None)
    names = ", ".join(_name(found) for found in ahead)
    stand, way = "was applied", "start the newer image, or take it back with down"
    if unfinished:
        stand = f"was applied ({unfinished} only in part)"
        way = f"start the newer image, which finishes it, or, {once_gone(unfinished, unfinished=True)}"
    says = (
        f"is compatible with {compatible} at the oldest" if compatible else "does not say that older files can use it"
    )
    problem = (
        f"the database is ahead of {folder.path}, which ends with {newest(folder)}: {names} {stand}, and"
        f" {last.version} {says}; {way}"
    )
    return [problem]


def _unknown_target(folder: Folder, target: Version | None) -> list[str]:
    known = {migration.version for migration in (*folder.migrations, *folder.baselines)}
    if target is None or target == ZERO or target in known:
        return []
    return [f"there is no migration {target} in {folder.path}"]


def _name(found: Standing) -> str:
    """Return what to call a migration in a sentence: its file, or what the history knows of it."""
    return found.migration.up.path if found.migration else f"migration {found.version} ({found.name})"


def plan_baseline(folder: Folder, rows: Iterable[Recorded], version: Version) -> Plan:
    """Plan to record as applied, without running them, all migrations up to a version.

    Raises:
        PlanError: There is no such version, or something was applied already.
    """
    problems = _unknown_target(folder, version)
    if history := History(rows).versioned:
        problems.append(f"there is a history already; its last row is about {history[-1].key}")
    if problems:
        raise PlanError(problems)
    wanted = _wanted(folder, version)
    steps = (step_of(Action.RECORD, found) for found in folder.migrations if found.version in wanted)
    return Plan(tuple(steps))


def plan_repair(folder: Folder, rows: Iterable[Recorded]) -> Plan:
    """Plan to record those that were edited after they were applied as they now are, without running them."""
    edited = (found for found in status(folder, rows) if found.status is Status.EDITED)
    steps = (
        step_of(Action.RECORD, found.migration)._replace(recorded=found.recorded)
        for found in edited
        if found.migration and found.version is not None
    )
    return Plan(tuple(steps))
