"""What can be known of a script before anything of it is run. Pure."""

from typing import NamedTuple

from dbinit.errors import SourceError
from dbinit.model import Script

from .context import Context, Note
from .facts import Footing, chains, footing, generates_alone, needs_session
from .reader import Reader
from .statement import Statement, Wanted, unrunnable

__all__ = ["Survey", "refuse_session", "stance", "survey"]

_SMALL = 256 * 1024  # characters
_END_OF_BODY = "if this ends the body of a function, check for proper $$ delimiters around that body"


class Survey(NamedTuple):
    """What is known of a script once it has been read, before anything is run.

    Attributes:
        script: The script.
        context: What is known where it is read.
        statements: How many it has, as far as that can be known.
        stepwise: The first statement that keeps it from being run in one transaction, or None.
        plain: All its statements, where it is small and nothing else is in it: no data, nothing that is wanted of a
            result or depends on one, nothing to be said; else None.
    """

    script: Script
    context: Context
    statements: int
    stepwise: Statement | None
    plain: tuple[Statement, ...] | None = None


def survey(script: Script, context: Context) -> Survey:
    """Read a whole script, with all that it may include, without running it.

    Raises:
        ScriptError: Something cannot be read or run, or a transaction is begun and never ended.
        SourceError: A file cannot be used, or there is no statement.
    """
    plain = _Plain()
    reader = Reader(script, context, plain.refuse)
    count, stepwise, block = 0, None, None
    for statement in reader:
        count += 1
        plain.take(statement, certain=reader.certain)
        stands = stance(statement)
        if stands is not Footing.PLAIN and stepwise is None:
            stepwise = statement
        block = _block(block, statement, stands, certain=reader.certain)
    if block:
        raise unrunnable(block.source, block.offset, "this transaction is begun and never committed")
    if not count:
        raise SourceError(f"{script.path} holds no SQL statement, only comments")
    return Survey(script, context, count, stepwise, plain.all)


def refuse_session(found: Survey) -> None:
    """Refuse a script that means something for its session, where the next transaction may meet another one.

    Raises:
        ScriptError: It does.
    """
    for statement in Reader(found.script, found.context, lambda _: None):
        if needs_session(statement.text):
            reason = "this is for the session, and behind a pooler the next step of the script may meet another one"
            advice = "connect to the server itself, or to a pool in session mode; or use SET LOCAL in a transaction"
            raise unrunnable(statement.source, statement.offset, reason, advice)


class _Plain:
    """Collects the statements of a script as long as there is nothing else in it."""

    def __init__(self) -> None:
        self._found: list[Statement] | None = []
        self._size = 0

    @property
    def all(self) -> tuple[Statement, ...] | None:
        return None if self._found is None else tuple(self._found)

    def take(self, statement: Statement, *, certain: bool) -> None:
        self._size += len(statement.text)
        alone = statement.data is not None or statement.wanted is not Wanted.NOTHING or statement.together
        if alone or not certain or self._size > _SMALL:
            self._found = None
        if self._found is not None:
            self._found.append(statement)

    def refuse(self, _: Note) -> None:
        self._found = None


def stance(statement: Statement) -> Footing:
    """Tell how a statement, with those that it generates, stands to transactions."""
    if statement.wanted is Wanted.STATEMENTS and generates_alone(statement.text):
        return Footing.ALONE
    return footing(statement.text)


def _block(block: Statement | None, statement: Statement, stands: Footing, *, certain: bool) -> Statement | None:
    """Return the statement that has begun the transaction that is open behind `statement`, None if there is none."""
    if stands is Footing.BEGIN:
        return statement
    if stands in {Footing.COMMIT, Footing.ROLLBACK}:
        if not block and certain:
            raise unrunnable(statement.source, statement.offset, "no transaction is begun that this ends", _END_OF_BODY)
        return block if chains(statement.text) else None
    if stands is Footing.ALONE and block and certain:
        raise unrunnable(statement.source, statement.offset, "this statement cannot run inside a transaction")
    return block
