"""Brings a PostgreSQL schema into being while a service starts: once, and ready only when it is there."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        UnsupportedDatabaseError,
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
    "UnsupportedDatabaseError",
    "ValidationError",
    "__version__",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import all of them when the first one is asked for: the command line needs few, and has its own way to them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import errors, initializer, model, planning, readiness, settings, version  # noqa: PLC0415 - as said

    for home in (errors, initializer, model, planning, readiness, settings, version):
        globals().update({known: vars(home)[known] for known in __all__ if known in vars(home)})
    return globals()[name]
