"""Turns what PostgreSQL says about a statement into a report for a person: where, what, what to do. Pure."""

import asyncpg

from .advice import advise
from .errors import PrivilegeError, ReadOnlyDatabaseError, StatementError
from .sql.text import SourceText, hide_passwords

__all__ = ["is_connection_loss", "statement_error"]

_CLASSES: dict[str, type[StatementError]] = {"42501": PrivilegeError, "25006": ReadOnlyDatabaseError}
ROLLED_BACK = "Everything was rolled back: the database is as it was before, and nothing of the file was applied."


def statement_error(
    error: asyncpg.PostgresError,
    *,
    source: SourceText | None = None,
    start: int = 0,
    statement: str = "",
    title: str,
) -> StatementError:
    """Report a failed statement.

    Args:
        error: What PostgreSQL answered.
        source: The file; None where the statement is one of dbinit's own.
        start: Offset of the statement in the file.
        statement: Its text, as it was sent.
        title: What failed, in a few words.
    """
    state = error.sqlstate or ""
    lines = [title]
    line = column = 0
    if source is not None:
        offset = start + _position(error, statement)
        line, column = source.place(offset)
        lines.append(source.excerpt(offset))
    message = getattr(error, "message", None) or str(error)
    lines.append(f"{getattr(error, 'severity', None) or 'ERROR'}: {hide_passwords(message)} (SQLSTATE {state})")
    lines += _details(error)
    kind = _CLASSES.get(state, StatementError)
    return kind(
        "\n".join(lines),
        sqlstate=state,
        line=line,
        column=column,
        advice=advise(state, message, statement),
        outcome=ROLLED_BACK,
    )


def is_connection_loss(error: asyncpg.PostgresError) -> bool:
    """Tell whether the server or the way to it went away, rather than the statement being wrong."""
    state = error.sqlstate or ""
    return state.startswith("08") or state in {"57P01", "57P02", "57P03"}


def _position(error: asyncpg.PostgresError, statement: str) -> int:
    """Offset of the error in the statement: PostgreSQL counts characters from 1, and says it in a string."""
    text = getattr(error, "position", None)
    return min(int(text) - 1, max(len(statement) - 1, 0)) if text else 0


def _details(error: asyncpg.PostgresError) -> list[str]:
    named = (("detail", "DETAIL"), ("hint", "HINT"), ("internal_query", "QUERY"), ("context", "CONTEXT"))
    found = ((label, getattr(error, name, None)) for name, label in named)
    return [f"{label}: {hide_passwords(text)}" for label, text in found if text]
