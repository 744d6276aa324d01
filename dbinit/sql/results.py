r"""What becomes of a result: variables (`\gset`), or statements (`\gexec`). Pure."""

from collections.abc import Sequence

from .facts import Footing, footing, reads_copy_data, refusal
from .lexer import UnterminatedError, split
from .statement import Result, Statement, unrunnable
from .text import SourceText
from .variables import CommandError, Variables

__all__ = ["generated", "store"]

_NO_BLOCKS = "let the script itself say BEGIN and COMMIT"


def store(result: Result, prefix: str, variables: Variables) -> None:
    r"""Make variables of a result's one row, as `\gset` does: one that is NULL is unset, those of psql's own stay.

    Raises:
        CommandError: There is no row, or more than one; or a column's name cannot be a variable's.
    """
    if len(result.rows) != 1:
        found = "more than one row" if result.rows else "no row"
        raise CommandError(f"\\gset needs one row, and the query returned {found}", advice="see to it that it is one")
    for column, value in zip(result.columns, result.rows[0], strict=True):
        name = prefix + column
        if variables.is_special(name):
            continue
        if value is None:
            variables.unset(name)
        else:
            variables.set(name, value)


def generated(result: Result, source: SourceText, offset: int) -> Sequence[Statement]:
    r"""Return the statements that the values of a result are (`\gexec`), row by row; NULL is none.

    Args:
        result: The result.
        source: Where the query stands.
        offset: Where in it.

    Raises:
        ScriptError: One of them cannot be run.
    """
    values = [value for row in result.rows for value in row if value and not value.isspace()]
    where = f"{source.path}:{source.place(offset).line}, \\gexec"
    return [_generated(SourceText(f"{where} {number}", text)) for number, text in enumerate(values, start=1)]


def _generated(source: SourceText) -> Statement:
    text = source.text
    try:
        parts = [text[piece.start : piece.end] for piece in split(text) if piece.kind == "sql"]
    except UnterminatedError:
        parts = [text]  # the server says what is wrong with it
    for part in parts:
        if reason := refusal(part):
            raise unrunnable(source, 0, reason)
        if reads_copy_data(part):
            raise unrunnable(source, 0, "a COPY from stdin cannot be generated, as its data stand in the script")
        if footing(part) not in {Footing.PLAIN, Footing.ALONE}:
            raise unrunnable(source, 0, "a generated statement cannot begin or end transactions", _NO_BLOCKS)
    return Statement(text, source, 0, together=len(parts) != 1)
