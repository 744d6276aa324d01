"""What the command line shows: log lines, how far the work has come, and the result as text or JSON."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from enum import Enum
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from .durations import format_duration
from .errors import DbInitError
from .readiness import Phase, Readiness
from .wording import one_line, printable

if TYPE_CHECKING:
    from .sql.statement import Statement  # what most commands do without

__all__ = [
    "Pace",
    "print_error",
    "print_lines",
    "print_result",
    "print_statement",
    "progress",
    "set_up_logging",
    "set_up_output",
]


def set_up_output() -> None:
    """Have standard output spell out what its encoding cannot write, as standard error does."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def set_up_logging(*, quiet: bool) -> None:
    """Send dbinit's log lines to standard error as they are."""
    logger = logging.getLogger("dbinit")
    logger.handlers = [_ErrorStream()]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


@contextmanager
def progress(*, wanted: bool) -> "Iterator[Callable[[Readiness], None] | Pace | None]":
    """Yield an observer that draws a bar; where standard error is no terminal, one that can be asked for a line."""
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
        yield Pace() if wanted else None
        return
    with ExitStack() as stack:
        draw: Callable[[Readiness], None] | None = None

        def observe(readiness: Readiness) -> None:
            nonlocal draw
            if readiness.phase is Phase.APPLYING:
                # Only now, as rich takes longer to import than a start with nothing to do takes in all.
                draw = draw or _open_bar(stack)
                draw(readiness)

        yield observe


class Pace:
    """Knows what is being applied, and for how long, to say it in a log from time to time."""

    def __init__(self) -> None:
        self._seen = Readiness()
        self._since = time.monotonic()

    def __call__(self, readiness: Readiness) -> None:
        """Take note of a step."""
        if _what(readiness) != _what(self._seen):
            self._since = time.monotonic()
        self._seen = readiness

    def line(self) -> str:
        """Return it as a line; empty where nothing is being applied."""
        seen = self._seen
        if seen.phase is not Phase.APPLYING:
            return ""
        done = f"statement {seen.statement} of {seen.statements}, " if seen.statement and seen.statements else ""
        return f"{_title(seen)}: {done}{format_duration(time.monotonic() - self._since)}"


def _what(readiness: Readiness) -> tuple[Phase, str, int]:
    return readiness.phase, readiness.file, readiness.migration


def _title(readiness: Readiness) -> str:
    number = f"{readiness.migration}/{readiness.migrations} " if readiness.migrations else ""
    return f"{number}{readiness.file}" + (f" ({readiness.detail})" if readiness.detail else "")


def print_result(result: Mapping[str, Any], lines: Sequence[str] = (), *, as_json: bool) -> None:
    """Print what a command found on standard output; without `--json` only where the log does not say it."""
    if as_json:
        print(json.dumps(dict(result), default=_plain))  # noqa: T201 - the purpose of a command line
    elif "decision" in result:
        print_lines(_decided(result))
    else:
        print_lines(lines)


def _decided(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"{one_line(result['script'])}: {_SENTENCES[result['decision'].value]}"
    for row in result["history"]:
        when = row["applied_at"].isoformat(sep=" ", timespec="seconds")
        yield f"  {when}  {row['outcome'].value:8} {one_line(row['script'])}  {row['checksum'][:12]}"


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on standard output."""
    for line in lines:
        print(printable(line))  # noqa: T201


def print_statement(statement: "Statement", *, as_json: bool) -> None:
    """Print a statement with its place: in one line, or as JSON with its exact text."""
    source, (line, column) = statement.source, statement.place
    if as_json:
        offset = source.whole_offset(statement.offset)
        found = {"file": source.path, "line": line, "column": column, "offset": offset, "text": statement.text}
        print(json.dumps(found))  # noqa: T201
    else:
        print_lines([f"{source.path}:{line}:{column}: {' '.join(statement.text.split())}"])


def print_error(error: DbInitError, *, as_json: bool) -> None:
    """Print an error on standard error, or as JSON on standard output."""
    if as_json:
        fields = ("message", "outcome", "advice", "sqlstate", "line", "column", "problems")
        found = {name: getattr(error, name) for name in fields if getattr(error, name, None)}
        print(json.dumps({"error": {"type": type(error).__name__, "exit_code": error.exit_code, **found}}))  # noqa: T201
    else:
        logging.getLogger("dbinit").error("%s", error)


_SENTENCES = {
    "apply": "was never applied; `up` runs it",
    "rerun": "was edited since it was applied; `up` runs it again",
    "skip": "is applied, nothing to do",
    "older": "was applied, and a newer version of it since; `up` does nothing",
    "warn": "was edited since it was applied; `up` only warns of it",
    "refuse": "was edited since it was applied; `up` refuses that",
    "resume": "was interrupted on the way; `up` goes on with it",
    "adopt": "there is no history, but the sentinel table; `up` records the file as applied",
}


class _ErrorStream(logging.StreamHandler[TextIO]):
    """Writes to what is standard error at the moment, as the bar takes its place for a while."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _open_bar(stack: ExitStack) -> Callable[[Readiness], None]:
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    except ImportError:
        return lambda _: None
    title = TextColumn("{task.description}", markup=False)
    columns = (title, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("", total=None)
    shown: list[object] = []

    def draw(readiness: Readiness) -> None:
        if shown != [what := _what(readiness)]:
            shown[:] = [what]
            bar.reset(task)  # the time, too
        done = max(readiness.statement - 1, 0)
        bar.update(task, description=printable(_title(readiness)), completed=done, total=readiness.statements or None)

    return draw


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
