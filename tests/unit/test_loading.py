"""Reading a folder from disk while somebody writes to it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dbinit.errors import SourceError
from dbinit.runner.loading import load_folder
from tests.kit.configmap import mount, update

FIRST, SECOND = "001_one.sql", "002_two.sql"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name in (FIRST, SECOND):
        (folder / name).write_bytes(b"SELECT 1;")
        os.utime(folder / name, ns=(0, 0))
    os.utime(folder, ns=(0, 0))
    return folder


def lengthen(folder: Path) -> Path:
    with (folder / SECOND).open("ab") as file:
        file.write(b" SELECT 2;")
    return folder / SECOND


def lengthen_behind_the_times(folder: Path) -> Path:
    file = lengthen(folder)
    os.utime(file, ns=(0, 0))
    return file


def rewrite(folder: Path) -> Path:
    (folder / SECOND).write_bytes(b"SELECT 2;")
    return folder / SECOND


def replace(folder: Path) -> Path:
    other = folder.with_name("other.sql")
    other.write_bytes(b"SELECT 3;")
    other.replace(folder / FIRST)
    return folder


@pytest.mark.parametrize("change", [lengthen, lengthen_behind_the_times, rewrite, replace])
def test_what_is_changed_while_it_is_read_is_named(
    change: Callable[[Path], Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, changed = os.read, list[Path]()

    def meddle(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        if not changed and os.path.samestat(os.fstat(descriptor), (folder / SECOND).stat()):
            changed.append(change(folder))
        return data

    monkeypatch.setattr(os, "read", meddle)
    with pytest.raises(SourceError) as caught:
        load_folder(folder, None, {})
    assert caught.value.message == f"{changed[0]} was changed while it was read"

    monkeypatch.undo()
    assert len(load_folder(folder, None, {}).migrations) == len((FIRST, SECOND))


def test_a_configmap_is_read_in_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = ({name: f"SELECT {number};".encode() for name in (FIRST, SECOND)} for number in (1, 2))
    folder, read, switched = mount(tmp_path, old), os.read, list[int]()

    def switch(descriptor: int, size: int) -> bytes:
        if not switched:
            switched.append(size)
            update(folder, new)
        return read(descriptor, size)

    assert texts(folder) == list(old.values())
    monkeypatch.setattr(os, "read", switch)
    with pytest.raises(SourceError, match="was changed while it was read"):
        load_folder(folder, None, {})
    assert texts(folder) == list(new.values())


def texts(folder: Path) -> list[bytes]:
    return [migration.up.text.encode() for migration in load_folder(folder, None, {}).migrations]


@pytest.mark.parametrize("leads_out", ["a file", "a file in a folder"])
def test_a_link_that_leads_out_of_the_folder_is_refused(leads_out: str, folder: Path) -> None:
    outside = folder.with_name("outside")
    outside.mkdir()
    (outside / "003_secret.sql").write_bytes(b"SELECT 'secret';")
    place = folder if leads_out == "a file" else folder / "below"
    place.mkdir(exist_ok=True)
    (place / "003_secret.sql").symlink_to(outside / "003_secret.sql")

    with pytest.raises(SourceError, match="leads out of the folder"):
        load_folder(folder, None, {})


def test_a_linked_folder_is_not_looked_into(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    outside = folder.with_name("outside")
    outside.mkdir()
    (outside / "003_secret.sql").write_bytes(b"SELECT 'secret';")
    (folder / "below").symlink_to(outside)

    assert len(load_folder(folder, None, {}).migrations) == len((FIRST, SECOND))
    assert caplog.messages == [f"{folder / 'below'} is a link to a folder, which is not looked into"]


def test_whatever_bytes_a_folder_is_called_by_its_files_can_be_told(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"fo\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the names of this file system are UTF-8")
    (folder / FIRST).write_bytes(b"SELECT 1;")
    (migration,) = load_folder(folder, None, {}).migrations
    assert migration.up.path.encode().endswith(rb"fo\udce9/001_one.sql")
