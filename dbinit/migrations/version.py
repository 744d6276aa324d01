"""Versions of migrations: numbers of 64 bits, or several with dots between them. Pure."""

import re
from dataclasses import dataclass, field

__all__ = ["ZERO", "Version"]

_DOTTED = r"[0-9]+(?:[._][0-9]+)*"  # kept as text, and compiled when first needed: most versions are one number
_BITS = 64
_DIGITS = len(str(2**_BITS))


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """A version, which compares as numbers: `9` comes before `10`, `001` is `1`, and `1.0` is `1`.

    Attributes:
        numbers: Its numbers, without trailing zeros.
        text: The version as it was written.
    """

    numbers: tuple[int, ...]
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read `007`, `20240131120000`, `1.2` or `1_2`.

        Raises:
            ValueError: The text is no version, or one of its numbers has more than 64 bits.
        """
        if text.isascii() and text.isdecimal():
            return cls((_number(text),), text)
        if not re.fullmatch(_DOTTED, text):
            raise ValueError(f"{text!r} is not a version; a version is a number such as 007")
        numbers = [_number(part) for part in re.split("[._]", text)]
        while len(numbers) > 1 and not numbers[-1]:
            numbers.pop()
        return cls(tuple(numbers), text)

    @property
    def key(self) -> str:
        """The same text for equal versions, however they were written."""
        return ".".join(map(str, self.numbers)) if len(self.numbers) > 1 else str(self.numbers[0])

    def __str__(self) -> str:
        return self.text


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    # Python itself refuses to read numbers of many thousand digits.
    if len(digits) > _DIGITS or (number := int(digits)) >> _BITS:
        raise ValueError(f"version {digits[:_DIGITS]}{'...' if len(digits) > _DIGITS else ''} has more than 64 bits")
    return number


ZERO = Version((0,), "0")
"""Before every migration."""
