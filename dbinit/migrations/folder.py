"""Reads a folder of migrations: all of its files go in, a `Folder` comes out, or all of its mistakes. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence

from dbinit.wording import one_line

from . import graph
from .detection import Detected, detect, is_read
from .model import File, Folder, Format, Kind
from .problems import NO_DOWN_STATEMENT, NO_STATEMENT, NO_VALUE, FolderError, Problem
from .reading import Reading
from .text import FileText
from .version import ZERO

__all__ = ["is_read", "read_folder"]

_MISTAKES = {Format.GOOSE: (".go",), Format.NATIVE: (".SQL",)}
# What somebody takes for a migration who does not know which names, and which folders, a format passes over.
_LOOKS_LIKE_ONE = r"(?is)(?:.*/)?(?:[VUB]?[0-9]|R__|repeatable_)[^/]*\.sql(?:\.gz)?"
_NOT_READ = "this looks like a migration, and is not read; move it into {path} itself, named NNN_name.sql, or out of it"


def read_folder(
    path: str,
    files: Iterable[File],
    *,
    format: Format | None = None,  # noqa: A002 - the word everybody uses for it
    placeholders: Mapping[str, str] | None = None,
    unfinished: bool = False,
) -> Folder:
    """Read a folder.

    Args:
        path: The folder, for messages.
        files: All files in it and below it, in any order; data only for those that `is_read` names.
        format: Whose rules to read it by. Default: what `detect` finds.
        placeholders: What stands for `${name}` in a folder of Flyway's. Default: nothing.
        unfinished: Whether there may be placeholders without a value, as yet. Default: those are mistakes.

    Raises:
        FolderError: Something is wrong with it; all mistakes are named. That a migration is still without a statement
            is the folder's `blank` where nothing else is wrong.
    """
    files = sorted(files)
    detected = Detected(format, "it was asked for") if format else detect(path, files)
    texts = [FileText(f"{path}/{one_line(file.name)}", file) for file in files if _counts(file.name, detected.format)]
    unreadable = {text.path: list(text.problems) for text in texts if text.problems}
    reading = _read(texts, detected.format, placeholders or {})
    problems = _problems(texts, reading)
    overlooked = _overlooked(path, files, reading, problems)
    if detected.format is Format.NATIVE:  # other tools do the same as we
        problems |= {Problem(name, _NOT_READ.format(path=path)) for name in overlooked}
    if not reading.migrations and not problems:
        problems.add(Problem(path, f"there is no migration in it, read as a folder of {detected.format.value}"))
    # What else is wrong with a file that is no text only follows from that.
    problems = {problem for problem in problems if problem in unreadable.get(problem.path, [problem])}
    if unfinished:
        problems = {problem for problem in problems if not problem.message.startswith(NO_VALUE)}
    blank = {problem for problem in problems if problem.message in {NO_STATEMENT, NO_DOWN_STATEMENT}}
    if problems != blank:
        raise FolderError(path, problems)
    return _in_order(path, detected, reading)._replace(blank=tuple(sorted(blank)), overlooked=overlooked)


def _read(texts: Sequence[FileText], format: Format, placeholders: Mapping[str, str]) -> Reading:  # noqa: A002 - as above
    # A folder has one format, and the others need not be imported.
    match format:
        case Format.NATIVE:
            from .native import read_native  # noqa: PLC0415 - as above

            return read_native(texts)
        case Format.GOLANG_MIGRATE:
            from .golang_migrate import read_golang_migrate  # noqa: PLC0415 - as above

            return read_golang_migrate(texts)
        case Format.SQLX:
            from .sqlx import read_sqlx  # noqa: PLC0415 - as above

            return read_sqlx(texts)
        case Format.DBMATE:
            from .dbmate import read_dbmate  # noqa: PLC0415 - as above

            return read_dbmate(texts)
        case Format.GOOSE:
            from .goose import read_goose  # noqa: PLC0415 - as above

            return read_goose(texts)
        case Format.FLYWAY:
            from .flyway import read_flyway  # noqa: PLC0415 - as above

            return read_flyway(texts, placeholders)


def _problems(texts: Sequence[FileText], reading: Reading) -> set[Problem]:
    versioned = [migration for migration in reading.migrations if migration.kind is Kind.VERSIONED]
    of_files = [problem for text in texts for problem in text.problems]
    return {*reading.problems, *of_files, *graph.problems_of(versioned)}


def _overlooked(path: str, files: Iterable[File], reading: Reading, problems: Iterable[Problem]) -> tuple[str, ...]:
    """Return the paths of what looks like a migration, and neither is one by the rules of the format nor a mistake."""
    parts = [part for migration in reading.migrations for part in (migration.up, migration.down) if part]
    known = {part.path for part in parts} | {problem.path for problem in problems}
    paths = {f"{path}/{one_line(file.name)}": file.name for file in files}
    return tuple(found for found in paths if found not in known and re.fullmatch(_LOOKS_LIKE_ONE, paths[found]))


def _counts(name: str, format: Format) -> bool:  # noqa: A002 - as above
    """Tell whether a file is looked at: only Flyway looks into folders below, and hidden files are nobody's.

    Some count by their names alone, which are mistakes.
    """
    below = "/" in name and format is not Format.FLYWAY
    read = is_read(name) or name.endswith(_MISTAKES.get(format, ()))
    return read and not below and not name.startswith(".")


def _in_order(path: str, detected: Detected, reading: Reading) -> Folder:
    versioned, repeatable, baselines = (
        [migration for migration in reading.migrations if migration.kind is kind]
        for kind in (Kind.VERSIONED, Kind.REPEATABLE, Kind.BASELINE)
    )
    by_version = {migration.version: migration for migration in versioned}
    needs = graph.dependencies(versioned)
    versioned = [by_version[version] for version in graph.order(needs)]
    repeatable.sort(key=lambda migration: migration.name)
    baselines.sort(key=lambda migration: migration.version or ZERO)
    hooks = {hook: tuple(parts) for hook, parts in reading.hooks.items()}
    return Folder(path, detected.format, detected.reason, (*versioned, *repeatable), needs, tuple(baselines), hooks)
