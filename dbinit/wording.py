"""Texts for people: numbers with their nouns, and what a terminal must not obey."""

import re

__all__ = ["counted", "one_line", "printable"]

# Controls, and what turns the direction of what follows; a tab and a line end are meant.
_CONTROLS = r"[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"


def counted(number: int, noun: str) -> str:
    """Return `1 statement`, `2 statements`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    r"""Return a text of one or more lines with its control characters spelt out, as in `\x1b`."""
    return re.sub(_CONTROLS, lambda found: _spelt(found[0]), text)


def one_line(text: str) -> str:
    r"""Return a text, such as a file's name, as one line: whatever cannot be seen is spelt out, as in `\n`."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else _spelt(sign) for sign in text)


def _spelt(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
