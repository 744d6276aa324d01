"""Brings a PostgreSQL schema into being while a service starts: once, and ready only when it is there."""

from .errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    DatabaseMissingError,
    DbInitError,
    EmbeddedServerError,
    ExitCode,
    FileChangedError,
    HistoryError,
    LockTimeoutError,
    PrivilegeError,
    ReadOnlyDatabaseError,
    SchemaMissingError,
    ScriptError,
    ServerUnreachableError,
    SettingsError,
    SourceError,
    StatementError,
    SyntaxProblem,
    TlsError,
    ValidationError,
)
from .initializer import Initializer
from .model import Applied, Format, MigrationRun, Mode, OnChange, OnFailure, Outcome, Report
from .planning import Decision
from .readiness import Phase, Readiness
from .settings import InitOptions
from .version import __version__

__all__ = [
    "Applied",
    "AuthenticationError",
    "ConnectError",
    "ConnectionLostError",
    "DatabaseMissingError",
    "DbInitError",
    "Decision",
    "EmbeddedServerError",
    "ExitCode",
    "FileChangedError",
    "Format",
    "HistoryError",
    "InitOptions",
    "Initializer",
    "LockTimeoutError",
    "MigrationRun",
    "Mode",
    "OnChange",
    "OnFailure",
    "Outcome",
    "Phase",
    "PrivilegeError",
    "ReadOnlyDatabaseError",
    "Readiness",
    "Report",
    "SchemaMissingError",
    "ScriptError",
    "ServerUnreachableError",
    "SettingsError",
    "SourceError",
    "StatementError",
    "SyntaxProblem",
    "TlsError",
    "ValidationError",
    "__version__",
]
