"""Where in a text something is, and showing that place to a person."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from dbinit.redaction import MASK
from dbinit.wording import printable

__all__ = ["Gap", "Place", "SourceText", "hide_passwords"]

_LINE_END = re.compile(r"\r\n|\n|\r")
_WIDEST = 160
# The literal behind the word PASSWORD is a secret, whoever wrote it into the file. Backslashes mean something in
# E'...' only; a literal may go on behind a line end; one that is never closed goes on to the end of the text.
# Nothing is looked for further than a thousand characters, so that a text which says it over and over takes no longer.
_GO_ON = r"[ \t\v\f]*[\r\n]\s*"
_PLAIN, _ESCAPED = r"'(?:[^']|'')*+'?+", r"'(?:[^'\\]|''|\\.)*+'?+"
_PASSWORD = re.compile(
    # Without a blank between, it is the end of a literal ('password') or English (a password's length).
    r"(?P<before>\bPASSWORD(?:\s|--[^\r\n]{0,1000}|/\*.{0,1000}?\*/)++)"
    rf"(?P<secret>''(?!')[^']*''|E{_ESCAPED}(?:{_GO_ON}{_ESCAPED})*|(?:U&)?{_PLAIN}(?:{_GO_ON}{_PLAIN})*"
    r"|\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z))",
    re.IGNORECASE | re.DOTALL,
)
_HIDDEN = f"'{MASK}'"

# Within a literal: what CREATE SUBSCRIPTION and dblink connect with.
_CONNECTION_PASSWORD = re.compile(
    r"(?P<before>\bpassword\s*=\s*(?=[^\s(]{1,1000}(?:[\s']|\Z))|://[^\s:/@']*:(?=[^\s'@]{0,1000}@))"
    r"(?P<secret>''(?:[^'\\]|\\.)*+''|[^\s'@]+)",
    re.IGNORECASE,
)


def _pad(before: str) -> str:
    """Return what takes as much room on a terminal: a tab stays one, whatever its width is."""
    if before.isascii():
        return re.sub(r"[^\t]", " ", before)
    import unicodedata  # noqa: PLC0415 - seldom needed

    def width(sign: str) -> int:
        nothing = unicodedata.category(sign) in {"Mn", "Me", "Cf"}
        return 0 if nothing else 2 if unicodedata.east_asian_width(sign) in {"W", "F"} else 1

    return "".join(sign if sign == "\t" else " " * width(sign) for sign in before)


def hide_passwords(text: str) -> str:
    """Return SQL with the literals behind the word PASSWORD masked, and the passwords in connection strings."""
    return _CONNECTION_PASSWORD.sub(rf"\g<before>{MASK}", _PASSWORD.sub(rf"\g<before>{_HIDDEN}", text))


class Place(NamedTuple):
    """A line and a column, both from 1, counted in characters."""

    line: int
    column: int


class Gap(NamedTuple):
    """What has been taken out of a text: the data of a COPY.

    Attributes:
        at: The offset in what is left.
        lines: How many lines it was.
        characters: How many characters it was.
    """

    at: int = 0
    lines: int = 0
    characters: int = 0

    def seen_from(self, start: int) -> "Gap":
        """Return the gap as it is in what is left of the text from `start` on."""
        return self._replace(at=self.at - start) if start < self.at else Gap()


class SourceText:
    """A text, or a stretch of one, that knows its lines; they are looked for only once somebody asks.

    Args:
        path: What to call the text in messages.
        text: The text.
        first_line: The number of its first line.
        first_offset: How many characters stand before it.
        gap: What has been taken out of it.
        included_at: What includes it, and where in that; None for a script itself.
    """

    def __init__(
        self,
        path: str,
        text: str,
        *,
        first_line: int = 1,
        first_offset: int = 0,
        gap: Gap = Gap(),  # noqa: B008 - frozen
        included_at: "tuple[SourceText, int] | None" = None,
    ) -> None:
        self.path = path
        self.text = text
        self._first_line = first_line
        self._first_offset = first_offset
        self.gap = gap
        self.included_at = included_at

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_END.finditer(self.text))]

    def line(self, offset: int) -> int:
        """Return the line of a character offset: `place()` for a text of which little more will be asked."""
        ends = sum(self.text.count(end, 0, offset) for end in "\n\r") - self.text.count("\r\n", 0, offset)
        halved = self.text.startswith("\r\n", offset - 1) if offset else False  # the line ends behind the offset
        return self._first_line + ends - halved + (self.gap.lines if offset >= self.gap.at else 0)

    def place(self, offset: int) -> Place:
        """Return line and column of a character offset (from 0)."""
        line = bisect_right(self._starts, offset)
        missing = self.gap.lines if offset >= self.gap.at else 0
        return Place(self._first_line + line - 1 + missing, offset - self._starts[line - 1] + 1)

    def whole_offset(self, offset: int) -> int:
        """Return the offset, in the whole text, of what stands at `offset` here."""
        return self._first_offset + offset + (self.gap.characters if offset >= self.gap.at else 0)

    def excerpt(self, offset: int) -> str:
        """Return `path:line:column` and, below it, the line with a caret under the offset; then what includes it."""
        place = self.place(offset)
        start = offset - place.column + 1
        line_end = _LINE_END.search(self.text, start)
        line = self.text[start : line_end.start() if line_end else len(self.text)]
        masked, column = self._mask(start, line, offset)
        cut = max(0, column - _WIDEST + 20)
        shown, before = printable(masked[cut : cut + _WIDEST]), printable(masked[cut:column])
        gutter = f"{place.line} | "
        picture = f"  {gutter}{shown}\n  {' ' * (len(gutter) - 2)}| {_pad(before)}^"
        return "\n".join([f"{self.path}:{place.line}:{place.column}", picture, *self._includers()])

    def _includers(self) -> Iterator[str]:
        outer = self.included_at
        while outer:
            source, offset = outer
            yield f"  included at {source.path}:{source.place(offset).line}"
            outer = source.included_at

    @cached_property
    def _secrets(self) -> list[tuple[int, int]]:
        # Looked for in the whole text: a literal need not stand in the line of its word, nor in one line.
        patterns = (_PASSWORD, _CONNECTION_PASSWORD)
        return sorted(match.span("secret") for pattern in patterns for match in pattern.finditer(self.text))

    def _mask(self, start: int, line: str, offset: int) -> tuple[str, int]:
        """Return the line that begins at `start` with its passwords masked, and where `offset` stands in it."""
        masked, position, end = "", start, start + len(line)
        column = offset - start
        for first, last in self._secrets:
            begin, stop = max(first, start), min(last, end)
            if begin >= stop:
                continue
            masked += self.text[position:begin]
            if offset >= stop:
                column -= stop - begin - len(_HIDDEN)
            elif offset > begin:
                column = len(masked)
            masked += _HIDDEN
            position = stop
        return masked + self.text[position:end], column
