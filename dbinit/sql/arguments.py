"""The arguments of psql's commands. Pure.

They are read as psql does: https://www.postgresql.org/docs/18/app-psql.html#APP-PSQL-META-COMMANDS
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .variables import CommandError, Variables

__all__ = ["NO_PROGRAMS", "Argument", "Arguments", "skip_blanks"]

NO_PROGRAMS = "no script may start programs; do what it does outside, before or after"

# Patterns are kept as text and compiled when first needed: most scripts have no commands, and none has all of them.
_BLANKS = r"[ \t-\r]*+"
_VARIABLE = r"[^\x00-/:-@\[-^`{-\x7f]++"
_PART = (
    rf"""(?s)'(?P<quoted>(?:[^'\\]++|''|\\.)*+)'|(?P<identifier>"[^"]*+")"""
    rf"""|(?P<reference>:(?:{_VARIABLE}|'{_VARIABLE}'|"{_VARIABLE}"|\{{\?{_VARIABLE}\}}))"""
    r"""|(?P<plain>[^'"`:\\ \t-\r]++|:)"""
)
_FORMS = {"'": ":'x'", '"': ':"x"', "{": ":{?x}"}
_ESCAPE = r"(?s)''|\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))"
_CONTROLS = {"n": "\n", "t": "\t", "b": "\b", "r": "\r", "f": "\f"}


class Argument(NamedTuple):
    """An argument with its quotes resolved; `quoted` if any part of it was quoted or a variable."""

    text: str
    quoted: bool
    start: int


class Arguments:
    """Reads arguments, one after the other."""

    def __init__(self, raw: str, position: int, variables: Variables) -> None:
        self._raw = raw
        self._position = position
        self._variables = variables

    def next(self, *, semicolons: bool = False) -> Argument | None:
        """Return the next argument, or None when there is no more; drop `semicolons` at its end that are not quoted."""
        self._position = start = skip_blanks(self._raw, self._position)
        parts: list[str] = []
        plain, quoted = 0, False  # characters at the end that are not quoted; whether any is
        while match := re.compile(_PART).match(self._raw, self._position):
            self._position = match.end()
            parts.append(self._part(match))
            # An expanded :{?x} counts as not quoted, which makes no difference: it ends with a letter.
            plain = plain + len(parts[-1]) if match["plain"] else 0
            quoted = quoted or not match["plain"]
        self._check()
        text = _decoded("".join(parts), start)
        if semicolons and plain:
            text = text[:-plain] + text[-plain:].rstrip(";")
        return Argument(text, quoted, start) if text or quoted else None

    def __iter__(self) -> Iterator[Argument]:
        while argument := self.next():
            yield argument

    def _part(self, match: re.Match[str]) -> str:
        if reference := match["reference"]:
            form = _FORMS.get(reference[1], ":x")
            value = self._variables.replacement(form, reference.strip(":'\"{?}"))
            return reference if value is None else value
        if match["quoted"] is None:
            return match[0]
        return re.sub(_ESCAPE, _escaped, match["quoted"])

    def _check(self) -> None:
        """Tell what stopped an argument, if that is not its end."""
        stop = self._raw[self._position : self._position + 1]
        if stop == "`":
            message = "`...` in the arguments of a command starts a program"
            raise CommandError(message, self._position, advice=NO_PROGRAMS)
        if stop and stop in "'\"":
            advice = "close it in the same line"
            raise CommandError("this quote is not closed", self._position, advice=advice)


def skip_blanks(text: str, position: int) -> int:
    """Return where the blanks at `position` end."""
    match = re.compile(_BLANKS).match(text, position)
    return match.end() if match else position


def _escaped(match: re.Match[str]) -> str:
    """Return the character that an escape stands for, or the byte, as `surrogateescape` has it."""
    octal, hexadecimal, character = match.groups()
    if character is not None:
        return _CONTROLS.get(character, character)
    if octal is None and hexadecimal is None:
        return "'"
    byte = int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)
    return bytes([byte]).decode("utf-8", "surrogateescape")


def _decoded(text: str, start: int) -> str:
    """Make characters of the bytes in an argument."""
    if "\0" in text:
        raise CommandError("this has the character 0, which PostgreSQL cannot store", start, advice="take it out")
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        advice = "write the character itself instead of its bytes"
        raise CommandError("these bytes are no characters in UTF-8", start, advice=advice) from None
