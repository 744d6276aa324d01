"""What the readers make of odd files is what the real tools make of them."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbinit.migrations.folder import read_folder
from dbinit.migrations.model import File, Folder, Format, Part
from dbinit.migrations.problems import FolderError
from tests.kit.stand_ins import Psql
from tests.kit.tools import DBMATE, SQLX, Program, ToolError
from tests.migrations.conftest import Database

_RUN = re.compile(r"^INSERT INTO ran VALUES \((\d+)\);", re.MULTILINE)
REFUSED = "refused"
Ran = list[int] | str
"""The numbers that were inserted, or that the folder was refused."""


@pytest.fixture
def database(theirs: Database) -> Psql:
    """A database with a table that tells what was run."""
    psql = Psql(theirs.url)
    psql.query("CREATE TABLE ran (number integer)")
    return psql


def by_the_tool(program: Program, database: Psql, folder: Path) -> tuple[Ran, Ran]:
    """Return what a tool runs to apply a folder and to take it back, in order."""
    database.query(f"TRUNCATE ran; DROP TABLE IF EXISTS {program.tables}")
    try:
        program.up(database.url, folder)
    except ToolError:
        return REFUSED, REFUSED
    up = database.query("SELECT number FROM ran; TRUNCATE ran")
    program.down(database.url, folder)
    return list(map(int, up)), list(map(int, database.query("SELECT number FROM ran")))


def by_reading(folder: Path, owner: Format) -> tuple[Ran, Ran]:
    """Return what dbinit would run, in order."""
    files = [File(file.name, file.read_bytes()) for file in folder.iterdir()]
    try:
        found = read_folder(str(folder), files, format=owner)
    except FolderError:
        return REFUSED, REFUSED
    return _numbers(found, down=False), _numbers(found, down=True)


def _numbers(folder: Folder, *, down: bool) -> list[int]:
    ups = [migration.up for migration in folder.migrations]
    downs = [migration.down for migration in reversed(folder.migrations) if migration.down]
    parts: list[Part] = downs if down else ups
    return [int(number) for part in parts for number in _RUN.findall(part.text)]


# --- dbmate: where its blocks begin and end ---------------------------------------------------------------------

MARKS = ["-- migrate:up", "-- migrate:down", "--migrate:up", "--\tmigrate:down"]
LIKE_MARKS = [
    *("-- migrate:up\r", "-- migrate:down\r", "-- migrate:up transaction:false", "-- migrate:down  transaction:false"),
    *(" -- migrate:down", "-- migrate:upgrade", "-- migrate:downwards", "-- migrate: up", "-- Migrate:up"),
    *("-- migrate:down, as it says", "-- migrate:down now", "-- migrate:up -- migrate:down", "--\x0bmigrate:up"),
    *("-- a comment", "", "\t", "/* a comment */", "-- not migrate:up", "-- migrate:up\x0b"),
]
STATEMENTS = [f"INSERT INTO ran VALUES ({number});" for number in range(1, 5)]


FILES = st.lists(st.one_of(*map(st.sampled_from, (MARKS, LIKE_MARKS, STATEMENTS))), max_size=7).map("\n".join)


@pytest.mark.skipif(not DBMATE.path, reason="dbmate is not installed")
def test_dbmate(database: Psql) -> None:
    @settings(max_examples=40, deadline=None)
    @given(FILES)
    def check(text: str) -> None:
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "1_a.sql").write_bytes(text.encode())
            assert by_reading(folder, Format.DBMATE) == by_the_tool(DBMATE, database, folder)

    check()


# --- sqlx: what the names of its files mean ---------------------------------------------------------------------


@pytest.mark.skipif(not SQLX.path, reason="sqlx is not installed")
@pytest.mark.parametrize(
    "names",
    [
        ["10_a.sql", "9_b.sql", "1_c.sql"],
        ["1_a.up.sql", "1_a.down.sql", "2_b.sql"],
        ["1_a.up.sql", "1_another.down.sql"],
        ["1_a.down.up.sql", "2_b.up.sql", "2_b.up.down.sql"],
        ["1_.up.sql", "1_.down.sql", "2_.sql", "3__a.sql", "4_up.sql", "5_down.sql"],
        ["+4_a.sql", "0_b.sql", "007_c.sql"],
        ["1_a.sql", "readme.sql", "2_b.SQL", "3.up.sql", "4_d.sql.up", "notes.txt"],
        ["1_a.sql.sql", "9223372036854775807_b.sql"],
        ["1_a.sql", "01_b.sql"],
        ["1_a.sql", "1_a.up.sql"],
        ["1_a.sql", "_b.sql"],
        ["1_a.sql", "b_2.sql"],
        ["1_a.sql", "2 _b.sql"],
        ["1_a.sql", "0x2_b.sql"],
        ["1_a.sql", "2.5_b.sql"],
        ["1_a.sql", "٢_b.sql"],
        ["1_a.sql", "9223372036854775808_b.sql"],
    ],
    ids=" ".join,
)
def test_sqlx(database: Psql, tmp_path: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (tmp_path / name).write_text(f"INSERT INTO ran VALUES ({number});\n")
    assert by_reading(tmp_path, Format.SQLX) == by_the_tool(SQLX, database, tmp_path)
