"""The text of a file of migrations, and parts of it that keep their lines. Pure."""

import re
from typing import NamedTuple

from .model import File, Part, Transaction, checksum_of
from .problems import Problem

__all__ = ["BYTE_ORDER_MARK", "WHOLE", "FileText", "Span", "base_name", "holds_sql", "line_of"]

# Patterns are kept as text and compiled when first needed: most files are one part, and begin with a letter.
_LINE_END = r"\r\n|\n|\r"
# No statement: blanks, comments (nested one level deep) and stray semicolons.
_NOTHING = r"(?:[\s;]++|--[^\r\n]*+|/\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*(?:[^*]|\*(?!/))*+\*/)*+\*/)*+"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Span(NamedTuple):
    """A stretch of a text, in characters; `end` is None at the end of the text."""

    start: int = 0
    end: int | None = None


WHOLE = Span()


class FileText:
    """A file that is known to be text.

    Args:
        path: Its path, for messages.
        file: The file.

    Attributes:
        text: Its text, without a byte order mark; empty where it is no text.
        problems: Why it, or its name, is no text.
    """

    def __init__(self, path: str, file: File) -> None:
        self.path = path
        self.file = file
        self.problems: list[Problem] = []
        self.text = ""
        self._check_name()
        self._decode()

    def _check_name(self) -> None:
        try:
            self.file.name.encode()
        except UnicodeEncodeError:
            self.problems.append(Problem(self.path, "its name is not UTF-8, as the history is; rename the file"))

    def _decode(self) -> None:
        try:
            self.text = self.file.data.removeprefix(BYTE_ORDER_MARK).decode()
        except UnicodeDecodeError as error:
            before = error.object[: error.start]
            line, column = before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1
            message = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
            self.problems.append(Problem(self.path, message, line, column))
            return
        if (nul := self.text.find("\0")) >= 0:
            what = "there is a NUL byte, which PostgreSQL cannot take; remove it, or save the file as UTF-8"
            self.problems.append(self.problem(nul, what))
            self.text = ""

    def problem(self, offset: int, message: str) -> Problem:
        """Return a problem at an offset of the text."""
        ends = [match.end() for match in re.compile(_LINE_END).finditer(self.text, 0, offset)]
        return Problem(self.path, message, len(ends) + 1, offset - (ends[-1] if ends else 0) + 1)

    def part(self, *spans: Span, transaction: Transaction = Transaction.BY_CONTENT) -> Part:
        """Return the spans, which begin where lines begin, as one script; no span means the whole text."""
        if not spans or spans == (WHOLE,):
            return Part(self.path, self.text, transaction)
        pieces, position = [], 0
        for span in spans:
            if span.start > position:
                pieces.append("\n" * len(re.compile(_LINE_END).findall(self.text, position, span.start)))
            pieces.append(self.text[span.start : span.end])
            position = len(self.text) if span.end is None else span.end
        return Part(self.path, "".join(pieces), transaction)

    def checksum(self, *spans: Span) -> str:
        """Return the checksum of the spans; no span means the whole text."""
        if not spans or spans == (WHOLE,):
            return checksum_of(self.text)
        return checksum_of("".join([self.text[span.start : span.end] for span in spans]))


def line_of(text: str, word: str) -> int:
    """Return the line of the first native annotation that begins with a word; 0 where there is none."""
    found = re.search(rf"(?im)^--[ \t]*dbinit[ \t]*:?[ \t]*{word}\b", text)
    return len(re.findall(_LINE_END, text[: found.start()])) + 1 if found else 0


def holds_sql(text: str) -> bool:
    """Tell whether there is anything in a text but blanks and comments."""
    if text[:1].isalpha():
        return True
    nothing = re.match(_NOTHING, text)
    return nothing is None or nothing.end() < len(text)


def base_name(name: str) -> str:
    """Return the last part of a path."""
    return name.rpartition("/")[2]
