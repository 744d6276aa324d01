"""Versions of migrations: numbers of 64 bits, or several with dots between them. Pure."""

import re
from typing import Self

__all__ = ["ZERO", "Version"]

_DOTTED = r"[0-9]+(?:[._][0-9]+)*"  # kept as text, and compiled when first needed: most versions are one number
_BITS = 64
_DIGITS = len(str(2**_BITS))


class Version(tuple[int, ...]):  # noqa: SLOT001 - a tuple's subclass can have no slots
    """A version, which is its numbers and compares as they do: `9` comes before `10`, `001` is `1`, and `1.0` is `1`.

    Args:
        numbers: Its numbers, without trailing zeros.
        text: The version as it was written.
    """

    text: str

    def __new__(cls, numbers: tuple[int, ...], text: str) -> Self:
        """Make a version of numbers that are known."""
        version = tuple.__new__(cls, numbers)
        version.text = text
        return version

    def __getnewargs__(self) -> tuple[tuple[int, ...], str]:
        return tuple(self), self.text

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read `007`, `20240131120000`, `1.2` or `1_2`.

        Raises:
            ValueError: The text is no version, or one of its numbers has more than 64 bits.
        """
        if text.isascii() and text.isdecimal():
            return cls((int(text) if len(text) < _DIGITS else _number(text),), text)
        if not re.fullmatch(_DOTTED, text):
            raise ValueError(f"{text!r} is not a version; a version is a number such as 007")
        numbers = [_number(part) for part in re.split("[._]", text)]
        while len(numbers) > 1 and not numbers[-1]:
            numbers.pop()
        return cls(tuple(numbers), text)

    @property
    def key(self) -> str:
        """The same text for equal versions, however they were written."""
        return ".".join(map(str, self)) if len(self) > 1 else str(self[0])

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version({tuple(self)}, {self.text!r})"


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    # Python itself refuses to read numbers of many thousand digits.
    if len(digits) > _DIGITS or (number := int(digits)) >> _BITS:
        raise ValueError(f"version {digits[:_DIGITS]}{'...' if len(digits) > _DIGITS else ''} has more than 64 bits")
    return number


ZERO = Version((0,), "0")
"""Before every migration."""
