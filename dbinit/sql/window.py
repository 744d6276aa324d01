"""A stretch of a script that is read as it is needed, so that one of any size is read in bounded memory. Pure."""

import re
from collections.abc import Iterator

from .lexer import Lexer, Piece, UnterminatedError
from .text import Gap, SourceText

__all__ = ["Window"]

_REST_OF_LINE = re.compile(r"\r?(?:\n|\Z)")


class Window:
    """Reads pieces from a text that comes in chunks, and forgets what has been read.

    The pieces are offsets into `source.text`, which is another one whenever more had to be read: look at `source` after
    each `read()`.

    Args:
        path: What to call the text in messages.
        chunks: The text, in order; a chunk may end anywhere.
    """

    def __init__(self, path: str, chunks: Iterator[str]) -> None:
        self._standard_strings = True
        self._old_lines = 0  # up to this offset, what stands in a line is read by the opposite
        self._chunks = filter(None, chunks)
        self._ended = False
        self._lexer = Lexer("")
        self.source = SourceText(path, "")
        self._look_on(0)

    def read(self) -> Piece | None:
        """Return the next piece; None at the end of the text.

        Raises:
            UnterminatedError: The text ends within something.
        """
        while True:
            start = self._lexer.position
            try:
                self._lexer.standard_conforming_strings = self._strings_are_standard()
                piece = self._lexer.read()
            except UnterminatedError:
                if self._ended:
                    raise
            else:
                # What follows a command may be the first half of a `\\` that belongs to it.
                known = piece.next + (piece.kind == "command") < len(self.source.text) if piece else False
                if self._ended or (piece and piece.stop != "\\" and known):
                    return piece
                # A command within a statement is rare. As that is not to be read twice, all that is left is read now.
                if piece and piece.stop == "\\":
                    self._look_on(start, whole=True)
                    continue
            self._look_on(start)

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

    def resume(self) -> None:
        """Go on with the statement that the command just read stands in."""
        self._lexer.resume()

    def data(self, quote: str = "") -> Iterator[str]:
        r"""Yield the data of a COPY, which begin on the line behind the one just read from, up to the line `\.`.

        What follows the COPY on its own line is read next, and then what follows the data.

        Args:
            quote: The character that quotes in CSV data, where `\.` may stand in a quoted value, and the one that
                escapes it there if that is another; empty for text data.
        """
        head_end = self._line_end()
        position = self._lexer.position
        start = self.source.text.rfind("\n", 0, position) + 1
        head, buffer = self.source.text[start:head_end], self.source.text[head_end:]
        lines, characters, quoted = 0, 0, False
        while True:
            end = self._end_of_data(buffer, quote, quoted=quoted)
            data = buffer[: end[0]] if end else buffer if self._ended else buffer[: buffer.rfind("\n") + 1]
            lines += data.count("\n")
            characters += len(data)
            quoted = _is_quoted(data, 0, len(data), quote, before=quoted)
            if data:
                yield data
            if end or self._ended:
                break
            buffer = buffer[len(data) :] + self._next_chunk()
        rest = buffer[end[1] :] if end else ""
        characters += end[1] - end[0] if end else 0
        earlier = self.source.gap.seen_from(start)  # of another COPY on the same line
        gap = Gap(len(head), earlier.lines + lines + 1, earlier.characters + characters)
        self._show(head + rest, position - start, start, gap)

    def _line_end(self) -> int:
        """Return where the next line begins, reading as far as that."""
        while (end := self.source.text.find("\n", self._lexer.position)) < 0 and not self._ended:
            self._look_on(self._lexer.position)
        return end + 1 if end >= 0 else len(self.source.text)

    def _end_of_data(self, buffer: str, quote: str, *, quoted: bool) -> tuple[int, int] | None:
        r"""Return where the line `\.` begins and ends, if it is there."""
        counted = 0
        for start in _marks(buffer):
            quoted = _is_quoted(buffer, counted, start, quote, before=quoted)
            counted = start
            end = _REST_OF_LINE.match(buffer, start + 2)
            whole = end and (end[0].endswith("\n") or self._ended)
            if end and whole and not quoted:
                return start, end.end()
        return None

    def _look_on(self, position: int, *, whole: bool = False) -> None:
        """Read more, at least as much as there is behind the line that `position` stands in, and forget the rest."""
        start = self.source.text.rfind("\n", 0, position) + 1
        kept = self.source.text[start:]
        parts = [kept]
        size = 0
        while not self._ended and (whole or size <= len(kept)):
            parts.append(self._next_chunk())
            size += len(parts[-1])
        self._show("".join(parts), position - start, start, self.source.gap.seen_from(start))

    def _show(self, text: str, position: int, start: int, gap: Gap) -> None:
        """Go on with `text`, which begins at `start` of the present one."""
        seen = self.source
        self._old_lines = max(self._old_lines - start, 0)
        line, offset = seen.place(start).line, seen.whole_offset(start)
        self.source = SourceText(seen.path, text, first_line=line, first_offset=offset, gap=gap)
        self._lexer = Lexer(text)
        self._lexer.position = position  # also where it is 0: no byte order mark stands in the middle of a text

    def _next_chunk(self) -> str:
        chunk = next(self._chunks, "")
        self._ended = not chunk
        return chunk


def _is_quoted(text: str, start: int, end: int, quote: str, *, before: bool) -> bool:
    """Tell whether CSV data are within quotes at `end`, given whether they are before `start`, where a line begins."""
    if len(quote) < 2:  # noqa: PLR2004 - with no escape of its own, a doubled quote comes out right by itself
        return before is not bool(quote and text.count(quote, start, end) % 2)
    escape = re.escape(quote[1])
    for found in re.compile(f"{escape}(?:{escape}|{re.escape(quote[0])})|{re.escape(quote[0])}").finditer(
        text, start, end
    ):
        if found[0] == quote[0] or (not before and found[0][-1] == quote[0]):
            before = not before
    return before


def _marks(buffer: str) -> Iterator[int]:
    r"""Yield the beginnings of the lines that begin with `\.`."""
    if buffer.startswith("\\."):
        yield 0
    position = buffer.find("\n\\.")
    while position >= 0:
        yield position + 1
        position = buffer.find("\n\\.", position + 1)
