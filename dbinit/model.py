"""The frozen values that the floors hand to one another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple, Protocol

__all__ = [
    "Applied",
    "Find",
    "Format",
    "Home",
    "MigrationRun",
    "Mode",
    "OnChange",
    "OnFailure",
    "Outcome",
    "Report",
    "Script",
    "Use",
]


class OnChange(Enum):
    """What happens when an applied file was edited since (`DBINIT_ON_CHANGE`)."""

    RERUN = "rerun"
    WARN = "warn"
    FAIL = "fail"


class Mode(Enum):
    """How a service starts (`DBINIT_MODE`)."""

    BACKGROUND = "background"
    BLOCKING = "blocking"
    VERIFY = "verify"


class OnFailure(Enum):
    """What a service does when its start fails for good (`DBINIT_ON_FAILURE`)."""

    EXIT = "exit"
    STAY = "stay"


class Format(Enum):
    """Whose rules a folder is read by; the values are what a user writes to force one."""

    NATIVE = "native"
    GOLANG_MIGRATE = "golang-migrate"
    SQLX = "sqlx"
    DBMATE = "dbmate"
    GOOSE = "goose"
    FLYWAY = "flyway"


class Outcome(Enum):
    """How a run ended well."""

    APPLIED = "applied"
    """The file was run and recorded."""
    CURRENT = "current"
    """The history says that this very file was applied before."""
    ADOPTED = "adopted"
    """The sentinel table was there without a history: recorded as applied, not run."""
    UNFINISHED = "unfinished"
    """Of a script that controls its own transactions: some of its statements have been run, and recorded."""
    REVERTED = "reverted"
    """Migrations were taken back."""
    RECORDED = "recorded"
    """Migrations were recorded as applied, without having been run."""
    REHEARSED = "rehearsed"
    """Migrations were run, and all of it rolled back."""
    CHANGED = "changed"
    """The file was edited since it was applied; only a warning was asked for."""


class Home(NamedTuple):
    """Where a history is kept, and by whom.

    Attributes:
        schema: The schema of its tables.
        role: The role that reads and writes them, and that the work is done as; empty for whoever logged in.
    """

    schema: str
    role: str = ""


class Use(Enum):
    """What one file names another for."""

    SCRIPT = "script"
    """To include it; it is looked for from the working directory."""
    BESIDE = "beside"
    """To include it; it is looked for from where the file lies that names it."""
    DATA = "data"
    """To read the data of a COPY from it; it is looked for from the working directory."""


class Find(Protocol):
    """Finds a file that a script names."""

    def __call__(self, path: str, use: Use, /) -> "Script":
        """Return it.

        Raises:
            SourceError: It is not there, or must not be read.
        """
        ...


class Script(NamedTuple):
    """A file of SQL: what was hashed is what runs.

    Attributes:
        name: The file's name, its key in the history.
        path: The path as the user gave it, for messages.
        checksum: SHA-256 in hexadecimal, of the file and of those that it includes; a byte order mark and CRLF make
            no difference to it.
        chunks: Gives what is in the file, in chunks; may be called more than once.
        find: Finds the files that it names; None where it may name none.
        key: What tells it from other files.
    """

    name: str
    path: str
    checksum: str
    chunks: Callable[[], Iterator[bytes]]
    find: Find | None = None
    key: str = ""


class Applied(NamedTuple):
    """A row of the history: one file that was applied, or adopted, once.

    Attributes:
        script: The file's name.
        checksum: Its checksum.
        outcome: `APPLIED`, `ADOPTED` or `UNFINISHED`.
        applied_at: When.
        statements: How many of its statements have been run.
        progress: While it is unfinished, a checksum of those statements.
        id: The row's key.
    """

    script: str
    checksum: str
    outcome: Outcome
    applied_at: datetime
    statements: int = 0
    progress: str = ""
    id: int = 0


@dataclass(frozen=True)
class MigrationRun:
    """What was done to one migration.

    Attributes:
        version: Its version as it was written; empty where it has none.
        name: Its name.
        path: Its file.
        action: `apply`, `resume`, `revert` or `record`.
        statements: How many statements were run.
        seconds: How long that took.
    """

    version: str
    name: str
    path: str
    action: str
    statements: int
    seconds: float


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes:
        outcome: How it ended.
        script: The path of the file, or of the folder of migrations, as given.
        checksum: The file's checksum; empty for a folder.
        statements: How many statements were run; 0 where nothing was.
        seconds: How long the whole run took, connecting and waiting included.
        migrations: What was done to each migration of a folder.
    """

    outcome: Outcome
    script: str
    checksum: str
    statements: int
    seconds: float
    migrations: tuple[MigrationRun, ...] = ()
