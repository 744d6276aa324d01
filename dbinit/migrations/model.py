"""The frozen values of a folder of migrations. Pure."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from dbinit.model import Format

from .problems import Problem
from .version import Version

__all__ = [
    "File",
    "Folder",
    "Format",
    "Hook",
    "Kind",
    "Migration",
    "Part",
    "Transaction",
    "checksum_of",
    "key_of",
]


class File(NamedTuple):
    """A file of the folder.

    Attributes:
        name: Its path from the folder on, with `/` between folders.
        data: What is in it; may be left out (empty) where `folder.is_read` says that only the name counts.
    """

    name: str
    data: bytes = b""


class Kind(Enum):
    """When a migration runs."""

    VERSIONED = "versioned"
    """Once, in the order of the versions."""
    REPEATABLE = "repeatable"
    """Behind the versioned ones, whenever it was edited."""
    BASELINE = "baseline"
    """Instead of all versioned ones up to its version, and only where nothing was applied yet."""


class Transaction(Enum):
    """Whether a script runs in a transaction."""

    YES = "yes"
    NO = "no"
    BY_CONTENT = "by content"
    """Unless one of its statements cannot run inside of one."""


class Hook(Enum):
    """When a hook runs; the values are the names of the files without `.sql`."""

    BEFORE_ALL = "before_all"
    BEFORE_EACH = "before_each"
    AFTER_EACH = "after_each"
    AFTER_ALL = "after_all"
    ON_ERROR = "on_error"


class Part(NamedTuple):
    """A script: a file, or a part of one.

    Attributes:
        path: The file's path, for messages.
        text: The script. What stands before it in the file is replaced by empty lines, so that lines and columns are
            those of the file.
        transaction: Whether it runs in a transaction.
        lock_timeout: How long its statements may wait for a lock; None: as long as the settings say.
    """

    path: str
    text: str
    transaction: Transaction = Transaction.BY_CONTENT
    lock_timeout: timedelta | None = None


class Migration(NamedTuple):
    """A migration.

    Attributes:
        file: The file with the up part.
        version: None for a repeatable one.
        name: The file's name without version and suffixes.
        up: What applies it.
        down: What takes it back; None where it cannot be taken back.
        checksum: SHA-256 of the up part in hexadecimal; a byte order mark and CRLF make no difference to it, nor does
            the down part.
        kind: When it runs.
        depends: The versions it needs; None: the migration before it, if any.
        compatible_with: The oldest version whose code can work with the database once this is applied; None: its own.
    """

    file: File
    version: Version | None
    name: str
    up: Part
    down: Part | None
    checksum: str
    kind: Kind = Kind.VERSIONED
    depends: tuple[Version, ...] | None = None
    compatible_with: Version | None = None

    @property
    def key(self) -> str:
        """The key of its rows in the history, which a change of the file's name does not change."""
        return key_of(self.kind, self.version, self.name)


def key_of(kind: Kind, version: Version | None, name: str) -> str:
    """Return `7` for a versioned migration, `R:views` for a repeatable one, `B:7` for a baseline."""
    if version is None:
        return f"R:{name}"
    return f"B:{version.key}" if kind is Kind.BASELINE else version.key


def checksum_of(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal; CRLF counts as LF."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return hashlib.sha256(text.encode()).hexdigest()


class Folder(NamedTuple):
    """A folder of migrations, read and found to be in order.

    Attributes:
        path: The folder, for messages.
        format: Whose rules it was read by.
        reason: Why those, in words, for the log.
        migrations: In the order in which they run one by one: the versioned ones, then the repeatable ones.
        needs: By version, the versions that a versioned migration builds upon.
        baselines: The migrations of the kind `BASELINE`, by version.
        hooks: The scripts of each hook, in order.
        blank: Where there is no statement as yet, in a format that asks for one.
        overlooked: The paths of what looks like a migration, and is passed over, as the format's own tool does it.
    """

    path: str
    format: Format
    reason: str
    migrations: tuple[Migration, ...]
    needs: Mapping[Version, frozenset[Version]]
    baselines: tuple[Migration, ...] = ()
    hooks: Mapping[Hook, tuple[Part, ...]] = MappingProxyType({})
    blank: tuple[Problem, ...] = ()
    overlooked: tuple[str, ...] = ()
