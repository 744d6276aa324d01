"""Turns what PostgreSQL says about a statement into a report for a person: where, what, what to do. Pure."""

import re

import asyncpg

from .advice import advise
from .errors import PrivilegeError, ReadOnlyDatabaseError, StatementError
from .sql.statement import Statement
from .sql.text import SourceText, hide_passwords

__all__ = ["statement_error"]

_CLASSES: dict[str, type[StatementError]] = {"42501": PrivilegeError, "25006": ReadOnlyDatabaseError}
_DATA_LINE = re.compile(r"^COPY .*?, line (\d+)", re.MULTILINE)
_BLOCK_LINE = re.compile(r"^PL/pgSQL function inline_code_block line (\d+) at ", re.MULTILINE)
_BODY = re.compile(r"(?i)do\b(?:\s|--[^\n]*|/\*.*?\*/|language\s+\w+)*+(?:\$\w*\$|')", re.DOTALL)
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
    context = getattr(error, "context", None) or ""
    if statement.data is not None and (match := _DATA_LINE.search(context)):
        line = statement.data_line - 1 + int(match[1])
        where = f"{statement.source.path}:{statement.place.line}"
        return line, 1, f"{statement.data_path}:{line}\n  in the data of the COPY at {where}"
    source, offset = statement.origin(_position(error, statement, context))
    place = source.place(offset)
    return place.line, place.column, source.excerpt(offset)


def _position(error: asyncpg.PostgresError, statement: Statement, context: str) -> int:
    """Return which character of the statement the error is about; the first one where that is not known."""
    if position := getattr(error, "position", None):
        # PostgreSQL counts characters from 1, and says it in a string.
        return min(int(position) - 1, max(len(statement.text) - 1, 0))
    # The innermost of a DO block's lines; line 1 is the one that its body's opening quote stands in.
    line = next((int(match[1]) for match in _BLOCK_LINE.finditer(context)), 0)
    body = _BODY.match(statement.text) if line else None
    if not body:
        return 0
    start = body.end()
    for _ in range(line - 1):
        start = statement.text.find("\n", start) + 1
    return start + len(statement.text[start:]) - len(statement.text[start:].lstrip()) if start else 0


def _details(error: asyncpg.PostgresError) -> list[str]:
    """Return what else PostgreSQL says; the query is one inside of a function."""
    lines = [f"{label}: {hide_passwords(text)}" for label, text in _said(error, ("detail", "DETAIL"), ("hint", "HINT"))]
    if query := getattr(error, "internal_query", None):
        position = int(getattr(error, "internal_position", None) or 0)
        lines.append(f"QUERY: {hide_passwords(query)}" if not position else _query(query, position - 1))
    return lines + [f"CONTEXT: {hide_passwords(text)}" for _, text in _said(error, ("context", "CONTEXT"))]


def _query(query: str, offset: int) -> str:
    return SourceText("QUERY", query).excerpt(offset)


def _said(error: asyncpg.PostgresError, *names: tuple[str, str]) -> list[tuple[str, str]]:
    return [(label, text) for name, label in names if (text := getattr(error, name, None))]
