"""From the steps of a plan to scripts that can be run, or all that is wrong with them at once. Pure."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dbinit.errors import DbInitError, ScriptError, SourceError
from dbinit.model import Script
from dbinit.sql.context import Context
from dbinit.sql.survey import Survey, survey

from .history import State
from .model import Format, Part, Transaction
from .plan import Action, Step
from .text import holds_sql

__all__ = ["Task", "prepare", "prepare_part", "script_of"]

_IN_TRANSACTION = {
    Format.DBMATE: "write transaction:false behind -- migrate:up",
    Format.GOOSE: "add -- +goose NO TRANSACTION",
    Format.SQLX: "begin the file with -- no-transaction",
}


class Task(NamedTuple):
    """A step with its script.

    Attributes:
        step: The step.
        found: Its script, and what is known of it; None where nothing is run.
        stepwise: Whether it runs statement by statement, and not in one transaction.
    """

    step: Step
    found: Survey | None
    stepwise: bool = False

    @property
    def path(self) -> str:
        """The file, as messages call it."""
        return self.step.part.path


def prepare(steps: Iterable[Step], format: Format, context: Context) -> list[Task]:  # noqa: A002 - its name
    """Read the scripts of all steps, without running them.

    Args:
        steps: The steps.
        format: Whose migrations they are.
        context: What is known where they are read.

    Raises:
        DbInitError: One or more cannot be run; the error names all of them.
    """
    tasks: list[Task] = []
    failures: list[DbInitError] = []
    for step in steps:
        # Other tools take a file that holds nothing for a migration that does nothing.
        nothing = format is not Format.NATIVE and not holds_sql(step.part.text)
        if step.action is Action.RECORD or nothing:
            tasks.append(Task(step, None))
            continue
        try:
            found, stepwise = prepare_part(step.part, format, context)
            tasks.append(Task(step, found, stepwise or _is_half_way(step)))
        except (ScriptError, SourceError) as error:
            failures.append(error)
    if failures:
        raise _all_of(failures)
    return tasks


def prepare_part(part: Part, format: Format, context: Context) -> tuple[Survey, bool]:  # noqa: A002 - its name
    """Read a script; return what is known of it, and whether it runs statement by statement.

    Raises:
        ScriptError: It cannot be run, or not in the transaction that it asks for.
        SourceError: There is no statement in it.
    """
    found = survey(script_of(part), context._replace(commands=format is Format.NATIVE))
    if part.transaction is Transaction.NO:
        return found, True
    if found.stepwise and part.transaction is Transaction.YES:
        source, offset = found.stepwise.origin(0)
        reason = f"{format.value} runs this file in a transaction, in which this statement cannot run"
        raise ScriptError(f"{reason}:\n{source.excerpt(offset)}", advice=_IN_TRANSACTION.get(format, ""))
    return found, found.stepwise is not None


def _is_half_way(step: Step) -> bool:
    """Tell whether some of the script was run: then only step by step it can be known where to go on."""
    return bool(step.recorded and step.recorded.state in {State.UNFINISHED, State.REVERTING})


def script_of(part: Part) -> Script:
    """Return a part as a script, which names no other files."""
    data = part.text.encode()
    return Script(part.path, part.path, hashlib.sha256(data).hexdigest(), lambda: _chunks(data))


def _chunks(data: bytes, size: int = 1 << 18) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def _all_of(failures: list[DbInitError]) -> DbInitError:
    if len(failures) == 1:
        return failures[0]
    advice = "; ".join(dict.fromkeys(error.advice for error in failures if error.advice))
    return ScriptError("\n".join(error.message for error in failures), advice=advice)
