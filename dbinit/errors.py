"""Everything that can go wrong, one class per cause, each with its exit code.

Every error is written for the person who has to act on it: `str(error)` says what happened, where, what was
applied and what to do. No message holds a password.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple

__all__ = [
    "AuthenticationError",
    "ConnectError",
    "ConnectionLostError",
    "DatabaseMissingError",
    "DbInitError",
    "DemotedError",
    "EmbeddedServerError",
    "ExitCode",
    "FileChangedError",
    "HistoryError",
    "LockTimeoutError",
    "PrivilegeError",
    "ReadOnlyDatabaseError",
    "SchemaMissingError",
    "ScriptError",
    "ServerUnreachableError",
    "SettingsError",
    "SourceError",
    "StatementError",
    "SyntaxProblem",
    "TlsError",
    "UnsupportedDatabaseError",
    "ValidationError",
]


class ExitCode(IntEnum):
    """The exit codes of `python -m dbinit`, also carried by every error as `exit_code`."""

    OK = 0
    """Done, or nothing to do."""
    FAILED = 1
    """A statement failed, or the SQL could not be read."""
    USAGE = 2
    """The command line, the settings or a file could not be used."""
    UNREACHABLE = 3
    """The database was not reached."""
    HISTORY = 4
    """The history in the database and the files disagree."""
    LOCKED = 5
    """Another starter held the lock, or somebody the history's table, for too long."""


NOTHING_APPLIED = "Nothing was applied."


class DbInitError(Exception):
    """Base of all errors of this package.

    Args:
        message: What happened, and where.
        advice: What to do about it; may be empty.
        outcome: What was applied and what was not. Default: nothing was applied.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, *, advice: str = "", outcome: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.outcome = outcome or NOTHING_APPLIED

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call the class with what its subclasses have made of their arguments.
        return _revived, (type(self), self.args, vars(self))

    def __str__(self) -> str:
        parts = [self.message, self.outcome]
        if self.advice:
            parts.append(f"What to do: {self.advice}")
        return "\n".join(parts)


def _revived(kind: type[DbInitError], arguments: tuple[object, ...], fields: dict[str, Any]) -> DbInitError:
    """Return an error that has come from another process."""
    error = kind.__new__(kind, *arguments)
    vars(error).update(fields)
    return error


class SettingsError(DbInitError):
    """Settings that cannot be used; all of them at once.

    Args:
        problems: One sentence for each mistake.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, problems: tuple[str, ...]) -> None:
        heading = "A setting cannot be used:" if len(problems) == 1 else "Some settings cannot be used:"
        super().__init__("\n".join([heading, *(f"  - {problem}" for problem in problems)]))
        self.problems = problems


class SourceError(DbInitError):
    """A file of SQL that is missing, empty, no file, or not readable as text."""

    exit_code = ExitCode.USAGE

    @classmethod
    def changed(cls, path: object) -> "SourceError":
        """Return the error for a file, or a folder of files, that somebody writes to."""
        return cls(f"{path} was changed while it was read", advice="start again when nobody writes to it any more")


class ScriptError(DbInitError):
    """SQL that cannot be read or must not be run, found before anything was sent."""


class SyntaxProblem(NamedTuple):
    """An error of syntax in a file of SQL.

    Attributes:
        path: The file.
        line: Line in the file, from 1.
        column: Column in that line, from 1, in characters.
        message: PostgreSQL's own words.
        excerpt: `path:line:column` and, below it, the line with a caret.
    """

    path: str
    line: int
    column: int
    message: str
    excerpt: str


class ValidationError(ScriptError):
    """Statements that PostgreSQL would refuse for their syntax; all of them at once, before the first one is run.

    Args:
        problems: What is wrong, in the order of the statements.
    """

    def __init__(self, problems: Sequence[SyntaxProblem]) -> None:
        count = "A statement has an error" if len(problems) == 1 else f"{len(problems)} statements have errors"
        shown = [f"{problem.excerpt}\nERROR: {problem.message}" for problem in problems]
        super().__init__("\n".join([f"{count} of syntax:", *shown]), advice="correct the SQL; PostgreSQL refuses it")
        self.problems = tuple(problems)


class StatementError(DbInitError):
    """A statement that PostgreSQL refused. Everything of its script was rolled back.

    Args:
        message: The rendered report: file, line, column, the line with a caret, PostgreSQL's own words.
        sqlstate: PostgreSQL's five-character error code, or an empty string.
        line: Line in the file, from 1; 0 where the error belongs to no statement (at COMMIT, say).
        column: Column in that line, from 1.
    """

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str = "",
        line: int = 0,
        column: int = 0,
        advice: str = "",
        outcome: str = "",
    ) -> None:
        super().__init__(message, advice=advice, outcome=outcome)
        self.sqlstate = sqlstate
        self.line = line
        self.column = column


class PrivilegeError(StatementError):
    """The role lacks a right (SQLSTATE 42501)."""


class ReadOnlyDatabaseError(StatementError):
    """The database takes no writes: a standby, or `default_transaction_read_only` (SQLSTATE 25006)."""


class ConnectError(DbInitError):
    """The database was not reached; the classes below say why."""

    exit_code = ExitCode.UNREACHABLE


class ServerUnreachableError(ConnectError):
    """No server answered within the attempts and the deadline."""


class AuthenticationError(ConnectError):
    """The server refused the user or the password."""


class DatabaseMissingError(ConnectError):
    """The server is there, the database is not."""


class TlsError(ConnectError):
    """TLS could not be agreed on: a bad certificate, or a server without TLS."""


class ConnectionLostError(ConnectError):
    """The connection broke while work was under way."""


class DemotedError(ConnectionLostError):
    """The server has turned out to be a standby while something was to be written."""


class EmbeddedServerError(ConnectError):
    """The embedded PostgreSQL could not be started."""


class HistoryError(DbInitError):
    """The history table and the files disagree, or the table is not one that this version can read."""

    exit_code = ExitCode.HISTORY

    @classmethod
    def unreadable(cls, table: str, reason: str) -> "HistoryError":
        """Return the error for a table that is no history of ours."""
        return cls(
            f"the table {table} is no history that this dbinit can read: {reason}",
            advice="set DBINIT_HISTORY_SCHEMA to a schema of dbinit's own, or move that table out of the way",
        )

    @classmethod
    def too_new(cls, table: str, version: str | None) -> "HistoryError":
        """Return the error for rows that a newer version of dbinit wrote."""
        return cls(
            f"the history in {table} was written by a newer dbinit ({version})",
            advice="update dbinit in this service to at least that version",
        )


class FileChangedError(HistoryError):
    """An applied file was edited since, and `on_change` is `fail`."""


class SchemaMissingError(HistoryError):
    """In `verify` mode: the schema is not there, and dbinit was told to apply nothing."""


class LockTimeoutError(DbInitError):
    """Another starter held the migration lock for longer than `lock_wait`, or the history's table was locked."""

    exit_code = ExitCode.LOCKED


class UnsupportedDatabaseError(DbInitError):
    """A database that speaks PostgreSQL's protocol, but lacks what dbinit builds upon. Nothing was applied."""

    exit_code = ExitCode.USAGE

    @classmethod
    def without_locks(cls, what: str) -> "UnsupportedDatabaseError":
        """Return the error for a database without advisory locks, or with such as do nothing."""
        return cls(
            f"{what}; several starters would get into each other's way",
            advice="use PostgreSQL, or a tool that was made for this database",
        )
