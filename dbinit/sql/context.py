r"""What is known where a script is read, and what the script has to say. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from dbinit.errors import SourceError

from .commands import Target
from .text import SourceText
from .variables import CommandError, Variables

__all__ = ["Context", "Note", "Session", "initial_variables"]


class Session(NamedTuple):
    """Where a script is run: first what its variables DBNAME, USER, HOST, PORT and SERVER_VERSION_NUM have.

    `standard_strings` is the server's `standard_conforming_strings` as the script begins.
    """

    database: str
    user: str
    host: str
    port: str
    version: int
    standard_strings: bool = True

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables of psql's that tell of it."""
        name = f"{self.version // 10000}.{self.version % 10000}"
        values = (*self[:4], str(self.version), name, "UTF8")
        return dict(zip(_OF_SESSION, values, strict=True))

    def is_meant_by(self, target: Target) -> bool:
        """Tell whether a target is the very session that we have."""
        return all(wanted in {None, own} for wanted, own in zip(target, self[:4], strict=True))


_OF_SESSION = ("DBNAME", "USER", "HOST", "PORT", "SERVER_VERSION_NUM", "SERVER_VERSION_NAME", "ENCODING")


class Context(NamedTuple):
    """What is known where a script is read.

    Attributes:
        variables: Those that are handed to it (`-v name=value`).
        session: Where it is run; None where that is not known yet.
        commands: Whether psql's commands and variables mean something in it.
        results: Whether `receive` of each statement will be called. If not, all branches are read that may be taken.
    """

    variables: Mapping[str, str] = MappingProxyType({})
    session: Session | None = None
    commands: bool = True
    results: bool = False


class Note(NamedTuple):
    r"""What a script says (`\echo`), or what dbinit has to say of it."""

    text: str
    source: SourceText
    offset: int
    warning: bool = False


def initial_variables(context: Context) -> Variables:
    """Return the variables that a script begins with; those that tell of a session not known yet are in doubt.

    Raises:
        SourceError: One that is handed to it cannot be set.
    """
    try:
        variables = Variables({**(context.session.variables if context.session else {}), **context.variables})
    except CommandError as error:
        raise SourceError(f"a variable cannot be used: {error.message}", advice=error.advice) from None
    if not context.session:
        for name in _OF_SESSION:
            if name not in context.variables:
                variables.doubt(name)
    return variables
