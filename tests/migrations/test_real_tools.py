"""Folders of other tools: dbinit does what the tool does, and goes on where the tool has stopped."""

import shutil
from pathlib import Path

import pytest

from tests.kit.process import Finished, run_dbinit
from tests.kit.stand_ins import Flyway
from tests.kit.tools import SQLX, Tool, ToolError
from tests.migrations.conftest import FLYWAY, FOLDERS, HOOKS, Database, folder_of, skip_without

LATER = (
    *("views_and_rules", "odd_names", "comments", "partitions", "settings_of_the_transaction", "windows"),
    *("price_index", "last", "R__"),
)
"""What the names of the second half contain."""


def copy(tool: Tool, path: Path, *, without: tuple[str, ...] = ()) -> Path:
    """Copy a tool's folder, without the files whose names contain one of those words."""
    ignore = shutil.ignore_patterns(*(f"*{word}*" for word in without))
    return Path(shutil.copytree(folder_of(tool), path / tool.name, ignore=ignore))


def only_file(folder: Path, name: str) -> Path:
    """Return the file of a folder that applies the migration of a name."""
    files = (file for file in folder.rglob(f"*{name}*.sql") if not file.name.startswith("U"))
    (found,) = (file for file in files if not file.name.endswith(".down.sql"))
    return found


def dbinit(*words: str, folder: Path, url: str) -> Finished:
    """Run dbinit on a folder."""
    values = ["--placeholder", "second_genre=essay"] if folder.name == "flyway" else []
    return run_dbinit(*words, "--path", str(folder), "--url", url, *values)


def succeed(*words: str, folder: Path, url: str) -> None:
    done = dbinit(*words, folder=folder, url=url)
    assert done.code == 0, done.said


# --- dbinit does the same ---------------------------------------------------------------------------------------


def test_up_is_what_the_tool_makes_of_it(tool: Tool, theirs: Database, ours: Database) -> None:
    tool.up(theirs.url, folder_of(tool))
    succeed("up", folder=folder_of(tool), url=ours.url)
    assert ours.dump(tool) == theirs.dump(tool)


def test_down_leaves_nothing_and_up_makes_it_anew(tool: Tool, theirs: Database, ours: Database, empty: str) -> None:
    tool.up(theirs.url, folder_of(tool))
    if tool.name != "flyway":  # which would not bring back what its repeatable migrations had made
        tool.down(theirs.url, folder_of(tool))
        tool.up(theirs.url, folder_of(tool))
    succeed("up", folder=folder_of(tool), url=ours.url)
    succeed("down", "--to", "0", folder=folder_of(tool), url=ours.url)
    assert ours.dump(tool, HOOKS) == empty
    succeed("up", folder=folder_of(tool), url=ours.url)
    assert ours.dump(tool, HOOKS) == theirs.dump(tool, HOOKS)


def test_up_of_migrations_that_cannot_be_taken_back(theirs: Database, ours: Database) -> None:
    skip_without(SQLX)
    SQLX.up(theirs.url, FOLDERS / "sqlx-simple")
    succeed("up", folder=FOLDERS / "sqlx-simple", url=ours.url)
    assert ours.dump(SQLX) == theirs.dump(SQLX)
    refused = dbinit("down", "--to", "0", folder=FOLDERS / "sqlx-simple", url=ours.url)
    assert refused.code != 0
    assert "irreversible" in refused.said
    assert ours.dump(SQLX) == theirs.dump(SQLX)


def test_up_begins_with_a_baseline_migration(theirs: Database, ours: Database) -> None:
    folder = FOLDERS / "flyway-baseline"
    flyway = Flyway("flyway", "flyway_schema_history", FOLDERS / "flyway-baseline.toml")
    flyway.up(theirs.url, folder)
    succeed("up", folder=folder, url=ours.url)
    assert ours.dump(flyway) == theirs.dump(flyway)
    succeed("import", folder=folder, url=theirs.url)
    succeed("up", folder=folder, url=theirs.url)
    assert ours.dump(flyway) == theirs.dump(flyway)


# --- from the tool to dbinit ------------------------------------------------------------------------------------


@pytest.fixture
def whole(tool: Tool, theirs: Database) -> str:
    """What the tool makes of its whole folder."""
    tool.up(theirs.url, folder_of(tool))
    return theirs.dump(tool, HOOKS)


def test_dbinit_goes_on_where_the_tool_has_stopped(tool: Tool, whole: str, ours: Database, tmp_path: Path) -> None:
    tool.up(ours.url, copy(tool, tmp_path, without=LATER))
    succeed("import", folder=folder_of(tool), url=ours.url)
    succeed("up", folder=folder_of(tool), url=ours.url)
    assert ours.dump(tool, HOOKS) == whole


def test_dbinit_takes_back_what_the_tool_has_applied(tool: Tool, ours: Database, empty: str) -> None:
    tool.up(ours.url, folder_of(tool))
    succeed("import", folder=folder_of(tool), url=ours.url)
    succeed("down", "--to", "0", folder=folder_of(tool), url=ours.url)
    assert ours.dump(tool, HOOKS) == empty


def test_nothing_is_left_to_do_behind_an_import_of_everything(tool: Tool, whole: str, theirs: Database) -> None:
    succeed("import", folder=folder_of(tool), url=theirs.url)
    succeed("up", folder=folder_of(tool), url=theirs.url)
    assert theirs.dump(tool, HOOKS) == whole


def test_an_import_takes_the_line_ends_of_any_checkout(tool: Tool, ours: Database, tmp_path: Path) -> None:
    tool.up(ours.url, folder_of(tool))
    folder = copy(tool, tmp_path)
    for file in folder.rglob("*.sql"):
        file.write_bytes(file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    succeed("import", folder=folder, url=ours.url)


def test_pairs_are_whose_history_there_is(ours: Database, theirs: Database, tmp_path: Path) -> None:
    """Without a mark of sqlx's, its pairs look like those of golang-migrate, which are more common."""
    skip_without(SQLX)
    folder = copy(SQLX, tmp_path, without=("_index",))
    for file in folder.glob("*.sql"):
        file.write_bytes(file.read_bytes().removeprefix(b"-- no-transaction"))
    SQLX.up(theirs.url, folder)
    half = shutil.copytree(folder, tmp_path / "half", ignore=shutil.ignore_patterns(*(f"*{word}*" for word in LATER)))
    SQLX.up(ours.url, Path(half))
    refused = dbinit("up", folder=folder, url=ours.url)
    assert "of sqlx), and dbinit has none" in refused.said
    succeed("import", folder=folder, url=ours.url)
    succeed("up", folder=folder, url=ours.url)
    assert ours.dump(SQLX) == theirs.dump(SQLX)


# --- histories that cannot be taken over ------------------------------------------------------------------------


def refuse_import(folder: Path, url: str, *words: str) -> None:
    refused = dbinit("import", folder=folder, url=url)
    assert refused.code == 4, refused.said
    for word in words:
        assert word in refused.said


def test_an_import_behind_a_failure(tool: Tool, whole: str, ours: Database, tmp_path: Path) -> None:
    """Where the tool remembers that a migration has failed, somebody has to look; else dbinit goes on."""
    broken = copy(tool, tmp_path)
    file = only_file(broken, "price_index")
    file.write_text(file.read_text().replace("(price, isbn)", "(price, no_such_column)"))
    with pytest.raises(ToolError, match="no_such_column"):
        tool.up(ours.url, broken)
    if tool.name in {"golang-migrate", "flyway"}:
        refuse_import(folder_of(tool), ours.url, "finish or undo by hand what it began")
        return
    succeed("import", folder=folder_of(tool), url=ours.url)
    succeed("up", folder=folder_of(tool), url=ours.url)
    assert ours.dump(tool, HOOKS) == whole


def test_no_import_without_the_file_of_what_was_applied(tool: Tool, ours: Database, tmp_path: Path) -> None:
    tool.up(ours.url, copy(tool, tmp_path / "half", without=LATER))
    refuse_import(copy(tool, tmp_path, without=("seeds",)), ours.url, "has no file")


@pytest.mark.parametrize("tool", [SQLX, FLYWAY], indirect=True)
def test_no_import_of_what_was_edited(tool: Tool, ours: Database, tmp_path: Path) -> None:
    tool.up(ours.url, folder_of(tool))
    edited = copy(tool, tmp_path)
    file = only_file(edited, "seeds")
    file.write_text(file.read_text().replace("Ursula", "Ursel"))
    refuse_import(edited, ours.url, file.name, "is not as it was applied")
