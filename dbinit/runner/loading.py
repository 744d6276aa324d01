"""Reads a folder of migrations from disk."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dbinit.errors import SourceError
from dbinit.migrations.folder import is_read, read_folder
from dbinit.migrations.model import File, Folder, Format

__all__ = ["load_folder"]


def load_folder(path: Path, format: Format | None, placeholders: Mapping[str, str]) -> Folder:  # noqa: A002 - its name
    """Read a folder.

    Args:
        path: The folder.
        format: Whose rules to read it by; None: those that it is found to follow.
        placeholders: What stands for `${name}` in a folder of Flyway's.

    Raises:
        SourceError: It cannot be read, or something is wrong with what is in it; all mistakes are named.
    """
    root = Path(os.path.realpath(path))
    try:
        files = [File(name, file.read_bytes() if is_read(name) else b"") for name, file in _files(path, root)]
    except OSError as error:
        raise SourceError(
            f"{error.filename or path} cannot be read: {error.strerror}", advice="check the files and their permissions"
        ) from None
    return read_folder(str(path), files, format=format, placeholders=placeholders)


def _files(path: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files in the folder and below it, by name; each real file once, as a ConfigMap has all of them twice.

    Raises:
        SourceError: A symbolic link leads out of the folder.
    """
    seen: set[str] = set()
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            real = os.path.realpath(file)
            if name.startswith(".") or real in seen or not Path(real).is_file():
                continue
            if not Path(real).is_relative_to(root):
                raise SourceError(f"{file} leads out of the folder, to {real}", advice="copy the file into the folder")
            seen.add(real)
            yield file.relative_to(path).as_posix(), Path(real)


def _raise(error: OSError) -> None:
    raise error
