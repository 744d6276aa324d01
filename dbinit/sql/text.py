"""Where in a text something is, and showing that place to a person."""

import re
from bisect import bisect_right
from functools import cached_property
from typing import NamedTuple

from dbinit.redaction import MASK

__all__ = ["Place", "SourceText"]

_LINE_END = re.compile(r"\r\n|\n|\r")
_WIDEST = 160
# The literal behind the word PASSWORD is a secret, whoever wrote it into the file.
_PASSWORD = re.compile(r"(\bPASSWORD\s+(?:[EeUu]&?)?)'(?:[^'\\]|''|\\.)*'?", re.IGNORECASE)


class Place(NamedTuple):
    """A line and a column, both from 1, counted in characters."""

    line: int
    column: int


class SourceText:
    """A text that knows its lines; they are looked for only once somebody asks.

    Args:
        path: What to call the text in messages.
        text: The text.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_END.finditer(self.text))]

    def place(self, offset: int) -> Place:
        """Return line and column of a character offset (from 0)."""
        line = bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)

    def line(self, number: int) -> str:
        """Return line `number` (from 1) without its end."""
        start = self._starts[number - 1]
        end = _LINE_END.search(self.text, start)
        return self.text[start : end.start() if end else len(self.text)]

    def excerpt(self, offset: int) -> str:
        """Return `path:line:column` and, below it, the line with a caret under the offset."""
        place = self.place(offset)
        line = self.line(place.line)
        masked = _PASSWORD.sub(lambda match: f"{match[1]}'{MASK}'", line)
        column = place.column - 1 if masked == line else _moved(line, place.column - 1)
        # A tab stays one, so that the caret stands right whatever a tab's width is.
        cut = max(0, column - _WIDEST + 20)
        shown, before = masked[cut : cut + _WIDEST], masked[cut:column]
        gutter = f"{place.line} | "
        pad = re.sub(r"[^\t]", " ", before)
        return f"{self.path}:{place.line}:{place.column}\n  {gutter}{shown}\n  {' ' * (len(gutter) - 2)}| {pad}^"


def _moved(line: str, column: int) -> int:
    """Where `column` of `line` stands once its passwords are masked."""
    shift = 0
    for match in _PASSWORD.finditer(line):
        if match.start() >= column:
            break
        if column < match.end():
            return match.start() + shift
        shift += len(match[1]) + len(MASK) + 2 - len(match[0])
    return column + shift
