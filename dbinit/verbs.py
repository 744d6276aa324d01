"""What the commands of the command line do with a file or a folder, and what they answer."""

import argparse
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .console import print_lines
from .errors import ExitCode, SettingsError, SourceError
from .initializer import Initializer
from .model import Applied, Report
from .wording import counted, one_line, printable

if TYPE_CHECKING:
    from .migrations.standing import Standing
    from .migrations.version import Version

__all__ = ["FOLDER_VERBS", "VERBS", "Answer", "new_migration"]


logger = logging.getLogger("dbinit")


class Answer(NamedTuple):
    """What a command has to say.

    Attributes:
        data: For programs.
        lines: For people; the log has said the rest.
        code: The exit code.
    """

    data: Mapping[str, Any]
    lines: Sequence[str] = ()
    code: int = ExitCode.OK


async def _up(initializer: Initializer, chosen: argparse.Namespace) -> Answer:
    if not initializer.is_folder:
        if chosen.target is not None or chosen.jobs is not None or chosen.dry_run or chosen.single_transaction:
            what = "--target, --jobs, --dry-run and --single-transaction are for a folder of migrations"
            raise SettingsError((what,))
        return _reported(await initializer.initialize())
    if chosen.target is None and not (chosen.dry_run or chosen.single_transaction):
        return _reported(await initializer.initialize())
    from .migrations.request import Up  # noqa: PLC0415 - only here

    options = initializer.options
    target = None if chosen.target is None else _version(chosen.target)
    request = Up(target, options.allow_missing, options.jobs, chosen.single_transaction, chosen.dry_run)
    return _reported(await initializer.migrate(request))


async def _down(initializer: Initializer, chosen: argparse.Namespace) -> Answer:
    from .migrations.request import Down  # noqa: PLC0415 - only here

    if chosen.to is not None and chosen.count is not None:
        raise SettingsError(("down takes a number of migrations or --to VERSION, not both",))
    count = 1 if chosen.count is None else chosen.count
    if count < 1:
        raise SettingsError((f"down takes back one migration or more, not {count}",))
    request = Down(count) if chosen.to is None else Down(target=_version(chosen.to))
    return _reported(await initializer.migrate(request))


async def _redo(initializer: Initializer, _: argparse.Namespace) -> Answer:
    from .migrations.request import Redo  # noqa: PLC0415 - only here

    return _reported(await initializer.migrate(Redo()))


async def _baseline(initializer: Initializer, chosen: argparse.Namespace) -> Answer:
    from .migrations.request import Baseline  # noqa: PLC0415 - only here

    return _reported(await initializer.migrate(Baseline(_version(chosen.version))))


async def _repair(initializer: Initializer, chosen: argparse.Namespace) -> Answer:
    from .migrations.request import Repair  # noqa: PLC0415 - only here

    differences = await initializer.differences()
    if not chosen.json:
        print_lines(line for text in differences.values() for line in text.splitlines())
    answer = _reported(await initializer.migrate(Repair()))
    return Answer({**answer.data, "differences": differences}, answer.lines if differences else ["nothing to repair"])


async def _import(initializer: Initializer, chosen: argparse.Namespace) -> Answer:
    from .migrations.request import Import  # noqa: PLC0415 - only here

    return _reported(await initializer.migrate(Import(chosen.table or "")))


async def _status(initializer: Initializer, chosen: argparse.Namespace) -> Answer:
    if not initializer.is_folder:
        return await _status_of_file(initializer, chosen)
    folder, standings, conflicts = await initializer.standings()
    rows = [
        {
            "version": str(found.version or ""),
            "name": found.name,
            "status": found.status.value,
            "path": found.migration.up.path if found.migration else "",
            "applied_at": getattr(found.recorded, "applied_at", None),
        }
        for found in standings
    ]
    pending = sum(_is_pending(found) for found in standings)
    lines = [f"{folder.path}: {counted(len(rows), 'migration')}, {pending} pending ({folder.format.value})"]
    width = max((len(str(row["version"])) for row in rows), default=0)
    lines += [
        f"  {row['version']:>{width}}  {row['status']:10}  {_when(found.recorded):20}  {one_line(found.name)}"
        for row, found in zip(rows, standings, strict=True)
    ]
    lines += [f"up would refuse: {printable(conflict)}" for conflict in conflicts]
    code = ExitCode.HISTORY if conflicts else ExitCode.FAILED if pending else ExitCode.OK
    data = {"folder": folder.path, "format": folder.format.value, "pending": pending, "conflicts": conflicts}
    return Answer({**data, "migrations": rows}, lines, code if chosen.exit_code else ExitCode.OK)


def _is_pending(found: "Standing") -> bool:
    """Tell whether `up` has something to do about a migration; an edited one is run again if it is repeatable."""
    status = found.status.value
    runs = status in {"pending", "late", "unfinished"} or (status == "edited" and found.version is None)
    return runs and found.migration is not None


async def _status_of_file(initializer: Initializer, chosen: argparse.Namespace) -> Answer:
    decision, history = await initializer.status()
    pending = decision.value in {"apply", "rerun", "resume"}
    data = {
        "decision": decision,
        "script": str(initializer.options.migrations_path),
        "history": [_shown(row) for row in history],
    }
    return Answer(data, code=ExitCode.FAILED if chosen.exit_code and pending else ExitCode.OK)


def _shown(row: Applied) -> dict[str, Any]:
    names = ("script", "checksum", "outcome", "applied_at", "statements")
    return {name: getattr(row, name) for name in names}


async def _plan(initializer: Initializer, chosen: argparse.Namespace) -> Answer:
    from .migrations.request import Up  # noqa: PLC0415 - only here

    options = initializer.options
    target = None if chosen.target is None else _version(chosen.target)
    tasks = await initializer.plan(Up(target, options.allow_missing))
    rows = [
        {
            "action": task.step.action.value,
            "version": str(task.step.version or ""),
            "name": task.step.name,
            "path": task.path,
            "statements": task.found.statements if task.found else 0,
            "transaction": not task.stepwise,
            "because": _reason(task.found.stepwise) if task.found and task.found.stepwise else "",
        }
        for task in tasks
    ]
    lines = [_shown_step(row) for row in rows]
    return Answer({"steps": rows}, lines or ["nothing to do"])


def _reason(statement: Any) -> str:
    return f"line {statement.place.line}: {' '.join(statement.text.split()[:3])}"


def _shown_step(row: Mapping[str, Any]) -> str:
    return f"{row['action']} {row['path']}: {counted(row['statements'], 'statement')}, {_mode(row)}"


def _mode(row: Mapping[str, Any]) -> str:
    if row["transaction"]:
        return "in one transaction"
    return "statement by statement" + (f", because of {row['because']}" if row["because"] else "")


async def _validate(initializer: Initializer, _: argparse.Namespace) -> Answer:
    from .migrations.request import Up  # noqa: PLC0415 - only here
    from .runner.checking import check_syntax  # noqa: PLC0415 - only here

    tasks = await initializer.plan(Up(allow_missing=initializer.options.allow_missing))
    count = check_syntax(tasks)
    data = {"outcome": "validated", "migrations": len(tasks), "statements": count}
    pending, looked_at = counted(len(tasks), "pending migration"), counted(count, "statement")
    return Answer(data, [f"{pending}, {looked_at} looked at, no mistakes found"])


async def _wait(initializer: Initializer, _: argparse.Namespace) -> Answer:
    await initializer.wait()
    return Answer({"outcome": "reached"})


def new_migration(path: Path, format_name: str | None, name: str) -> Answer:
    """Create the files of a new migration, as its folder names them.

    Raises:
        DbInitError: The folder cannot be read, or the file not be written.
    """
    from .migrations.naming import new_files  # noqa: PLC0415 - only here
    from .model import Format  # noqa: PLC0415 - only here
    from .runner.loading import load_folder  # noqa: PLC0415 - only here

    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 - Path's own may raise
        raise SourceError(f"{path} is no folder of migrations", advice="set MIGRATION_PATH (or --path) to the folder")
    try:
        wanted = Format(format_name) if format_name else None
    except ValueError:
        known = ", ".join(item.value for item in Format)
        raise SettingsError((f"DBINIT_FORMAT: {format_name!r} is not one of {known}",)) from None
    folder = load_folder(path, wanted, {}, unfinished=True) if os.path.isdir(path) and _holds_something(path) else None  # noqa: PTH112 - may raise
    try:
        files = new_files(folder, folder.format if folder else wanted or Format.NATIVE, name, datetime.now(UTC))
    except ValueError as error:
        raise SettingsError((str(error),)) from None
    try:
        if not path.exists():
            path.mkdir(parents=True, exist_ok=True)
            logger.info("There was no folder %s; it is created", one_line(str(path)))
        for file, text in files.items():
            with (path / file).open("x", encoding="utf-8") as created:
                created.write(text)
    except OSError as error:
        raise SourceError(f"{error.filename} cannot be created: {error.strerror}") from None
    created_paths = [str(path / file) for file in files]
    return Answer({"created": created_paths}, created_paths)


def _holds_something(path: Path) -> bool:
    """Tell whether there is anything in a folder that a format could be seen by: a README is none."""
    try:
        found = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return True  # which is told when it is read
    return any(entry.suffix not in {"", ".md", ".txt"} or entry.is_dir() for entry in found)


def _reported(report: Report) -> Answer:
    """Return what a run did, with a table of the migrations where there were several."""
    lines = []
    if len(report.migrations) > 1:
        width = max(len(found.version) for found in report.migrations)
        lines = [
            f"{found.action:6}  {found.version:>{width}}  {found.seconds * 1000:9.1f} ms"
            f"  {found.statements:5}  {one_line(found.name)}"
            for found in report.migrations
        ]
        different = {(found.version, found.name) for found in report.migrations}  # redo has each twice
        migrations, statements = counted(len(different), "migration"), counted(report.statements, "statement")
        lines.append(f"{migrations}, {statements}, {report.seconds:.2f} s")
    return Answer(asdict(report), lines)


def _version(text: str) -> "Version":
    from .migrations.version import Version  # noqa: PLC0415 - only for folders

    try:
        return Version.parse(text)
    except ValueError as error:
        raise SettingsError((str(error),)) from None


def _when(recorded: object) -> str:
    moment: datetime | None = getattr(recorded, "applied_at", None)
    return moment.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00") if moment else ""


Verb = Callable[[Initializer, argparse.Namespace], Awaitable[Answer]]

FOLDER_VERBS: Mapping[str, Verb] = {
    "down": _down,
    "redo": _redo,
    "plan": _plan,
    "validate": _validate,
    "baseline": _baseline,
    "repair": _repair,
    "import": _import,
}
"""Commands that only make sense for a folder of migrations."""
VERBS: Mapping[str, Verb] = {"up": _up, "status": _status, "wait": _wait, **FOLDER_VERBS}
"""The commands that need a database."""
