"""`python -m dbinit`: the same work as a one-shot, for init containers, jobs and shells."""

import argparse
import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from .console import Pace, print_error, print_result, print_statement, progress, set_up_logging, set_up_output
from .durations import parse_duration
from .errors import DbInitError, ExitCode, SourceError
from .initializer import Initializer
from .model import Format
from .settings import InitOptions
from .threads import Unawaited, in_thread
from .verbs import FOLDER_VERBS, VERBS, new_migration
from .version import __version__

__all__ = ["main"]

logger = logging.getLogger("dbinit")

_PATIENCE = 0.6  # seconds that a start has to end in when a signal has come, before its connections are cut
_TELL_EVERY = 10.0  # seconds
_URL = r"(?s)['\"]?[\w+]+://.*"

_DESCRIPTION = """\
Bring a PostgreSQL schema into being: connect with backoff, run the file of SQL exactly once however many start
at the same time, record it, end."""
_EPILOG = """\
environment:
  DATABASE_URL            postgresql://user:password@host:5432/database, or embedded:///folder
  DATABASE_URL_FILE       a file that holds it (a mounted secret)
  DBINIT_MIGRATION_URL, DBINIT_MIGRATION_URL_FILE
                          the same for the login that may change the schema (DATABASE_URL)
  DBINIT_ROLE             the role to act as, which owns what is created (the login)
  MIGRATION_PATH          the file of SQL (scripts/init-db.sql), or a folder of migrations
  DBINIT_INCLUDE_ROOT     the folder that it may read files from (its own)
  DB_RETRY_ATTEMPTS       attempts to connect; 0 for as many as fit into the deadline (5)
  DB_RETRY_DELAY          first pause between them, doubling up to 30s (5s)
  DBINIT_CONNECT_TIMEOUT  limit for one attempt (10s)
  DBINIT_CONNECT_DEADLINE limit for all of them together (2m)
  DBINIT_LOCK_WAIT        how long to wait for another starter (5m)
  DBINIT_STATEMENT_TIMEOUT
                          limit for one statement of the file (the server's)
  DBINIT_LOCK_TIMEOUT     how long it may wait for a lock (2s; 0 for the server's)
  DBINIT_LOCK_RETRIES     how often a file is tried again that did not get its locks (10)
  DBINIT_FORMAT           whose rules a folder is read by (those that it is found to follow)
  FLYWAY_PLACEHOLDERS_NAME
                          what stands for ${name} in a folder of Flyway's
  DBINIT_JOBS             how many migrations may run at a time (1)
  DBINIT_ALLOW_MISSING    whether migrations that come late are applied (no)
  DBINIT_SENTINEL         table that means the schema is there already (users; empty for none)
  DBINIT_ON_CHANGE        when the applied file was edited since: rerun, warn or fail (rerun)
  DBINIT_HISTORY_SCHEMA   schema of the table dbinit_history (public)

exit codes:
  0 done, or nothing to do      3 the database was not reached
  1 a statement failed          4 the history and the files disagree
  2 usage, settings or a file   5 another starter held the lock for too long
  130, 143 ended by SIGINT, SIGTERM; what was not committed is rolled back

try it without a server:
  pip install 'dbinit[embedded]'
  python -m dbinit --url embedded:///tmp/dbinit-try --path scripts/init-db.sql"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Args:
        arguments: The words behind the program's name. Default: `sys.argv`.
    """
    chosen = _parser().parse_args(arguments)
    set_up_output()
    set_up_logging(quiet=chosen.quiet)
    code: int = ExitCode.OK
    try:
        code = _run_command(chosen)
        if sys.stdout is not None:  # which is closed where a process is started without one
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is left in the buffer must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        logger.error("the output cannot be written: %s", error.strerror)  # noqa: TRY400 - no traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.USAGE
    return code


def _run_command(chosen: argparse.Namespace) -> int:
    try:
        if chosen.command == "new":
            answer = new_migration(_path(chosen), _format(chosen), chosen.name)
            print_result(answer.data, answer.lines, as_json=chosen.json)
            return answer.code
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(Unawaited())
            hurry: list[Callable[[], None]] = []
            # In a thread, as whoever waits for standard input does not always hear a signal.
            work = in_thread(_split, chosen) if chosen.command == "split" else _run(chosen, hurry)
            return runner.run(_until_signal(work, hurry))
    except DbInitError as error:
        with suppress(BrokenPipeError):  # the exit code tells it all the same
            print_error(error, as_json=chosen.json)
        return error.exit_code


class _Parser(argparse.ArgumentParser):
    """Does not repeat a URL that stands where none is expected: it holds the password."""

    def error(self, message: str) -> NoReturn:
        super().error(re.sub(_URL, "a URL, which goes behind --url", message))

    def format_help(self) -> str:
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        return super().format_help()

    def format_usage(self) -> str:
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        return super().format_usage()


class _Formatter(argparse.HelpFormatter):
    """Formats nothing: each argument that is added makes one, and to look for the terminal's width takes long."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m dbinit",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"dbinit {__version__}")
    _add_common(parser)
    commands = parser.add_subparsers(prog=parser.prog, dest="command", metavar="command")
    # What stood before the command must not be overwritten by the command's own defaults.
    common = _Parser(add_help=False, formatter_class=_Formatter)
    _add_common(common, default=argparse.SUPPRESS)
    for name, text in _COMMANDS.items():
        description, parents = text[0].upper() + text[1:] + ".", [] if name == "split" else [common]
        command = commands.add_parser(
            name, help=text, description=description, parents=parents, formatter_class=_Formatter
        )
        for words, settings in _ARGUMENTS.get(name, {}).items():
            command.add_argument(*words.split(), **settings)
    split = commands.choices["split"]
    split.add_argument("--json", action="store_true", help="one JSON object a statement, with its exact text")
    _add_script(split, default=argparse.SUPPRESS)
    parser.set_defaults(command="up", timeout=None, target=None, jobs=None, dry_run=False, single_transaction=False)
    return parser


def _add_common(parser: argparse.ArgumentParser, **default: Any) -> None:
    parser.add_argument(
        "--url",
        help="the database (default: DBINIT_MIGRATION_URL or DATABASE_URL, which do not show in ps)",
        **default,
    )
    parser.add_argument("--path", type=_path_in, help="the file or folder of SQL (default: MIGRATION_PATH)", **default)
    parser.add_argument(
        "--format",
        choices=[known.value for known in Format],
        help="whose rules a folder is read by (default: DBINIT_FORMAT, or those that it is found to follow)",
        **default,
    )
    parser.add_argument(
        "--placeholder",
        action=_Collect,
        dest="placeholders",
        metavar="NAME=VALUE",
        help="what stands for ${NAME} in a folder of Flyway's; may be given more than once",
        **({"default": ()} | default),
    )
    _add_script(parser, **default)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output", **default)
    parser.add_argument("-q", "--quiet", action="store_true", help="log warnings and errors only", **default)


def _add_script(parser: argparse.ArgumentParser, **default: Any) -> None:
    parser.add_argument(
        *("-v", "--variable"),
        action=_Collect,
        dest="variables",
        metavar="NAME=VALUE",
        help="a variable of the script, as psql has them; may be given more than once",
        **({"default": ()} | default),
    )
    parser.add_argument(
        "--include-root",
        type=_path_in,
        metavar="FOLDER",
        help="where files must be that the script includes (default: DBINIT_INCLUDE_ROOT, or the script's folder)",
        **default,
    )


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("it is not UTF-8") from None
    return text


class _Collect(argparse.Action):
    """Collects NAME=VALUE; an error does not repeat the value, which may be a password."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, _: str | None = None
    ) -> None:
        name, sign, value = values.partition("=")
        if not sign or not name:
            parser.error(f"{self.option_strings[0]} needs a name and a value, as in name=value")
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), (name, value)))


def _path_in(text: str) -> Path:
    if not text:  # an unset variable of a shell, which must not mean the working directory
        raise argparse.ArgumentTypeError("it is empty")
    return Path(text)


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_COMMANDS = {
    "up": "run what is missing (the default)",
    "down": "take back what was applied last",
    "redo": "take back what was applied last, and apply it again",
    "status": "say what would be done, and what was; change nothing",
    "plan": "say what `up` would run, and how; change nothing",
    "validate": "look for mistakes in the pending migrations of a folder; change nothing",
    "new": "create the file of a new migration",
    "baseline": "record migrations as applied, without running them",
    "repair": "accept applied migrations as they are now, and show the difference",
    "import": "take over the history that another tool has kept in this database",
    "wait": "wait until the database takes connections",
    "split": "show how files are read, without a database: a statement a line",
}
_TARGET = {"metavar": "VERSION", "help": "the last migration to apply (default: all)"}
_LATE = {
    "action": "store_true",
    "default": None,
    "help": "apply migrations that come late, behind newer ones",
}
_ARGUMENTS: dict[str, dict[str, dict[str, Any]]] = {
    "up": {
        "--target": _TARGET,
        "--allow-missing": _LATE,
        "--jobs": {"type": int, "metavar": "N", "help": "run N migrations at a time that do not need each other"},
        "--single-transaction": {"action": "store_true", "help": "all of them in one transaction"},
        "--dry-run": {"action": "store_true", "help": "run them in one transaction, and roll all back"},
    },
    "down": {
        "count": {"nargs": "?", "type": int, "metavar": "N", "help": "how many (default: 1)"},
        "--to": {"metavar": "VERSION", "help": "all that are newer than this; 0 for all"},
    },
    "status": {
        "--exit-code": {
            "action": "store_true",
            "help": "end with 1 when something is pending, with 4 when up would refuse",
        }
    },
    "plan": {"--target": _TARGET, "--allow-missing": _LATE},
    "new": {"name": {"metavar": "NAME", "help": "what it does, in a few words"}},
    "baseline": {"version": {"metavar": "VERSION", "help": "the last migration whose work is there already"}},
    "import": {
        "--table": {
            "type": _text,
            "metavar": "NAME",
            "help": "the table with the history, if it is not the tool's usual one",
        }
    },
    "wait": {"--timeout": {"type": _duration, "help": "give up after this long (default: 2m)"}},
    "split": {"files": {"nargs": "+", "type": Path, "metavar": "FILE", "help": "a file of SQL; - for standard input"}},
}


async def _until_signal(work: Awaitable[int], hurry: Sequence[Callable[[], None]]) -> int:
    """Run `work` until it ends or a signal comes, which cancels it and decides about the exit code.

    Should it take its time to end, because a server does not answer, it is hurried.
    """
    task = asyncio.ensure_future(work)
    received: list[int] = []
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()
        for act in hurry:
            loop.call_later(_PATIENCE, act)

    with suppress(NotImplementedError):  # on Windows, where asyncio's own runner hears Ctrl-C
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        logger.warning("Stopped by %s. What was not committed is rolled back.", signal.Signals(received[0]).name)
        return 128 + received[0]


async def _run(chosen: argparse.Namespace, hurry: list[Callable[[], None]]) -> int:
    options = InitOptions.from_env(**_overrides(chosen))
    with progress(wanted=not (chosen.json or chosen.quiet)) as observer:
        initializer = Initializer(options, observer=observer)
        hurry.append(initializer.terminate)
        telling = asyncio.ensure_future(_tell(observer)) if isinstance(observer, Pace) else None
        try:
            if chosen.command in FOLDER_VERBS and not initializer.is_folder:
                raise _no_folder(options.migrations_path, chosen.command)
            answer = await VERBS[chosen.command](initializer, chosen)
        finally:
            if telling:
                telling.cancel()
            await initializer.close()
    print_result(answer.data, answer.lines, as_json=chosen.json)
    return answer.code


async def _tell(pace: Pace) -> None:
    """Log how far the work has come, from time to time, for as long as it takes."""
    while True:
        await asyncio.sleep(_TELL_EVERY)
        if line := pace.line():
            logger.info("%s", line)


def _no_folder(path: str | os.PathLike[str], command: str) -> SourceError:
    what = f"{path} is no folder of migrations" if os.path.exists(path) else f"there is no folder {path}"  # noqa: PTH110 - may raise
    return SourceError(f"{what}, which `{command}` is for", advice="set MIGRATION_PATH (or --path) to the folder")


def _path(chosen: argparse.Namespace) -> Path:
    """Return the folder for a new migration, which needs no database."""
    default = os.environ.get("MIGRATION_PATH") or "scripts/migrations"
    return chosen.path if chosen.path is not None else Path(default)


def _format(chosen: argparse.Namespace) -> str | None:
    """Return whose migration a new one is to be; None where the folder tells."""
    return chosen.format or os.environ.get("DBINIT_FORMAT", "").strip().lower() or None


def _overrides(chosen: argparse.Namespace) -> dict[str, Any]:
    overrides = {"database_url": chosen.url, "migrations_path": chosen.path, "include_root": chosen.include_root}
    overrides |= {"migrations_format": chosen.format}
    overrides |= {name: getattr(chosen, name, None) for name in ("allow_missing", "jobs")}
    overrides |= {name: dict(getattr(chosen, name)) for name in ("variables", "placeholders") if getattr(chosen, name)}
    if chosen.command == "wait":
        overrides |= {"connect_deadline": chosen.timeout, "retry_attempts": 0}
    return overrides


def _split(chosen: argparse.Namespace) -> int:
    from .source import open_script  # noqa: PLC0415 - only here
    from .sql.context import Context  # noqa: PLC0415 - only here
    from .sql.reader import Reader  # noqa: PLC0415 - only here

    for path in chosen.files:
        script = open_script(path, chosen.include_root)
        for statement in Reader(script, Context(dict(chosen.variables))):
            print_statement(statement, as_json=chosen.json)
    return ExitCode.OK
