"""From the text of a script to the statements that will be sent; whatever cannot be run is found here. Pure."""

from dbinit.errors import ScriptError
from dbinit.model import Statement

from .facts import refusal
from .lexer import UnterminatedError, split
from .text import SourceText

__all__ = ["read_statements"]

_NOTHING_RAN = "Nothing was applied."
_END_OF_BODY = "if this ends the body of a function, check for proper $$ delimiters around that body"


def read_statements(source: SourceText) -> list[Statement]:
    """Read all statements of a script.

    Raises:
        ScriptError: Something is unterminated, is a psql command, or cannot run inside a transaction.
    """
    statements = []
    try:
        for piece in split(source.text):
            text = source.text[piece.start : piece.end]
            if piece.kind == "command":
                command = text.split()[0]
                raise _cannot(source, piece.start, f"the psql command {command} cannot be run by dbinit yet")
            if reason := refusal(text):
                raise _cannot(source, piece.start, reason, _END_OF_BODY if text[:3].upper() == "END" else "")
            statements.append(Statement(text, piece.start))
    except UnterminatedError as error:
        message = f"this {error.what} is opened here and never closed:"
        raise ScriptError(
            f"{message}\n{source.excerpt(error.offset)}", advice="close it", outcome=_NOTHING_RAN
        ) from None
    return statements


def _cannot(source: SourceText, offset: int, reason: str, advice: str = "") -> ScriptError:
    return ScriptError(f"{reason}:\n{source.excerpt(offset)}", advice=advice, outcome=_NOTHING_RAN)
