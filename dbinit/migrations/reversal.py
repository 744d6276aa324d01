"""What is to be done to take migrations back, with or without their files. Pure."""

from collections.abc import Iterable, Sequence

from .history import History, Recorded, State, once_gone
from .model import Folder, Migration, Part
from .plan import Action, Plan, Step, step_of
from .planner import RUNS, status, up_step
from .problems import PlanError
from .version import ZERO, Version

__all__ = ["plan_again", "plan_down", "plan_redo"]


def plan_down(folder: Folder, rows: Iterable[Recorded], *, count: int = 1, target: Version | None = None) -> Plan:
    """Plan to take back what was applied last. Repeatable migrations stay.

    The down part in the folder is used if the migration is there as it was applied, else the one in the history.

    Args:
        folder: The folder.
        rows: The history, oldest row first.
        count: How many, last applied first.
        target: Take back all that are newer than this version instead; `ZERO` means all.

    Raises:
        PlanError: One of them cannot be taken back, is needed by one that stays, or is unfinished; or there are not
            so many, or no such target.
    """
    applied = History(rows).versioned[::-1]
    if target is None:
        chosen, problems = applied[:count], _too_few(applied, count)
    else:
        chosen = [row for row in applied if row.version is not None and row.version > target]
        problems = _not_applied(applied, target)
    problems += [
        f"{_name(row)} is unfinished; finish it with up, or, {once_gone(row.version, unfinished=True)}"
        for row in applied
        if row.state is State.UNFINISHED
    ]
    steps, irreversible = _down_steps(folder, chosen)
    problems += irreversible + _needed(folder, chosen, applied)
    if problems:
        raise PlanError(problems)
    return Plan(tuple(steps))


def _down_steps(folder: Folder, rows: Iterable[Recorded]) -> tuple[list[Step], list[str]]:
    migrations = {migration.key: migration for migration in (*folder.migrations, *folder.baselines)}
    steps: list[Step] = []
    irreversible = []
    for row in rows:
        migration = migrations.get(row.key)
        part = _down_part(migration, row)
        if part is None:
            irreversible.append(f"{_name(row)} is irreversible: it has no down part")
            continue
        after = frozenset({len(steps) - 1}) if steps else frozenset[int]()
        steps.append(Step(Action.REVERT, row.version, row.name, row.kind, row.checksum, part, migration, row, after))
    return steps, irreversible


def _down_part(migration: Migration | None, row: Recorded) -> Part | None:
    if migration and migration.down and row.checksum in {migration.checksum, ""}:
        return migration.down
    return row.down._replace(path=f"down part of {row.key} in the history") if row.down else None


def _not_applied(applied: Sequence[Recorded], target: Version) -> list[str]:
    if target == ZERO or any(row.version == target for row in applied):
        return []
    return [f"migration {target} was not applied, so that nothing leads back to it"]


def _too_few(applied: Sequence[Recorded], count: int) -> list[str]:
    if 1 <= count <= len(applied):
        return []
    return [f"the number of migrations that can be taken back is {len(applied)}, not {count}"]


def _needed(folder: Folder, chosen: Sequence[Recorded], applied: Sequence[Recorded]) -> list[str]:
    """Return which of those that stay say themselves that they need one that goes."""
    going = {row.version for row in chosen}
    staying = {row.version for row in applied} - going
    return [
        f"{migration.up.path} depends on {need}, and stays; take it back, too"
        for migration in folder.migrations
        if migration.version in staying
        for need in migration.depends or ()
        if need in going
    ]


def plan_redo(folder: Folder, rows: Iterable[Recorded]) -> Plan:
    """Plan to take back what was applied last, and to apply it again, as it now is, with the repeatable ones behind it.

    Raises:
        PlanError: As `plan_down`, or its file is gone.
    """
    rows = tuple(rows)
    down = plan_down(folder, rows).steps[0]
    if down.migration is None:
        raise PlanError([f"the file of migration {down.version} ({down.name}) is not in {folder.path}"])
    known = History(rows).rows
    again = (found for found in folder.migrations if found.version is None and found.key in known)
    steps = [down]
    for migration in (down.migration, *again):
        steps.append(step_of(Action.APPLY, migration)._replace(after=frozenset({len(steps) - 1})))
    return Plan(tuple(steps))


def plan_again(folder: Folder, rows: Iterable[Recorded], done: Sequence[Step]) -> Plan:
    """Plan what is left of a redo of which some steps, one at least, have been taken."""
    rows = tuple(rows)
    known = History(rows).rows
    steps: list[Step] = []
    for found in status(folder, rows):
        goes_with_it = found.version is None and found.migration and found.migration.key in known
        if found.status in RUNS and (goes_with_it or found.version == done[0].version):
            steps.append(up_step(found, frozenset({len(steps) - 1}) if steps else frozenset()))
    return Plan(tuple(steps))


def _name(row: Recorded) -> str:
    return f"migration {row.version} ({row.name})"
