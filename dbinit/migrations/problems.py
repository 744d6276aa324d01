"""What is wrong with a folder of migrations, or between it and a database: all of it at once. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from dbinit.errors import HistoryError, SourceError

__all__ = ["NO_DOWN_STATEMENT", "NO_STATEMENT", "NO_VALUE", "FolderError", "PlanError", "Problem"]


NO_STATEMENT = "there is no SQL statement, only blanks or comments"
"""What is wrong with a migration that is only begun."""
NO_DOWN_STATEMENT = f"{NO_STATEMENT}, in the down part; write it, or leave out the line that begins it"
"""The same of the way back, which a migration may do without."""
NO_VALUE = "there is no value for the placeholder"
"""How it begins what is wrong with a placeholder that nobody has given a value."""


class Problem(NamedTuple):
    """One mistake in a file.

    Attributes:
        path: The file.
        message: What is wrong and what to do, without a full stop.
        line: Where, from 1; 0 where the whole file is meant.
        column: Where in that line, from 1.
    """

    path: str
    message: str
    line: int = 0
    column: int = 1

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.path}{place}: {self.message}"


class FolderError(SourceError):
    """A folder of migrations that cannot be used; all mistakes at once.

    Args:
        path: The folder.
        problems: The mistakes.
    """

    def __init__(self, path: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda found: (found.path, found.line, found.column, found.message)))
        lines = [f"  - {problem}" for problem in self.problems]
        super().__init__("\n".join([f"The migrations in {path} cannot be used:", *lines]))


class PlanError(HistoryError):
    """A history and a folder that do not fit together, or a wish that cannot be fulfilled; all reasons at once.

    Args:
        problems: One sentence for each.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        lines = [f"  - {problem}" for problem in self.problems]
        super().__init__("\n".join(["There is no plan for this database:", *lines]))
