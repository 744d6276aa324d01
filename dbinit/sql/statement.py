"""One statement of a script, as it will be sent, and what is wanted of its result. Pure."""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from dbinit.errors import ScriptError

from .patchwork import Patchwork
from .text import Place, SourceText

__all__ = ["Result", "Statement", "Wanted", "unrunnable"]


class Wanted(Enum):
    """What is wanted of a statement's result."""

    NOTHING = "nothing"
    VARIABLES = "variables"
    r"""Its one row becomes variables (`\gset`)."""
    STATEMENTS = "statements"
    r"""Its values are statements to run next (`\gexec`)."""


class Result(NamedTuple):
    """What a statement returned: the columns' names, and rows of values as text, None for NULL."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]


class Statement(NamedTuple):
    r"""One statement of a script.

    Attributes:
        text: What is sent, without the semicolon.
        source: The stretch of the script it stands in.
        offset: Where in `source` it begins.
        data: For a COPY from stdin, the data, to be taken before the next statement; else None.
        data_path: The file that the data are read from, as messages call it; empty without any.
        data_line: The line of it that they begin on; 0 without any.
        wanted: What is wanted of its result.
        receive: To be called with that result; returns the statements to run next, before any other.
        together: Whether it may be several statements that belong into one message, joined by `\;`.
        patchwork: Where its characters come from, if not from `source` one by one.
    """

    text: str
    source: SourceText
    offset: int
    data: Iterator[bytes] | None = None
    data_path: str = ""
    data_line: int = 0
    wanted: Wanted = Wanted.NOTHING
    receive: "Callable[[Result], Sequence[Statement]] | None" = None
    together: bool = False
    patchwork: Patchwork | None = None

    @property
    def place(self) -> Place:
        """Line and column of its beginning."""
        return self.source.place(self.offset)

    def origin(self, position: int) -> tuple[SourceText, int]:
        """Return the script, and the offset in it, that the character at `position` of the text comes from."""
        if self.patchwork:
            return self.patchwork.origin(position)
        return self.source, self.offset + position


def unrunnable(source: SourceText, offset: int, reason: str, advice: str = "") -> ScriptError:
    """Return the error for something in a script that cannot be run."""
    return ScriptError(f"{reason}:\n{source.excerpt(offset)}", advice=advice)
