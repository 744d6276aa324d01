"""Reads a folder of migrations from disk."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dbinit.errors import SourceError
from dbinit.migrations.folder import is_read, read_folder
from dbinit.migrations.model import File, Folder, Format
from dbinit.wording import one_line

__all__ = ["load_folder"]

logger = logging.getLogger("dbinit")

_READING = os.O_RDONLY | getattr(os, "O_BINARY", 0)


def load_folder(
    path: Path,
    format: Format | None,  # noqa: A002 - its name
    placeholders: Mapping[str, str],
    *,
    unfinished: bool = False,
) -> Folder:
    """Read a folder.

    Args:
        path: The folder.
        format: Whose rules to read it by; None: those that it is found to follow.
        placeholders: What stands for `${name}` in a folder of Flyway's.
        unfinished: Whether there may be placeholders without a value, as yet. Default: those are mistakes.

    Raises:
        SourceError: It cannot be read, or something is wrong with what is in it; all mistakes are named.
    """
    try:
        before = os.stat(path).st_mtime_ns  # noqa: PTH116 - quicker than Path.stat
        files = [File(name, _read(file) if is_read(name) else b"") for name, file in _files(os.fspath(path))]
        # Whoever replaces files, or the link that a ConfigMap's are behind, changes the folder itself.
        if os.stat(path).st_mtime_ns != before:  # noqa: PTH116 - as above
            raise SourceError.changed(path)
    except OSError as error:
        raise SourceError(
            f"{error.filename or path} cannot be read: {error.strerror}", advice="check the files and their permissions"
        ) from None
    # As messages, the lock's key and a hook's settings can hold it, whatever bytes are in it.
    return read_folder(one_line(str(path)), files, format=format, placeholders=placeholders, unfinished=unfinished)


def _files(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the names of the files in the folder and below it, and where they are.

    Each real file comes once, as a ConfigMap has all of them twice.

    Raises:
        SourceError: A symbolic link leads out of the folder, or to nothing.
    """
    root = os.path.realpath(folder)
    seen: set[str] = set()
    for name, entry in _entries(folder):
        if not entry.is_file():
            if entry.is_symlink() and entry.is_dir():
                logger.warning("%s is a link to a folder, which is not looked into", entry.path)
            if is_read(name) and entry.is_symlink() and not entry.is_dir():
                raise SourceError(f"{entry.path} is a link that leads to no file", advice="put the file there")
            continue
        real = f"{root}{os.sep}{name}"
        # Only links are resolved, which takes longer than to read the file.
        if entry.is_symlink() and not Path(real := os.path.realpath(entry.path)).is_relative_to(root):
            advice = "copy the file into the folder"
            raise SourceError(f"{entry.path} leads out of the folder, to {real}", advice=advice)
        if real not in seen:
            seen.add(real)
            yield name.replace(os.sep, "/"), entry.path


def _entries(folder: str, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what is in a folder, and then what is below it, without what is hidden; `prefix` goes before the names."""
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        yield prefix + entry.name, entry
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(entry.path, f"{prefix}{entry.name}{os.sep}")


def _read(path: str) -> bytes:
    """Read a file.

    Raises:
        SourceError: It was changed meanwhile.
    """
    descriptor = os.open(path, _READING)
    try:
        before = os.fstat(descriptor)
        size = before.st_size
        data = os.read(descriptor, size + 1)
        while len(data) < size and (more := os.read(descriptor, size + 1)):
            data += more
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if after.st_mtime_ns != before.st_mtime_ns or not len(data) == size == after.st_size:
        raise SourceError.changed(path)
    return data
