"""Turns what PostgreSQL says about a statement into a report for a person: where, what, what to do. Pure."""

import re

import asyncpg

from .advice import advise
from .errors import PrivilegeError, ReadOnlyDatabaseError, StatementError
from .sql.script import Statement
from .sql.text import hide_passwords

__all__ = ["statement_error"]

_CLASSES: dict[str, type[StatementError]] = {"42501": PrivilegeError, "25006": ReadOnlyDatabaseError}
_DATA_LINE = re.compile(r"^COPY .*?, line (\d+)", re.MULTILINE)
ROLLED_BACK = "Everything was rolled back: the database is as it was before, and nothing of the file was applied."


def statement_error(error: asyncpg.PostgresError, *, title: str, statement: Statement | None = None) -> StatementError:
    """Report a failed statement.

    Args:
        error: What PostgreSQL answered.
        title: What failed, in a few words.
        statement: The statement; None where it is one of dbinit's own.
    """
    state = error.sqlstate or ""
    lines = [title]
    line = column = 0
    if statement is not None:
        line, column, excerpt = _locate(error, statement)
        lines.append(excerpt)
    message = getattr(error, "message", None) or str(error)
    lines.append(f"{getattr(error, 'severity', None) or 'ERROR'}: {hide_passwords(message)} (SQLSTATE {state})")
    lines += _details(error)
    kind = _CLASSES.get(state, StatementError)
    return kind(
        "\n".join(lines),
        sqlstate=state,
        line=line,
        column=column,
        advice=advise(state, message, statement.text if statement else ""),
        outcome=ROLLED_BACK,
    )


def _locate(error: asyncpg.PostgresError, statement: Statement) -> tuple[int, int, str]:
    """Return line, column and a picture of where the error is."""
    source = statement.source
    if statement.data is not None and (match := _DATA_LINE.search(getattr(error, "context", None) or "")):
        line = statement.data_line - 1 + int(match[1])
        return line, 1, f"{source.path}:{line}\n  in the data of the COPY on line {statement.place.line}"
    # PostgreSQL counts characters from 1, and says it in a string.
    position = int(getattr(error, "position", None) or 1) - 1
    offset = statement.offset + min(position, max(len(statement.text) - 1, 0))
    place = source.place(offset)
    return place.line, place.column, source.excerpt(offset)


def _details(error: asyncpg.PostgresError) -> list[str]:
    named = (("detail", "DETAIL"), ("hint", "HINT"), ("internal_query", "QUERY"), ("context", "CONTEXT"))
    found = ((label, getattr(error, name, None)) for name, label in named)
    return [f"{label}: {hide_passwords(text)}" for label, text in found if text]
