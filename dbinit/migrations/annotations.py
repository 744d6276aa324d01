"""The annotations of the native format: `-- dbinit: no-transaction` and the like, one to a line. Pure.

They are found by lines, as in all of these formats: a line inside of a literal or a function counts, too.
"""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

from dbinit.durations import parse_duration
from dbinit.timeouts import LONGEST

from .model import Part, Transaction
from .text import WHOLE, FileText, Span
from .version import Version

__all__ = ["Annotated", "Section", "read_annotations"]

# Without the colon it is an annotation only if nothing else can be meant: a comment may begin with "dbinit".
# A carriage return ends a line too, as it ends a comment for PostgreSQL.
# Kept as text, and compiled when a file has a comment at all.
_LINE = (
    r"(?i)--[ \t]*dbinit(?:[ \t]*:(?P<words>[^\r\n]*)|[ \t]+(?P<bare>"
    r"(?:down|no-transaction)|(?:depends|lock-timeout|compatible-with)[ \t][^\r\n]*))(?=[\r\n]|\Z)"
)


class Section:
    """What the annotations of a part say; None where they say nothing."""

    transaction: Transaction | None = None
    lock_timeout: timedelta | None = None
    depends: tuple[Version, ...] | None = None
    compatible_with: Version | None = None

    def of_part(self, part: Part) -> Part:
        """Return a part with what was said about how to run it."""
        if self.transaction is None and self.lock_timeout is None:
            return part
        return Part(part.path, part.text, self.transaction or part.transaction, self.lock_timeout)


class Annotated:
    """What the annotations of a file say.

    Attributes:
        up: About the part that applies.
        down: About the part that takes back.
        down_at: The offset at which that part begins; None where there is none.
    """

    down_at: int | None = None

    def __init__(self) -> None:
        self.up = Section()
        self.down = Section()

    @property
    def up_span(self) -> Span:
        """Where the part that applies is."""
        return WHOLE if self.down_at is None else Span(0, self.down_at)

    @property
    def down_span(self) -> Span:
        """Where the part that takes back is, if there is one."""
        return Span(self.down_at or 0)


_NOTHING = Annotated()


class _AnnotationError(Exception):
    """An annotation that cannot be obeyed."""


def read_annotations(text: FileText, *, is_down: bool = False) -> Annotated:
    """Read the annotations of a file; mistakes go to the file's problems.

    Args:
        text: The file.
        is_down: Whether it is a file that takes back.
    """
    if "-" not in text.text or "--" not in text.text:  # one dash is found ten times as fast as two
        return _NOTHING
    found = Annotated()
    for offset, words in _annotations(text):
        word, _, argument = words.partition(" ")
        in_down = is_down or found.down_at is not None
        try:
            if word == "down":
                _begin_down(found, argument, offset, again=in_down)
            else:
                _obey(found.down if in_down else found.up, word, argument.strip(), in_down=in_down)
        except _AnnotationError as error:
            text.problems.append(text.problem(offset, str(error)))
    return found


def _annotations(text: FileText) -> Iterator[tuple[int, str]]:
    for match in re.finditer(_LINE, text.text):
        at = match.start()
        before = text.text[max(text.text.rfind("\n", 0, at), text.text.rfind("\r", 0, at)) + 1 : at]
        words = " ".join((match["words"] or match["bare"] or "").split())
        if before.lstrip().startswith("--"):
            continue  # a comment that speaks of annotations
        if match["words"] is None:
            text.problems.append(text.problem(at, f"there is no colon behind dbinit; write -- dbinit: {words}"))
        elif before:
            text.problems.append(text.problem(at, "an annotation begins at the beginning of its line"))
        else:
            yield at, words


def _begin_down(found: Annotated, argument: str, offset: int, *, again: bool) -> None:
    if again:
        raise _AnnotationError("the down part has begun already; remove this line")
    if argument:
        raise _AnnotationError("nothing may stand behind -- dbinit: down")
    found.down_at = offset


def _obey(section: Section, word: str, argument: str, *, in_down: bool) -> None:
    if word not in _SETTERS:
        known = ", ".join(["down", *_SETTERS])
        raise _AnnotationError(
            f"there is no annotation {word!r}; there are {known}" if word else "an annotation is missing"
        )
    name, read = _SETTERS[word]
    if in_down and name in {"depends", "compatible_with"}:
        raise _AnnotationError(f"{word} belongs to the up part; write it above -- dbinit: down")
    if getattr(section, name) is not None:
        raise _AnnotationError(f"{word} stands in this part twice; keep one")
    try:
        setattr(section, name, read(argument))
    except ValueError as error:
        raise _AnnotationError(f"{word}: {error}") from None


def _no_transaction(argument: str) -> Transaction:
    if argument:
        raise ValueError("nothing may stand behind it")
    return Transaction.NO


def _versions(argument: str) -> tuple[Version, ...]:
    if argument == "none":
        return ()
    if not argument:
        raise ValueError("name the versions, as in 001, 003, or write none")
    if re.search(r"\d[ \t]+\d", argument):
        raise ValueError("commas belong between versions, as in 001, 003")
    return tuple(Version.parse(part.strip()) for part in argument.split(","))


def _limit(argument: str) -> timedelta:
    if (limit := parse_duration(argument)) > LONGEST:
        raise ValueError(f"{argument} is more than PostgreSQL takes, which is {LONGEST.days} days")
    return limit


_SETTERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "no-transaction": ("transaction", _no_transaction),
    "depends": ("depends", _versions),
    "lock-timeout": ("lock_timeout", _limit),
    "compatible-with": ("compatible_with", Version.parse),
}
