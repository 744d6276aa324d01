"""Finds all errors of syntax in statements before the first of them is run. Pure.

It needs the extra `validate`. What PostgreSQL's grammar cannot know is left to the server: whether a table is there, of
which type something is, what `EXECUTE` will run.
"""

import re
from collections.abc import Iterable, Iterator

from .errors import SyntaxProblem
from .grammar import available, grammar_version
from .sql.facts import sets_standard_strings
from .sql.statement import Statement
from .syntax import find_fault

__all__ = ["available", "validate"]

_MAJOR = 10_000
_BODIES = re.compile(r"\bcheck_function_bodies\b(?:\s*(?:=|\bto\b)\s*'?(on|true|yes|1)\b)?", re.IGNORECASE)


def validate(statements: Iterable[Statement], server_version: int) -> list[SyntaxProblem]:
    """Return the errors of syntax in statements, at most one for each of them.

    Whatever is reported, the server would refuse. To be sure of that, nothing is reported where the server is of
    another major version than the grammar, as its syntax may be newer or older; nor while the script itself has set
    `standard_conforming_strings` off; nor in the bodies of functions once it has set `check_function_bodies`.

    Args:
        statements: The statements, as they will be sent; all of them known to be sent.
        server_version: The server's, as `server_version_num` has it: 180004 for 18.4.

    Raises:
        ImportError: The grammar is not installed; `available()` tells.
    """
    if server_version // _MAJOR != grammar_version() // _MAJOR:
        return []
    return list(_problems(statements))


def _problems(statements: Iterable[Statement]) -> Iterator[SyntaxProblem]:
    standard_strings = bodies = True
    for statement in statements:
        fault = find_fault(statement.text, bodies=bodies) if standard_strings else None
        if fault:
            source, offset = statement.origin(min(fault.position, max(len(statement.text) - 1, 0)))
            yield SyntaxProblem(source.path, *source.place(offset), fault.message, source.excerpt(offset))
        if (setting := sets_standard_strings(statement.text)) is not None:
            standard_strings = setting
        if match := _BODIES.search(statement.text):
            bodies = match[1] is not None
