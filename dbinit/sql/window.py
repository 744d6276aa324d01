"""A stretch of a script that is read as it is needed, so that one of any size is read in bounded memory. Pure."""

import re
from collections.abc import Callable, Iterator

from .feed import Feed
from .lexer import Lexer, Piece, UnterminatedError
from .text import Gap, SourceText

__all__ = ["Window"]

_REST_OF_LINE = re.compile(rb"\r?(?:\n|\Z)")


class Window:
    """Reads pieces from a text that comes in chunks, and forgets what has been read.

    The pieces are offsets into `source.text`, which is another one whenever more had to be read: look at `source` after
    each `read()`.

    Args:
        path: What to call the text in messages.
        feed: The text.
        standard_conforming_strings: How its first line is read.
        included_at: What includes it, and where in that; None for a script itself.
    """

    def __init__(
        self,
        path: str,
        feed: Feed,
        *,
        standard_conforming_strings: bool = True,
        included_at: tuple[SourceText, int] | None = None,
    ) -> None:
        self._standard_strings = standard_conforming_strings
        self._old_lines = 0  # up to this offset, what stands in a line is read by the opposite
        self._feed = feed
        self._ended = False
        self._lexer = Lexer("")
        self.source = SourceText(path, "", included_at=included_at)
        self._look_on(0)

    def read(self) -> Piece | None:
        """Return the next piece; None at the end of the text.

        Raises:
            UnterminatedError: The text ends within something.
        """
        while True:
            start = self._lexer.position
            mark = self._lexer.mark()
            try:
                self._lexer.standard_conforming_strings = self._strings_are_standard()
                piece = self._lexer.read()
            except UnterminatedError:
                if self._ended:
                    raise
            else:
                # What follows a command may be the first half of a `\\` that belongs to it, and what a statement stops
                # at the first half of `\;`, which does not end it.
                more = piece is not None and (piece.kind == "command" or piece.stop == "\\")
                known = piece.next + more < len(self.source.text) if piece else False
                if self._ended or (piece and known):
                    return piece
            self._lexer.reset(mark)
            self._look_on(start)

    @property
    def position(self) -> int:
        """Where in `source` reading goes on."""
        return self._lexer.position

    @property
    def standard_conforming_strings(self) -> bool:
        """How plain strings have been read in the last piece."""
        return self._lexer.standard_conforming_strings

    def set_standard_conforming_strings(self, *, on: bool) -> None:
        """Read plain strings so from the next line on: psql looks at the setting at the beginning of each line."""
        if on != self._standard_strings:
            self._standard_strings = on
            self._old_lines = 0 if self._old_lines else self._line_end()

    def _strings_are_standard(self) -> bool:
        """Tell how strings are read in the line that the next piece begins on."""
        if self._old_lines and self._lexer.next_start() >= self._old_lines:
            self._old_lines = 0
        return self._standard_strings is not bool(self._old_lines)

    @property
    def encoding(self) -> str:
        """Python's name of the encoding that is being read."""
        return self._feed.encoding

    def set_encoding(self, encoding: str) -> None:
        """Read what follows in another encoding, which is one of Python's names."""
        if encoding != self._feed.encoding:
            seen, position = self.source.text, self._lexer.position
            text = seen[:position] + self._feed.change(seen[position:], encoding)
            self._show(text, position, 0, self.source.gap)

    def resume(self) -> None:
        """Go on with the statement that the command just read stands in."""
        self._lexer.resume()

    def data(self, quote: str = "") -> Iterator[bytes]:
        r"""Yield the data of a COPY, which begin on the line behind the one just read from, up to the line `\.`.

        What follows the COPY on its own line is read next, and then what follows the data.

        Args:
            quote: The character that quotes in CSV data, where `\.` may stand in a quoted value, and the one that
                escapes it there if that is another; empty for text data.
        """
        head_end = self._line_end()
        position = self._lexer.position
        start = self.source.text.rfind("\n", 0, position) + 1
        head, buffer = self.source.text[start:head_end], self._feed.taken_back(self.source.text[head_end:])
        block = _Data(quote)
        yield from block.read(buffer, self._feed.chunk)
        self._ended = block.ended
        earlier = self.source.gap.seen_from(start)  # of another COPY on the same line
        gap = Gap(len(head), earlier.lines + block.lines + 1, earlier.characters + block.characters)
        self._show(head + self._feed.put_back(block.rest), position - start, start, gap)

    def _line_end(self) -> int:
        """Return where the next line begins, reading as far as that."""
        while (end := self.source.text.find("\n", self._lexer.position)) < 0 and not self._ended:
            self._look_on(self._lexer.position)
        return end + 1 if end >= 0 else len(self.source.text)

    def _look_on(self, position: int) -> None:
        """Read more, at least as much as there is behind the line that `position` stands in, and forget the rest."""
        start = self.source.text.rfind("\n", 0, position) + 1
        kept = self.source.text[start:]
        parts = [kept]
        size = 0
        while not self._ended and size <= len(kept):
            parts.append(self._feed.text())
            size += len(parts[-1])
            self._ended = not parts[-1]
        self._show("".join(parts), position - start, start, self.source.gap.seen_from(start))

    def _show(self, text: str, position: int, start: int, gap: Gap) -> None:
        """Go on with `text`, which begins at `start` of the present one."""
        seen = self.source
        self._old_lines = max(self._old_lines - start, 0)
        line, offset = seen.line(start), seen.whole_offset(start)
        self.source = SourceText(
            seen.path, text, first_line=line, first_offset=offset, gap=gap, included_at=seen.included_at
        )
        self._lexer.move(text, start)
        self._lexer.position = position


class _Data:
    r"""Finds the end of the data of a COPY, and counts them.

    They are looked at as bytes: in all encodings that PostgreSQL takes from a client, no byte of a longer character is
    a line end, so that what stands behind one is the beginning of a character.
    """

    def __init__(self, quote: str) -> None:
        self.lines = self.characters = 0
        self.rest = b""
        """What follows the line that ended them."""
        self.ended = False
        """Whether it was the end of the text that ended them."""
        self._quote = quote.encode()
        self._quoted = False  # at the end of what has been passed on

    def read(self, buffer: bytes, chunk: Callable[[], bytes]) -> Iterator[bytes]:
        """Yield the data, from `buffer` and from the chunks behind it."""
        while True:
            end = self._end(buffer)
            data = buffer[: end[0]] if end else buffer if self.ended else buffer[: buffer.rfind(b"\n") + 1]
            if data:
                self._quoted = _is_quoted(data, 0, len(data), self._quote, before=self._quoted)
                self._count(data)
                yield data
            if end or self.ended:
                break
            more = chunk()
            self.ended = not more
            buffer = buffer[len(data) :] + more
        if end:
            self.characters += end[1] - end[0]
            self.rest = buffer[end[1] :]

    def _count(self, data: bytes) -> None:
        self.lines += data.count(b"\n")
        self.characters += len(data) if data.isascii() else len(data.decode(errors="replace"))

    def _end(self, buffer: bytes) -> tuple[int, int] | None:
        r"""Return where the line `\.` begins and ends, if it is there."""
        counted, quoted = 0, self._quoted
        for start in _marks(buffer):
            quoted = _is_quoted(buffer, counted, start, self._quote, before=quoted)
            counted = start
            end = _REST_OF_LINE.match(buffer, start + 2)
            whole = end and (end[0].endswith(b"\n") or self.ended)
            if end and whole and not quoted:
                return start, end.end()
        return None


def _is_quoted(data: bytes, start: int, end: int, quote: bytes, *, before: bool) -> bool:
    """Tell whether CSV data are within quotes at `end`, given whether they are before `start`, where a line begins."""
    if len(quote) < 2:  # noqa: PLR2004 - with no escape of its own, a doubled quote comes out right by itself
        return before is not bool(quote and data.count(quote, start, end) % 2)
    opening, escape = re.escape(quote[:1]), re.escape(quote[1:])
    signs = re.compile(escape + b"(?:" + escape + b"|" + opening + b")|" + opening)
    for found in signs.finditer(data, start, end):
        if found[0] == quote[:1] or (not before and found[0].endswith(quote[:1])):
            before = not before
    return before


def _marks(buffer: bytes) -> Iterator[int]:
    r"""Yield the beginnings of the lines that begin with `\.`."""
    if buffer.startswith(b"\\."):
        yield 0
    position = buffer.find(b"\n\\.")
    while position >= 0:
        yield position + 1
        position = buffer.find(b"\n\\.", position + 1)
