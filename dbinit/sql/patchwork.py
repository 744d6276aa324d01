"""A statement put together from stretches of scripts and from values of variables. Pure."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .text import SourceText

__all__ = ["Patch", "Patchwork"]


class Patch(NamedTuple):
    """A part of a text.

    Attributes:
        text: The part.
        source: The script that it comes from.
        offset: Where in `source` that stands which it comes from.
        verbatim: Whether it is what stands there; else it has been put in instead.
    """

    text: str
    source: SourceText
    offset: int
    verbatim: bool = True

    def origin(self, position: int) -> tuple[SourceText, int]:
        """Return where the character at `position` comes from."""
        return self.source, self.offset + position * self.verbatim


class Patchwork:
    """A text that knows where each of its characters comes from.

    Args:
        patches: Its parts, in order, one at least.
    """

    def __init__(self, patches: Sequence[Patch]) -> None:
        self._patches = [patch for patch in patches if patch.text] or list(patches[:1])
        self._starts: list[int] = []
        length = 0
        for patch in self._patches:
            self._starts.append(length)
            length += len(patch.text)
        self.text = "".join(patch.text for patch in self._patches)

    def origin(self, position: int) -> tuple[SourceText, int]:
        """Return the script, and the offset in it, that the character at `position` (or the end) comes from."""
        index = max(bisect_right(self._starts, position) - 1, 0)
        return self._patches[index].origin(position - self._starts[index])

    def cut(self, start: int, end: int) -> "Patchwork":
        """Return what stands between two positions."""
        return Patchwork(list(self._between(start, end)) or [Patch("", *self.origin(start))])

    def replaced(self, pieces: Sequence[tuple[str, int, bool]]) -> "Patchwork":
        """Return what becomes of it when it is put together anew.

        Args:
            pieces: Texts, with the position here where each comes from, and whether it is the same here.
        """
        patches: list[Patch] = []
        for text, position, same in pieces:
            if same:
                patches += self._between(position, position + len(text))
            else:
                patches.append(Patch(text, *self.origin(position), verbatim=False))
        return Patchwork(patches)

    def _between(self, start: int, end: int) -> Iterator[Patch]:
        for begin, patch in zip(self._starts, self._patches, strict=True):
            first, last = max(start - begin, 0), min(end - begin, len(patch.text))
            if first < last:
                yield Patch(patch.text[first:last], *patch.origin(first), patch.verbatim)
