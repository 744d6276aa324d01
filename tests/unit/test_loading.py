"""A folder on disk: which of its files are read, and each of them once."""

from pathlib import Path

import pytest

from dbinit.errors import SourceError
from dbinit.migrations.problems import FolderError
from dbinit.runner.loading import load_folder


def write(folder: Path, *names: str) -> None:
    for name in names:
        folder.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        folder.joinpath(name).write_text(f"SELECT '{name}';")


def loaded(folder: Path) -> list[str]:
    return [migration.up.path for migration in load_folder(folder, None, {}).migrations]


def test_hidden_files_and_what_is_below_hidden_folders_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "001_a.sql", ".002_b.sql", ".git/003_c.sql")
    assert loaded(tmp_path) == [f"{tmp_path}/001_a.sql"]


def test_files_below_have_the_names_of_their_folders(tmp_path: Path) -> None:
    write(tmp_path, "V1__a.sql", "later/deep/V3__c.sql", "later/V2__b.sql")
    names = ["V1__a.sql", "later/V2__b.sql", "later/deep/V3__c.sql"]
    assert loaded(tmp_path) == [f"{tmp_path}/{name}" for name in names]


def test_a_mounted_config_map_has_each_file_once(tmp_path: Path) -> None:
    write(tmp_path, "..2026_01_01/001_a.sql", "..2026_01_01/002_b.sql")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    for name in ("001_a.sql", "002_b.sql"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    assert loaded(tmp_path) == [f"{tmp_path}/001_a.sql", f"{tmp_path}/002_b.sql"]


def test_of_a_file_and_links_to_it_the_first_name_counts(tmp_path: Path) -> None:
    write(tmp_path, "002_b.sql")
    (tmp_path / "001_a.sql").symlink_to("002_b.sql")
    (tmp_path / "003_c.sql").symlink_to("002_b.sql")
    assert loaded(tmp_path) == [f"{tmp_path}/001_a.sql"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", "001_a.sql")
    (tmp_path / "real" / "002_b.sql").symlink_to("001_a.sql")
    (tmp_path / "link").symlink_to("real")
    assert loaded(tmp_path / "link") == [f"{tmp_path}/link/001_a.sql"]


def test_links_to_folders_are_not_followed_and_broken_ones_are_nothing(tmp_path: Path) -> None:
    write(tmp_path / "outside", "V2__b.sql")
    write(tmp_path / "folder", "V1__a.sql")
    (tmp_path / "folder" / "more").symlink_to(tmp_path / "outside")
    (tmp_path / "folder" / "V3__c.sql").symlink_to("nowhere.sql")
    assert loaded(tmp_path / "folder") == [f"{tmp_path}/folder/V1__a.sql"]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "secret.sql", "folder/001_a.sql")
    (tmp_path / "folder" / "002_b.sql").symlink_to("../secret.sql")
    with pytest.raises(SourceError, match=r"folder/002_b\.sql leads out of the folder, to .*/secret\.sql"):
        load_folder(tmp_path / "folder", None, {})


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none cannot be read: No such file or directory"):
        load_folder(tmp_path / "none", None, {})


def test_a_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="there is no file in it"):
        load_folder(tmp_path, None, {})
