r"""psql's `\if`: which branches of a script are run. Pure."""

from typing import NamedTuple

from .commands import KNOWN, Kind, command_name, misspelt, parse_command
from .variables import CommandError, Variables, parse_boolean

__all__ = ["Conditions"]


class _Branch(NamedTuple):
    r"""A branch of an `\if` that stands at `offset`."""

    active: bool
    settled: bool  # no further branch is to be taken
    offset: int
    last: bool = False  # behind \else
    certain: bool = True  # whether it is known that it is taken, or that it is not


class Conditions:
    r"""The `\if`s that are open. In psql each file has its own: what a file opens it must close.

    Where an expression depends on a variable that is in doubt, all branches that may be taken are active.
    """

    def __init__(self) -> None:
        self._branches: list[_Branch] = []

    @property
    def active(self) -> bool:
        """Whether what is read is to be run."""
        return not self._branches or self._branches[-1].active

    @property
    def certain(self) -> bool:
        """Whether that is known, and not only possible."""
        return all(branch.certain for branch in self._branches)

    def take(self, raw: str, variables: Variables, offset: int = 0) -> bool:
        r"""Follow a command if it is a conditional one, or pass it over in a branch that is not active.

        Arguments are looked at only where psql does so: not in a branch that is passed over.

        Args:
            raw: The command from its backslash on, as the lexer cuts it out.
            variables: What references in its arguments stand for.
            offset: Where in the file it stands, for `finish()`.

        Returns:
            False if the command has to be run.

        Raises:
            CommandError: There is no `\if` it could belong to, its expression is no Boolean, or psql has no such
                command. Nothing has changed then.
        """
        name = command_name(raw)
        match KNOWN.get(name):
            case Kind.IF:
                if self.active:
                    self._branches.append(_branch(raw, variables, offset))
                else:
                    self._branches.append(_Branch(active=False, settled=True, offset=offset))
            case Kind.ELIF:
                branch = self._innermost(name)
                if branch.settled:
                    self._branches[-1] = branch._replace(active=False)
                else:
                    self._branches[-1] = _branch(raw, variables, branch.offset, certain=branch.certain)
            case Kind.ELSE:
                branch = self._innermost(name)
                self._branches[-1] = branch._replace(active=not branch.settled, settled=True, last=True)
            case Kind.ENDIF:
                self._innermost(name)
                self._branches.pop()
            case None if not self.active and (error := misspelt(name)):
                raise error
            case _:
                return not self.active
        return True

    def finish(self) -> None:
        r"""Check, at the end of a file, that every `\if` has its `\endif`.

        Raises:
            CommandError: One has not; `offset` is the one `take()` was called with for it.
        """
        if self._branches:
            raise CommandError(
                "this \\if has no \\endif", self._branches[-1].offset, advice="close it in the same file"
            )

    def _innermost(self, name: str) -> _Branch:
        """Return the branch that an `elif`, `else` or `endif` ends."""
        if not self._branches:
            raise CommandError(f"\\{name} has no \\if before it", advice="begin with \\if, in the same file")
        if self._branches[-1].last and name != "endif":
            raise CommandError(f"\\{name} cannot stand behind \\else", advice="let \\else be the last branch")
        return self._branches[-1]


def _branch(raw: str, variables: Variables, offset: int, *, certain: bool = True) -> _Branch:
    """Open a branch whose turn it is, `certain` if none before it may have been taken."""
    if not certain or variables.is_doubtful(raw):
        return _Branch(active=True, settled=False, offset=offset, certain=False)
    command = parse_command(raw, variables)
    active = parse_boolean(command.arguments[0], f"the expression of \\{command.name}")
    return _Branch(active, active, offset)
