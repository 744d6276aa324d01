r"""What becomes of the variables in a statement, `:x`, `:'x'`, `:"x"` and `:{?x}`, and of `\;` and `\:`. Pure.

A statement is made ready in three steps. `expand()` puts in the values of its variables, before anything is known of
what they hold: a value may end the statement and begin others. So what comes out of it is split again, and last
`unescape()` turns the `\;` and `\:` of each statement into plain characters.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator

from .lexer import Reference, UnterminatedError, references
from .variables import CommandError, Variables

__all__ = ["Expanded", "expand", "unescape"]

_ESCAPES = r"\\[;:]"
_MOST_NESTED = 100_000  # references in values
_LONGEST = 100_000_000  # characters of a statement


class Expanded:
    """A text with something put in, which knows where each character comes from."""

    def __init__(self, end: int, pieces: list[tuple[str, int, bool]]) -> None:
        """Put a text together.

        Args:
            end: Where the original ends.
            pieces: Texts, with the offset in the original where each comes from, and whether it is the same there.
        """
        self.pieces = pieces
        self.text = "".join(text for text, _, _ in pieces)
        self._starts: list[int] = []
        self._origins: list[tuple[int, bool]] = []
        length = 0
        for text, origin, same in pieces:
            if text:
                self._starts.append(length)
                self._origins.append((origin, same))
                length += len(text)
        self._starts.append(length)
        self._origins.append((end, True))

    def origin(self, offset: int) -> int:
        """Return where in the original an offset of `text` comes from; in what was put in, where its reference is."""
        index = bisect_right(self._starts, offset) - 1
        origin, same = self._origins[index]
        return origin + offset - self._starts[index] if same else origin


def expand(
    text: str, start: int, end: int, variables: Variables, *, standard_conforming_strings: bool = True
) -> Expanded | None:
    r"""Put the values of variables into `text[start:end]`; return None if there is nothing to put in.

    That may be several statements afterwards, and there may be commands between them. A value that `:x` stands for
    is read again, in it only `:x` itself stays as it is; so do references to what is not set, and `\;` and `\:`.

    Raises:
        CommandError: There would be too much to put in.
    """
    if variables.find(text, start, end) < 0:
        return None
    expansion = _Expansion(variables, start, standard_conforming_strings=standard_conforming_strings)
    pieces = expansion.run(text[start:end])
    return Expanded(end, pieces) if expansion.count else None


def unescape(text: str, start: int, end: int, *, standard_conforming_strings: bool = True) -> Expanded | None:
    r"""Replace `\;` and `\:` in the statement `text[start:end]`; return None if there is none of them.

    Raises:
        UnterminatedError: What is given is not a whole statement.
    """
    if text.find("\\", start, end) < 0 or not re.compile(_ESCAPES).search(text, start, end):
        return None
    found = references(text, start, end, standard_conforming_strings=standard_conforming_strings)
    escapes = [reference for reference in found if not reference.name]
    pieces = []
    for escape in escapes:
        pieces += [(text[start : escape.start], start, True), (escape.form[1], escape.start, False)]
        start = escape.end
    return Expanded(end, [*pieces, (text[start:end], start, True)]) if escapes else None


class _Source:
    """A text that is being read, and how far: the statement, or the value of the variable `name` in it."""

    def __init__(self, text: str, name: str = "") -> None:
        self.text = text
        self.name = name
        self.position = 0
        self.references: Iterator[Reference] | None = None


class _Expansion:
    """Reads a statement as psql does: a value is read to its end, then what stands behind the reference.

    No token reaches over the end of a value, but what is open there (a quote, a comment) goes on behind it.
    """

    def __init__(self, variables: Variables, start: int, *, standard_conforming_strings: bool) -> None:
        self.count = 0  # of what was put in
        self._nested = 0  # of these, in values
        self._variables = variables
        self._start = self._origin = start
        self._standard = standard_conforming_strings
        self._pieces: list[tuple[str, int, bool]] = []
        self._length = 0
        self._sources: list[_Source] = []
        self._open: _Open | None = None

    def run(self, text: str) -> list[tuple[str, int, bool]]:
        self._sources.append(_Source(text))
        while self._sources:
            source = self._sources[-1]
            if self._open:
                end = self._open.end(source.text, source.position)
                self._take(source, len(source.text) if end is None else end)
                source.references = None
                if end is None:
                    self._sources.pop()
                    continue
                self._open = None
            self._read(source)
        return self._pieces

    def _read(self, source: _Source) -> None:
        """Read a source up to the next value that has to be read itself, or to the end."""
        if source.references is None:
            source.references = references(source.text, source.position, standard_conforming_strings=self._standard)
        try:
            for reference in source.references:
                if self._replace(source, reference):
                    return
        except UnterminatedError as error:
            self._open = _Open(source.text, error.offset, standard_conforming_strings=self._standard)
        self._take(source, len(source.text))
        self._sources.pop()

    def _replace(self, source: _Source, reference: Reference) -> bool:
        """Put in what a reference stands for; tell whether that has to be read itself."""
        form, name, start, end = reference
        value = self._variables.replacement(form, name) if name else None
        if value is None or (form == ":x" and any(name == other.name for other in self._sources)):
            return False
        self._take(source, start)
        if source is self._sources[0]:
            self._origin = self._start + start
        source.position = end
        self._guard()
        if form == ":x":
            self._sources.append(_Source(value, name))
            return True
        self._put(value)
        return False

    def _take(self, source: _Source, end: int) -> None:
        """Pass on what stands in a source up to `end`."""
        taken = source.text[source.position : end]
        if source is self._sources[0]:
            self._pieces.append((taken, self._start + source.position, True))
            self._length += len(taken)
        else:
            self._put(taken)
        source.position = end

    def _put(self, text: str) -> None:
        self._pieces.append((text, self._origin, False))
        self._length += len(text)

    def _guard(self) -> None:
        # A dozen variables, each of which names another ten times, are enough to fill any memory.
        self.count += 1
        self._nested += len(self._sources) > 1
        if self._nested > _MOST_NESTED or self._length > _LONGEST:
            advice = "look for variables that name each other over and over"
            raise CommandError("this becomes too long once its variables are expanded", advice=advice)


class _Open:
    """What a source has left open: a string, an identifier or a comment."""

    def __init__(self, text: str, offset: int, *, standard_conforming_strings: bool) -> None:
        opening = text[offset : offset + 2]
        self._depth = 0
        self._closing, passed = "'", ""
        if opening == "/*":
            self._closing, passed = "*/", r"/\*|"
        elif opening[0] == "$":
            self._closing = text[offset : text.index("$", offset + 1) + 1]
        elif opening[0] == '"':
            self._closing = '"'
        elif opening in ("e'", "E'") or (opening[0] == "'" and not standard_conforming_strings):
            passed = r"\\.|''|"
        self._pattern = re.compile(passed + re.escape(self._closing), re.DOTALL)
        if opening == "/*":
            self.end(text, offset)  # for the depth

    def end(self, text: str, position: int) -> int | None:
        """Return where it ends in the text, read from `position` on, or None if it goes on behind."""
        for found in self._pattern.finditer(text, position):
            if found[0] == "/*":
                self._depth += 1
            elif found[0] == self._closing:
                self._depth -= 1
                if self._depth <= 0:
                    return found.end()
        return None
