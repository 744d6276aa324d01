"""From the text of a script to the statements that will be sent; whatever cannot be run is found here. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from dbinit.errors import ScriptError, SourceError

from .commands import Kind, parse_command
from .facts import Footing, chains, copy_quote, footing, reads_copy_data, refusal, sets_standard_strings
from .lexer import Piece, UnterminatedError
from .text import Place, SourceText
from .variables import CommandError, Variables
from .window import Window

__all__ = ["Statement", "Survey", "read_statements", "survey"]

# What pg_dump writes around its output, and what only changes how psql shows results.
_WITHOUT_EFFECT = frozenset({Kind.IGNORED, Kind.RESTRICT, Kind.UNRESTRICT})
_END_OF_BODY = "if this ends the body of a function, check for proper $$ delimiters around that body"


class Statement(NamedTuple):
    """One statement of a script.

    Attributes:
        text: What is sent: a slice of the script, without the semicolon.
        source: The stretch of the script it stands in.
        offset: Where in `source` it begins.
        data: For a COPY from stdin, the data that follow, to be taken before the next statement; else None.
        data_line: The line they begin on; 0 without any.
    """

    text: str
    source: SourceText
    offset: int
    data: Iterator[str] | None = None
    data_line: int = 0

    @property
    def place(self) -> Place:
        """Line and column of its beginning."""
        return self.source.place(self.offset)


def read_statements(path: str, chunks: Iterator[str]) -> Iterator[Statement]:
    """Yield the statements of a script, reading no more of it than is needed.

    Args:
        path: What to call the script in messages.
        chunks: Its text.

    Raises:
        ScriptError: Something is unterminated, is a psql command, or cannot run inside a transaction.
    """
    window = Window(path, chunks)
    within = False  # a statement
    while piece := _read(window):
        if piece.kind == "command":
            _obey(window.source, piece, within=within)
            continue
        within = piece.stop == "\\"
        if piece.start == piece.end:
            continue
        statement = _statement(window, piece)
        yield statement
        if statement.data is not None:
            for _ in statement.data:  # what the caller left of it
                pass


class Survey(NamedTuple):
    """What is known of a script once it has been read, before anything is run.

    Attributes:
        statements: How many it has.
        stepwise: The first statement that keeps it from being run in one transaction, or None.
    """

    statements: int
    stepwise: Statement | None


def survey(path: str, chunks: Iterator[str]) -> Survey:
    """Read a whole script without running it.

    Raises:
        ScriptError: Something cannot be read or run, or a transaction is begun and never ended.
        SourceError: There is no statement.
    """
    count, stepwise, open_block = 0, None, None
    for statement in read_statements(path, chunks):
        count += 1
        stands = footing(statement.text)
        if stands is not Footing.PLAIN and stepwise is None:
            stepwise = statement
        if stands is Footing.BEGIN:
            open_block = statement
        elif stands in {Footing.COMMIT, Footing.ROLLBACK}:
            if open_block is None:
                raise _cannot(
                    statement.source, statement.offset, "no transaction is begun that this ends", _END_OF_BODY
                )
            open_block = open_block if chains(statement.text) else None
        elif stands is Footing.ALONE and open_block:
            raise _cannot(statement.source, statement.offset, "this statement cannot run inside a transaction")
    if open_block:
        raise _cannot(open_block.source, open_block.offset, "this transaction is begun and never committed")
    if not count:
        raise SourceError(f"{path} holds no SQL statement, only comments")
    return Survey(count, stepwise)


def _read(window: Window) -> Piece | None:
    try:
        return window.read()
    except UnterminatedError as error:
        message = f"this {error.what} is opened here and never closed:"
        excerpt = window.source.excerpt(error.offset)
        raise ScriptError(f"{message}\n{excerpt}", advice="close it") from None


def _statement(window: Window, piece: Piece) -> Statement:
    source = window.source
    text = source.text[piece.start : piece.end]
    if reason := refusal(text):
        raise _cannot(source, piece.start, reason)
    if (on := sets_standard_strings(text)) is not None:
        window.set_standard_conforming_strings(on=on)
    if not reads_copy_data(text):
        return Statement(text, source, piece.start)
    earlier = source.gap.lines if source.gap.at > piece.next else 0  # data of another COPY on the same line
    data_line = source.place(piece.next).line + 1 + earlier
    return Statement(text, source, piece.start, window.data(copy_quote(text)), data_line)


def _obey(source: SourceText, piece: Piece, *, within: bool) -> None:
    """Pass over a command that changes nothing here, and refuse any other by its name."""
    try:
        command = parse_command(source.text[piece.start : piece.end], Variables())
    except CommandError as error:
        raise _cannot(source, piece.start + error.offset, error.message, error.advice) from None
    stops = command.kind is Kind.SET and command.arguments[:1] == ("ON_ERROR_STOP",)  # a script always does
    if within or not (stops or command.kind in _WITHOUT_EFFECT):
        raise _cannot(source, piece.start, f"the psql command \\{command.name} cannot be run by dbinit yet")


def _cannot(source: SourceText, offset: int, reason: str, advice: str = "") -> ScriptError:
    return ScriptError(f"{reason}:\n{source.excerpt(offset)}", advice=advice)
