"""What the readers of the formats have in common. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from .model import Hook, Migration, Part
from .problems import Problem
from .text import FileText
from .version import Version

__all__ = ["Named", "Reading", "read_version"]


class Named(NamedTuple):
    """A file whose name has been understood."""

    text: FileText
    version: Version
    name: str


class Reading:
    """What has been read of a folder so far, in no order, with the mistakes that were found on the way."""

    def __init__(self) -> None:
        self.migrations: list[Migration] = []
        self.hooks: dict[Hook, list[Part]] = {}
        self.problems: list[Problem] = []

    def pair(self, ups: Iterable[Migration], downs: Iterable[tuple[Named, Part]]) -> None:
        """Add migrations with their downs, which are in files of their own; a version has one of each at most."""
        found: dict[Version, Migration] = {}
        for up in ups:
            if up.version is not None and self._is_first(up.version, up.up, found.get(up.version)):
                found[up.version] = up
        taken: dict[Version, Part] = {}
        for named, down in downs:
            migration = found.get(named.version)
            if migration is None:
                what = "this takes back a migration whose own file is not there; add that file, or remove this one"
                self.problems.append(Problem(down.path, what))
            elif migration.down is not None and named.version not in taken:
                what = f"{migration.up.path} has a down part of its own; keep one of the two"
                self.problems.append(Problem(down.path, what))
            elif self._is_first(named.version, down, taken.get(named.version)):
                taken[named.version] = down
                found[named.version] = migration._replace(down=down)
        self.migrations += found.values()

    def _is_first(self, version: Version, part: Part, other: "Migration | Part | None") -> bool:
        if other is None:
            return True
        path = other.path if isinstance(other, Part) else other.up.path
        what = f"this has the same version ({version}) as {path}; give one of them another number"
        self.problems.append(Problem(part.path, what))
        return False


def read_version(text: FileText, version: str, problems: list[Problem]) -> Version | None:
    """Read the version in a file's name; None, and a problem more, where it is none."""
    try:
        return Version.parse(version)
    except ValueError as error:
        problems.append(Problem(text.path, str(error)))
        return None
