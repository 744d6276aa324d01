"""Looks for errors of syntax in all that is pending, before any of it is run."""

import logging
from collections.abc import Iterable, Iterator

from dbinit.errors import ValidationError
from dbinit.migrations.preparation import Task
from dbinit.sql.reader import Reader
from dbinit.sql.statement import Statement, Wanted
from dbinit.sql.survey import Survey
from dbinit.validation import available, validate

__all__ = ["check_syntax"]

logger = logging.getLogger("dbinit")


def check_syntax(tasks: Iterable[Task]) -> int:
    """Parse the scripts of all steps with PostgreSQL's own grammar; return how many statements were looked at.

    Without the extra `validate`, that is said in the log, and nothing is looked at.

    Raises:
        ValidationError: There are errors; all of them are named.
    """
    if not available():
        logger.info("Not validated beforehand: PostgreSQL's grammar is not installed (pip install 'dbinit[validate]')")
        return 0
    count = 0
    problems = []
    for task in tasks:
        session = task.found.context.session if task.found else None
        if task.found and session and session.standard_strings:  # the grammar has no other strings
            statements = list(_known(task.found))
            count += len(statements)
            problems += validate(statements, session.version)
    if problems:
        raise ValidationError(problems)
    return count


def _known(found: Survey) -> Iterator[Statement]:
    """Yield the statements that are sure to be sent as they are: behind a result that is wanted, nothing is."""
    if found.plain is not None:
        yield from found.plain
        return
    reader = Reader(found.script, found.context)
    for statement in reader:
        if reader.certain:
            yield statement
        if statement.wanted is not Wanted.NOTHING:
            return
