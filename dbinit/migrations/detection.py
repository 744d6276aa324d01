"""Whose folder is it? Told by names and marks, with the reason in words. Pure.

The folders of tools that are not read are recognised too: a naive reading would run their downs.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .model import File, Format
from .native import is_native_name
from .problems import FolderError, Problem
from .text import BYTE_ORDER_MARK, base_name
from .version import Version

__all__ = ["Detected", "detect", "is_read"]


class Detected(NamedTuple):
    """Whose rules a folder is to be read by, and why."""

    format: Format
    reason: str


# Patterns are kept as text, and compiled when there is a file that they may fit.

# Marks of the formats that are read, and of those that are not, behind the dashes of a comment.
_MARKS: dict[Format | str, str] = {
    Format.NATIVE: r"dbinit[ \t]*:",
    Format.GOOSE: r"\+goose\b",
    Format.DBMATE: r"migrate:(?:up|down)\b",
    "tern": r"create above / drop below|tern:[ \t]*disable-tx",
    "sql-migrate": r"\+migrate[ \t]+(?:up|down)\b",
    "pogo-migrate": r"migrate:[ \t]+(?:apply|rollback)\b",
    "node-pg-migrate": r"(?:up|down)[ \t]+migration[ \t]*$",
    "yoyo": r"transactional:[ \t]*(?:true|false)\b",
    "Liquibase": r"liquibase[ \t]+formatted[ \t]+sql",
    "Atlas": r"atlas:[a-z]",
    "graphile-migrate": r"(?<=!)[ \t]*(?:previous|hash):",
}
_OWNERS: tuple[Format | str, ...] = tuple(_MARKS)
_MARK = r"(?mi)^[ \t]*--[-!]*[ \t]*(?:" + "|".join(f"({pattern})" for pattern in _MARKS.values()) + ")"
_NAMES: dict[Format | str, str] = {
    Format.FLYWAY: r"(?s)(?:.*/)?(?:[VUB][0-9][0-9._]*|R)__[^/]*\.sql",
    "Atlas": r"atlas\.sum",
    "alembic": r"env\.py|script\.py\.mako|(?:.*/)?versions/[^/]+\.py",
    "yoyo": r".*\.rollback\.sql|[0-9]+\.[^/]+(?<!\.up)(?<!\.down)\.sql",
    "Liquibase": r"(?i)(?:.*/)?[^/]*changelog[^/]*\.(?:xml|ya?ml|json)",
    "refinery": r"[VU][0-9]+__[^/]*\.rs",
    "sqitch": r"sqitch\.(?:plan|conf)",
    "Prisma": r"migration_lock\.toml|[^/]+/migration\.sql",
    "tern": r"tern\.conf",
}
_COMMON = r"[0-9]+_[^/]*(?<!\.rollback)\.sql"  # what none of these fits
_FLYWAY_VERSION = r"(?as)(?P<prefix>[VU])(?P<version>[0-9][0-9._]*?)__.*\.sql"
_UP = r"(?s)[0-9]+_.*\.up\..*"
_PAIR = r"(?s)[0-9]+_.*\.(?:up|down)\..*"
_PLAIN = r"(?s)[0-9]+_.*(?<!\.up)(?<!\.down)\.sql"
_SQLX_MARK = b"-- no-transaction"
_ADVICE = (
    "leave it to {owner}, or write its migrations as files NNN_name.sql with a -- dbinit: down line before what takes"
    " them back"
)
_FORCE = "separate the files, or force a format: " + ", ".join(known.value for known in Format)


def is_read(name: str) -> bool:
    """Tell whether what is in a file counts, not only its name."""
    return name.endswith((".sql", ".sql.conf")) or re.fullmatch(_PAIR, name) is not None


def detect(path: str, files: Iterable[File]) -> Detected:
    """Tell whose folder it is.

    Args:
        path: The folder, for messages.
        files: All files in it and below it; data only for those that `is_read` names.

    Raises:
        FolderError: It fits none or more than one, or belongs to a tool whose folders are not read.
    """
    files = sorted(files)
    found = _evidence(files)
    foreign = [owner for owner in found if not isinstance(owner, Format)]
    if foreign:
        problems = [_problem(path, owner, found[owner]) for owner in foreign]
        raise FolderError(path, problems)
    if len(found) > 1:
        reasons = "; ".join(f"{owner.value}, as {found[owner]}" for owner in found if isinstance(owner, Format))
        raise FolderError(path, [Problem(path, f"the folder fits more than one format: {reasons}; {_FORCE}")])
    for owner, reason in found.items():
        if isinstance(owner, Format):
            return Detected(owner, reason)
    return _by_plain_names(path, files)


def _evidence(files: Sequence[File]) -> dict[Format | str, str]:
    """Return the reasons for each owner that has left something unmistakable."""
    found: dict[Format | str, str] = {}
    for owner, reason in _signs(files):
        found.setdefault(owner, reason)
    # A U file without its V is no undo of Flyway's, but a migration of refinery's, which runs forward.
    if Format.FLYWAY in found and (lone := _undo_without_version(files)):
        found = {"refinery": f"{lone} has no V file beside it, so that it is no undo migration of Flyway's"}
    return found


def _signs(files: Sequence[File]) -> Iterator[tuple[Format | str, str]]:
    is_common = re.compile(_COMMON).fullmatch
    for file in files:
        if not is_common(file.name):
            for owner, pattern in _NAMES.items():
                if re.fullmatch(pattern, file.name):
                    yield owner, f"there is a file {file.name}"
        if b"-" in file.data and b"--" in file.data:  # one dash is found ten times as fast as two
            for owner in _owners_of_marks(file):
                yield owner, f"{file.name} has its marks"
    yield from _signs_of_pairs(files)


def _signs_of_pairs(files: Sequence[File]) -> Iterator[tuple[Format | str, str]]:
    """Tell golang-migrate, which passes over files that are no pairs, from sqlx, which runs them."""
    if marked := next((file.name for file in files if file.data.startswith(_SQLX_MARK)), ""):
        yield Format.SQLX, f"{marked} begins with {_SQLX_MARK.decode()}"
        return
    pair = next((file.name for file in files if ".up." in file.name and re.fullmatch(_UP, file.name)), "")
    if not pair:
        return
    yield Format.GOLANG_MIGRATE, f"there is a file {pair}"
    if plain := next((file.name for file in files if re.fullmatch(_PLAIN, file.name)), ""):
        yield Format.SQLX, f"there is a file {plain} as well, which golang-migrate would pass over"


def _owners_of_marks(file: File) -> set[Format | str]:
    text = file.data.removeprefix(BYTE_ORDER_MARK).decode(errors="replace")
    return {_OWNERS[(match.lastindex or 1) - 1] for match in re.finditer(_MARK, text)}


def _undo_without_version(files: Sequence[File]) -> str:
    found = [match for file in files if (match := re.fullmatch(_FLYWAY_VERSION, base_name(file.name)))]
    versions = {_number(match) for match in found if match["prefix"] == "V"}
    lone = (match[0] for match in found if match["prefix"] == "U" and _number(match) not in versions)
    return next(lone, "")


def _number(match: re.Match[str]) -> str:
    try:
        return Version.parse(match["version"]).key
    except ValueError:
        return match["version"]


def _by_plain_names(path: str, files: Sequence[File]) -> Detected:
    if native := next((file.name for file in files if is_native_name(file.name)), ""):
        return Detected(Format.NATIVE, f"there is a file {native}, and no mark of another tool")
    shown = ", ".join(file.name for file in files[:3])
    seen = f"it fits no format; the first files are {shown}" if files else "there is no file in it"
    raise FolderError(path, [Problem(path, f"{seen}; name migrations like 001_name.sql, or force a format")])


def _problem(path: str, owner: Format | str, reason: str) -> Problem:
    return Problem(
        path, f"this is a folder of {owner} ({reason}), which dbinit does not read; " + _ADVICE.format(owner=owner)
    )
