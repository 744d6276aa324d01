"""Folders of goose: `00001_name.sql` with `-- +goose Up`, `-- +goose Down` and others of its marks. Pure."""

import re
from collections.abc import Iterator, Sequence

from .model import Migration, Transaction
from .problems import Problem
from .reading import Reading, read_version
from .text import FileText, Span

__all__ = ["read_goose"]

_NAME = re.compile(r"(?P<version>[^_]*)_(?P<name>.*)\.(?P<extension>sql|go)", re.DOTALL)
_TOO_LARGE = 2**63
# goose takes any comment that mentions it for a mark.
_MARK = re.compile(r"^(?P<blank>[^\S\n]*)--(?P<words>[^\n]*\+goose[^\n]*)$", re.MULTILINE)
_FIRST_SQL = re.compile(r"(?:[^\S\n]*(?:--[^\n]*)?\n)*+[^\S\n]*(?!--)[^\s]")
# The state before a mark, and the mark, in small letters, as their case does not matter: the state behind it.
_STEPS = {
    ("", "up"): "up",
    ("up", "down"): "down",
    ("up", "statementbegin"): "up statement",
    ("up statement", "statementend"): "up",
    ("down", "statementbegin"): "down statement",
    ("down statement", "statementend"): "down",
}
_WANTED = {
    "up": "Up comes once, and first",
    "down": "Down comes once, behind Up, and not before StatementEnd",
    "statementbegin": "StatementBegin comes behind Up or Down, and not before StatementEnd",
    "statementend": "StatementEnd comes behind StatementBegin",
}
_OTHERS = {
    "envsub off": "",
    "envsub on": (
        "goose would put variables of its environment into what follows, which dbinit does not do;"
        " write the values into the migration"
    ),
}


def read_goose(texts: Sequence[FileText]) -> Reading:
    """Read a folder of goose."""
    reading = Reading()
    found = [_migration(text, reading) for text in texts if not text.file.name.endswith("_test.go")]
    reading.pair([migration for migration in found if migration], [])
    return reading


def _migration(text: FileText, reading: Reading) -> Migration | None:
    match = _NAME.fullmatch(text.file.name)
    if match is None:
        reading.problems.append(Problem(text.path, "goose finds no version in this name; name it like 00001_name.sql"))
        return None
    version = read_version(text, match["version"].removeprefix("+"), reading.problems)
    if version is None:
        return None
    if len(version) > 1 or not 0 < version[0] < _TOO_LARGE:
        reading.problems.append(Problem(text.path, f"{version} is no version of goose's: it counts from 1, in 63 bits"))
    if match["extension"] == "go":
        reading.problems.append(Problem(text.path, "this is a migration in Go, which only goose can run"))
        return None
    marks = _Marks(text)
    up = text.part(marks.up, transaction=marks.transaction)
    down = text.part(marks.down, transaction=marks.transaction) if marks.down else None
    return Migration(text.file, version, match["name"], up, down, text.checksum(marks.up))


class _Marks:
    """Follows the marks of a file; mistakes go to the file's problems."""

    def __init__(self, text: FileText) -> None:
        self.transaction = Transaction.YES
        self.up = Span()
        self.down: Span | None = None
        self._text = text
        self._state = ""
        for offset, word in self._words():
            if problem := self._follow(offset, word):
                text.problems.append(text.problem(offset, problem))
        if self._state.endswith("statement"):
            text.problems.append(text.problem(len(text.text), "StatementEnd is missing"))
        if not self._state and not text.problems:
            text.problems.append(Problem(text.path, "there is no -- +goose Up in it"))

    def _words(self) -> Iterator[tuple[int, str]]:
        for match in _MARK.finditer(self._text.text):
            at = match.end("blank")
            if match["blank"]:
                self._text.problems.append(self._text.problem(at, "a mark begins at the beginning of its line"))
            else:
                # Dashes are taken out wherever they stand in the line, and its name once.
                yield at, match["words"].replace("--", "").replace("+goose", "", 1).strip()

    def _follow(self, offset: int, word: str) -> str:
        """Take one step, and return what is wrong with it."""
        name = word.lower()
        if name == "no transaction":
            self.transaction = Transaction.NO
            return ""
        if name in _OTHERS:
            return _OTHERS[name]
        if name not in _WANTED:
            return f"goose knows no mark {word!r}; it takes any comment with +goose in it for one"
        if (self._state, name) not in _STEPS:
            return _WANTED[name]
        self._state = _STEPS[self._state, name]
        if name == "down":
            self.up, self.down = Span(0, offset), Span(offset)
        if name == "up" and _FIRST_SQL.match(self._text.text, 0, offset):
            return "there is SQL above -- +goose Up"
        return ""
