"""How each migration stands between a folder and a history. Pure."""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from .history import History, Recorded, State
from .model import Folder, Kind, Migration
from .version import ZERO, Version

__all__ = ["Standing", "Status", "newest", "survey"]


class Status(Enum):
    """How a migration stands."""

    APPLIED = "applied"
    BASELINE = "baseline"
    """It counts as applied, without having been run."""
    PENDING = "pending"
    EDITED = "edited"
    """It was edited after it was applied; a repeatable one will be run again."""
    MISSING = "missing"
    """It was applied, and its file is gone."""
    LATE = "late"
    """It is pending, and one that builds upon it was applied before it came."""
    AHEAD = "ahead"
    """It was applied, and is newer than all files: the files are those of an older image."""
    UNFINISHED = "unfinished"
    """Some of its statements were run."""
    REVERTING = "reverting"
    """Some of the statements that take it back were run."""
    SUPERSEDED = "superseded"
    """It is not run: a baseline holds what it does, or the database was not empty when the baseline came."""


class Standing(NamedTuple):
    """How one migration stands.

    Attributes:
        status: How.
        migration: The migration in the folder; None where its file is gone.
        recorded: Its row in the history; None where it has none.
    """

    status: Status
    migration: Migration | None
    recorded: Recorded | None

    @property
    def version(self) -> Version | None:
        """The migration's version; None for a repeatable one."""
        return self._either.version

    @property
    def name(self) -> str:
        """The migration's name."""
        return self._either.name

    @property
    def kind(self) -> Kind:
        """The migration's kind."""
        return self._either.kind

    @property
    def _either(self) -> Migration | Recorded:
        found = self.migration or self.recorded
        if found is None:
            raise ValueError("neither a migration nor a row")
        return found


def newest(folder: Folder) -> Version:
    """Return the highest version that the files reach; zero where they have none."""
    versions = (found.version for found in (*folder.migrations, *folder.baselines) if found.version is not None)
    return max(versions, default=ZERO)


def survey(folder: Folder, history: History, target: Version | None = None) -> list[Standing]:
    """Say how each migration of the folder and of the history stands: the folder's first, in its order.

    Args:
        folder: The folder.
        history: The history.
        target: The version that is to be reached; a baseline beyond it is not run. Default: the newest.
    """
    base = _base(folder, history, target)
    late = _late(folder, history, base)
    standings = [*_baselines(folder, history, base), *_migrations(folder, history, base, late)]
    known = {id(found.recorded) for found in standings}
    rows = [row for row in history.versioned if id(row) not in known]
    return standings + [Standing(_status_without_file(folder, row), None, row) for row in rows]


def _status_without_file(folder: Folder, row: Recorded) -> Status:
    version = row.version or ZERO
    if row.state in _HALF_WAY:
        return _HALF_WAY[row.state]
    if version > newest(folder):
        return Status.AHEAD
    # A baseline is there so that the files it stands for can go.
    covered = any(version <= (baseline.version or ZERO) for baseline in folder.baselines)
    return Status.APPLIED if covered else Status.MISSING


def _base(folder: Folder, history: History, target: Version | None) -> Version | None:
    """Return the version of the baseline that was run, or is to be run; None where there is none."""
    if history.versioned:
        found = [row.version for row in history.versioned if row.kind is Kind.BASELINE]
    else:
        found = [migration.version for migration in folder.baselines]
    versions = [version for version in found if version is not None]
    return max((version for version in versions if target is None or version <= target), default=None)


def _baselines(folder: Folder, history: History, base: Version | None) -> Iterator[Standing]:
    for migration in folder.baselines:
        row = history.rows.get(migration.key)
        if row is None:
            pending = migration.version == base and not history.versioned
            yield Standing(Status.PENDING if pending else Status.SUPERSEDED, migration, None)
        else:
            yield Standing(_status_of(migration, row), migration, row)


def _migrations(folder: Folder, history: History, base: Version | None, late: set[Version]) -> Iterator[Standing]:
    for migration in folder.migrations:
        row = history.rows.get(migration.key)
        if row is not None:
            status = _status_of(migration, row)
            if status is Status.APPLIED and migration.key in history.shaken:
                status = Status.PENDING
        elif migration.version is None:
            status = Status.PENDING
        elif base is not None and migration.version <= base:
            status = Status.SUPERSEDED
        else:
            status = Status.LATE if migration.version in late else Status.PENDING
        yield Standing(status, migration, row)


def _status_of(migration: Migration, row: Recorded) -> Status:
    if row.state in _HALF_WAY:
        return _HALF_WAY[row.state]
    if row.checksum and row.checksum != migration.checksum:
        return Status.EDITED
    return Status.BASELINE if row.state is State.BASELINE else Status.APPLIED


_HALF_WAY = {State.UNFINISHED: Status.UNFINISHED, State.REVERTING: Status.REVERTING}


def _late(folder: Folder, history: History, base: Version | None) -> set[Version]:
    """Return the pending versions that something builds upon which was applied or begun already.

    What builds upon what is for the migrations to say, so that one that nothing depends on is never late. Of what
    was applied and has no file nothing is known: whatever is older comes late.
    """
    begun = {row.version for row in history.versioned if row.version is not None}
    versions = [migration.version for migration in folder.migrations if migration.version is not None]
    if begun.issuperset(versions):
        return set()
    without_file = max((version for version in begun if version not in folder.needs), default=ZERO)
    needed: set[Version] = set()
    late: set[Version] = set()
    for version in reversed(versions):
        if version in begun or version in needed:
            needed |= folder.needs[version]
        if version not in begun and (version in needed or version < without_file):
            late.add(version)
    return {version for version in late if base is None or version > base}
