"""Folders for the tests, as texts."""

from collections.abc import Mapping

import pytest

from dbinit.migrations.folder import read_folder
from dbinit.migrations.history import Recorded, row_of
from dbinit.migrations.model import File, Folder, Format, Migration
from dbinit.migrations.problems import FolderError
from dbinit.migrations.version import Version


def files(contents: Mapping[str, str | bytes]) -> list[File]:
    return [File(name, text.encode() if isinstance(text, str) else text) for name, text in contents.items()]


def folder(
    contents: Mapping[str, str | bytes],
    format: Format | None = None,  # noqa: A002 - as the function it calls
    placeholders: Mapping[str, str] | None = None,
) -> Folder:
    return read_folder("m", files(contents), format=format, placeholders=placeholders)


def only(contents: Mapping[str, str | bytes], format: Format | None = None) -> Migration:  # noqa: A002 - as above
    (migration,) = folder(contents, format).migrations
    return migration


def mistakes(contents: Mapping[str, str | bytes], format: Format | None = None) -> list[str]:  # noqa: A002 - as above
    with pytest.raises(FolderError) as caught:
        folder(contents, format)
    return [str(problem) for problem in caught.value.problems]


def version(text: str | int) -> Version:
    return Version.parse(str(text))


def names(found: Folder) -> list[str]:
    return [migration.file.name for migration in found.migrations]


def history(found: Folder) -> list[Recorded]:
    return [row_of(migration) for migration in found.migrations]
