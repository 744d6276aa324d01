"""The files of a new migration, named and begun as the owner of the folder does it. Pure."""

import re
from datetime import datetime

from .model import Folder, Format, Kind
from .version import Version

__all__ = ["new_files"]

_NAME = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")
_TOO_LARGE = {Format.GOOSE: 2**63, Format.SQLX: 2**63}
_TIMESTAMP = re.compile(r"(?:19|20)[0-9]{12}")
_FIRST = {
    Format.NATIVE: "001",
    Format.GOLANG_MIGRATE: "000001",
    Format.GOOSE: "00001",
    Format.FLYWAY: "1",
}


def new_files(folder: Folder | None, format: Format, name: str, time: datetime) -> dict[str, str]:  # noqa: A002 - its name
    """Return the files of a new migration, by name, with what stands in them to begin with.

    Args:
        folder: The folder; None where it is empty.
        format: Whose rules it follows.
        name: What to call the migration: words of letters and digits.
        time: The time, for folders that number by it.

    Raises:
        ValueError: The name cannot be part of a file's name.
    """
    words = "_".join(name.split())
    if not _NAME.fullmatch(words):
        raise ValueError(f"{name!r} is no name for a migration; use letters, digits and underscores")
    number = _next_number(folder, format, time)
    match format:
        case Format.GOLANG_MIGRATE | Format.SQLX:
            return {f"{number}_{words}.up.sql": "", f"{number}_{words}.down.sql": ""}
        case Format.DBMATE:
            return {f"{number}_{words}.sql": "-- migrate:up\n\n\n-- migrate:down\n\n"}
        case Format.GOOSE:
            return {f"{number}_{words}.sql": "-- +goose Up\n\n\n-- +goose Down\n\n"}
        case Format.FLYWAY:
            return {f"V{number}__{words}.sql": ""}
    return {f"{number}_{words}.sql": "\n\n-- dbinit: down\n\n"}


def _next_number(folder: Folder | None, format: Format, time: datetime) -> str:  # noqa: A002 - its name
    """Return the next number, in the manner of the last one: counted, or the time."""
    versions = [found.version for found in folder.migrations if found.kind is Kind.VERSIONED] if folder else []
    last = max((version for version in versions if version is not None), default=None)
    if last is None:
        return _FIRST.get(format) or f"{time:%Y%m%d%H%M%S}"
    if _TIMESTAMP.fullmatch(last.text):
        return max(f"{time:%Y%m%d%H%M%S}", _counted(last, format))
    return _counted(last, format)


def _counted(last: Version, format: Format) -> str:  # noqa: A002 - as above
    if last[0] + 1 >= _TOO_LARGE.get(format, 2**64):
        raise ValueError(f"no number is left behind {last}; rename that migration, or name the new one yourself")
    first = str(last[0] + 1)
    return first.zfill(len(re.split("[._]", last.text)[0]))
