"""A text that does not show itself: passwords live in this type from the first line on."""

from typing import Self

__all__ = ["MASK", "Secret"]

MASK = "***"


class Secret:
    """Holds a text that `repr`, `str`, formatting and pickling never show; `reveal()` is the only way to it.

    Args:
        value: The text to keep out of sight.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself. Call it only where it is handed to the server."""
        return self._value

    def scrub(self, text: str) -> str:
        """Return `text` with every occurrence of the secret masked."""
        return text.replace(self._value, MASK) if self._value else text

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not to be pickled: it would be written in the clear")
