"""The history of a database, as values: its rows, and what holds now. Pure."""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from .model import Kind, Migration, Part, key_of
from .version import Version

__all__ = ["TABLE", "History", "Recorded", "State", "once_gone", "row_of"]

TABLE = "dbinit_migrations"


class State(Enum):
    """What a row of the history says about a migration."""

    APPLIED = "applied"
    BASELINE = "baseline"
    """Recorded as applied without having been run: the schema was there before."""
    UNFINISHED = "unfinished"
    """Some of its statements were run."""
    REVERTING = "reverting"
    """Some of the statements that take it back were run."""
    REVERTED = "reverted"


class Recorded(NamedTuple):
    """A row of the history.

    Attributes:
        version: None for a repeatable migration.
        name: The migration's name.
        checksum: The checksum of its up part when the row was written; empty where that is not known.
        state: What happened.
        kind: When it runs.
        compatible_with: The oldest version whose code can work with the database once this is applied.
        down: What takes it back, as it was stored when the migration was applied; its path does not matter.
        id: The row's number; 0 while it has none.
        statements: How many statements were run.
        progress: While it is unfinished, what tells those statements from others.
        seconds: How long that took.
        applied_at: When.
    """

    version: Version | None
    name: str
    checksum: str
    state: State = State.APPLIED
    kind: Kind = Kind.VERSIONED
    compatible_with: Version | None = None
    down: Part | None = None
    id: int = 0
    statements: int = 0
    progress: str = ""
    seconds: float = 0.0
    applied_at: datetime | None = None

    @property
    def key(self) -> str:
        """The key of the migration that the row is about."""
        return key_of(self.kind, self.version, self.name)

    @property
    def stand(self) -> tuple[int, State, int]:
        """What becomes another when somebody goes on with the migration."""
        return self.id, self.state, self.statements


def row_of(migration: Migration, state: State = State.APPLIED) -> Recorded:
    """Return the row that is to be written about a migration.

    Args:
        migration: The migration.
        state: What happened. Default: it was applied.
    """
    return Recorded(
        migration.version,
        migration.name,
        migration.checksum,
        state,
        migration.kind,
        migration.compatible_with,
        migration.down,
    )


def once_gone(version: Version | None, *, unfinished: bool) -> str:
    """Return what is to be done by hand about a migration whose file will not come back.

    Args:
        version: The migration's.
        unfinished: Whether only some of its statements were run.
    """
    undoing = "undo its work by hand and " if unfinished else ""
    return f"where its file is gone for good, {undoing}DELETE FROM {TABLE} WHERE version = '{version}'"  # noqa: S608 - for a person to run


class History:
    """What holds after all rows, of which the last one about a migration counts.

    Args:
        rows: The rows, oldest first.

    Attributes:
        rows: By key the row that counts, without the reverted ones, in the order in which they were applied: a repair
            does not change it.
        versioned: Those of them that are not about repeatable migrations.
        shaken: The keys of the repeatable ones behind which something was taken back, perhaps with what they had made.
    """

    def __init__(self, rows: Iterable[Recorded]) -> None:
        self.rows: dict[str, Recorded] = {}
        self.shaken: set[str] = set()
        for row in rows:
            if row.state is State.REVERTED:
                self.rows.pop(row.key, None)
                self.shaken.update(key for key, found in self.rows.items() if found.version is None)
            else:
                self.rows[row.key] = row
                self.shaken.discard(row.key)
        self.versioned = [row for row in self.rows.values() if row.version is not None]
