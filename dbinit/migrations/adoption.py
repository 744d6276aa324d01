"""Adopts the history of another tool: its rows and a folder go in, rows of our own history come out. Pure."""

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .history import Recorded, State, row_of
from .model import Folder, Format, Kind, Migration
from .problems import PlanError
from .version import Version

__all__ = ["adopt"]

Row = Mapping[str, Any]
_LINE_END = re.compile(r"\r\n|\n|\r")
_BY_HAND = "finish or undo by hand what it began, mend the row, and import again"
_UNDOING = {"UNDO_SQL", "UNDO_JDBC", "UNDO_SCRIPT", "DELETE"}


def adopt(owner: Format, rows: Sequence[Row], folder: Folder) -> list[Recorded]:
    """Return what a tool's history says was applied, in the order of the folder.

    Args:
        owner: Whose history it is.
        rows: Its rows, oldest first, as mappings from the columns in `foreign.LAYOUTS`.
        folder: The migrations.

    Raises:
        PlanError: A migration failed there, has no file, or differs from its file; all of them are named.
    """
    adopter = _Adopter(folder)
    _READERS[owner](adopter, rows)
    if adopter.problems:
        raise PlanError(adopter.problems)
    migrations = (*folder.baselines, *folder.migrations)
    found = adopter.found
    return [row_of(migration, found[migration.key]) for migration in migrations if migration.key in found]


class _Adopter:
    """What has been found so far.

    Attributes:
        found: The states of migrations, by key.
        problems: What speaks against adopting the history.
    """

    def __init__(self, folder: Folder) -> None:
        self.found: dict[str, State] = {}
        self.problems: list[str] = []
        self._folder = folder
        self._migrations = {migration.key: migration for migration in (*folder.migrations, *folder.baselines)}

    def find(self, version: object, kind: Kind = Kind.VERSIONED) -> Migration | None:
        """Return the migration with a version; None, and a problem more, where there is none."""
        parsed = self._version(version)
        if parsed is None:
            return None
        key = f"{'B:' if kind is Kind.BASELINE else ''}{parsed.key}"
        if key not in self._migrations:
            what = f"migration {version} was applied, and has no file in {self._folder.path}; put it back"
            self.problems.append(what)
        return self._migrations.get(key)

    def read_golang_migrate(self, rows: Sequence[Row]) -> None:
        """Its one row holds the version that was reached."""
        for row in rows:
            reached = self.find(row["version"])
            if row["dirty"]:
                self.problems.append(f"golang-migrate left version {row['version']} dirty; {_BY_HAND}")
            if reached and reached.version:
                self._up_to(reached.version, State.APPLIED)

    def read_dbmate(self, rows: Sequence[Row]) -> None:
        """A row for each migration that is applied."""
        for row in rows:
            self._add(self.find(row["version"]))

    def read_goose(self, rows: Sequence[Row]) -> None:
        """The last row about a version counts; version 0 is the empty database."""
        applied = {row["version_id"]: row["is_applied"] for row in rows if row["version_id"]}
        for version, is_applied in applied.items():
            if is_applied:
                self._add(self.find(version))

    def read_sqlx(self, rows: Sequence[Row]) -> None:
        """A row for each migration, with a checksum of its file."""
        for row in rows:
            if not row["success"]:
                self.problems.append(f"migration {row['version']} failed under sqlx; {_BY_HAND}")
            migration = self.find(row["version"])
            # The file of one that has failed is often mended before its row.
            if row["success"] and migration and bytes(row["checksum"]) not in _sha384s(migration.file.data):
                self._differs(migration)
            self._add(migration)

    def read_flyway(self, rows: Sequence[Row]) -> None:
        """A row for each run; a later row may take an earlier one back."""
        for row in rows:
            if not row["success"]:
                self.problems.append(f"{row['script']} failed under Flyway; {_BY_HAND}")
        self._read_repeatable(row for row in rows if row["version"] is None)
        standing: dict[str, Row] = {}
        for row in rows:
            if row["version"] is None or row["type"] == "SCHEMA" or not (version := self._version(row["version"])):
                continue
            key = version.key
            standing.pop(key, None)
            if row["type"] not in _UNDOING:
                standing[key] = row
        for row in standing.values():
            self._read_versioned(row)

    def _version(self, text: object) -> Version | None:
        try:
            return Version.parse(str(text))
        except ValueError as error:
            self.problems.append(f"in its history, {error}")
            return None

    def _read_versioned(self, row: Row) -> None:
        if row["type"] == "BASELINE":
            if version := self._version(row["version"]):
                self._up_to(version, State.BASELINE)
            return
        kind = Kind.BASELINE if row["type"].endswith("_BASELINE") else Kind.VERSIONED
        migration = self.find(row["version"], kind)
        # As above.
        checksum = row["checksum"] if row["success"] else None
        if migration and checksum is not None and checksum not in _crc32s(migration):
            self._differs(migration)
        self._add(migration)

    def _read_repeatable(self, rows: Iterable[Row]) -> None:
        """One that was edited since is left out, so that it will be run."""
        last = {row["description"]: row["checksum"] for row in rows}
        for migration in self._folder.migrations:
            if migration.kind is Kind.REPEATABLE and last.get(migration.name.replace("_", " ")) in _crc32s(migration):
                self._add(migration)

    def _up_to(self, version: Version, state: State) -> None:
        for migration in self._folder.migrations:
            if migration.version is not None and migration.version <= version:
                self.found[migration.key] = state

    def _add(self, migration: Migration | None) -> None:
        if migration:
            self.found[migration.key] = State.APPLIED

    def _differs(self, migration: Migration) -> None:
        what = "is not as it was applied; put the file back as it was, or record its state with baseline"
        self.problems.append(f"{migration.up.path} {what}")


def _sha384s(data: bytes) -> set[bytes]:
    """Return sqlx's checksums of a file, with the line ends of any checkout."""
    unix = data.replace(b"\r\n", b"\n")
    return {hashlib.sha384(variant).digest() for variant in (data, unix, unix.replace(b"\n", b"\r\n"))}


def _crc32s(migration: Migration) -> set[int]:
    """Return Flyway's checksums of a file: of repeatable ones with the placeholders replaced."""
    texts = (migration.file.data.decode("utf-8-sig"), migration.up.text)
    return {_crc32(text) for text in texts}


def _crc32(text: str) -> int:
    code = zlib.crc32("".join(_LINE_END.split(text)).encode())
    return code - 2**32 if code >= 2**31 else code


_READERS: dict[Format, Callable[[_Adopter, Sequence[Row]], None]] = {
    Format.GOLANG_MIGRATE: _Adopter.read_golang_migrate,
    Format.DBMATE: _Adopter.read_dbmate,
    Format.GOOSE: _Adopter.read_goose,
    Format.SQLX: _Adopter.read_sqlx,
    Format.FLYWAY: _Adopter.read_flyway,
}
