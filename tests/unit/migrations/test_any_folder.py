"""Whatever is in a folder, it is read or refused, and what takes back is never part of what applies."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbinit.migrations.folder import read_folder
from dbinit.migrations.model import File, Folder, Format
from dbinit.migrations.problems import FolderError

MARKS = [
    "-- dbinit: down",
    "-- dbinit: no-transaction",
    "-- dbinit: depends 2",
    "-- migrate:up",
    "-- migrate:down",
    "-- migrate:up transaction:false",
    "-- +goose Up",
    "-- +goose Down",
    "-- +goose StatementBegin",
    "-- +goose StatementEnd",
    "-- no-transaction",
    "--",
    "",
    "/* ${x}",
]
LINES = st.lists(st.sampled_from([*MARKS, "SELECT 1;", "\tSELECT 'é'"]), max_size=8)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
DATA = st.one_of(st.builds(lambda lines, end: end.join(lines).encode(), LINES, ENDS), st.binary(max_size=20))
USUAL = """
1_a.sql 2_b.sql 9.sql 1_a.up.sql 1_a.down.sql 1_a.go before_all.sql repeatable_x.sql
V1__a.sql V1__a.sql.conf U1__a.sql R__b.sql B1__b.sql sub/V2__c.sql afterMigrate.sql
"""
NAMES = st.one_of(st.sampled_from(USUAL.split()), st.text(alphabet="1_a.VUR/sqldownup", max_size=12))
FILES = st.dictionaries(NAMES, DATA, max_size=5).map(lambda found: [File(*item) for item in found.items()])


def read(files: list[File], format: Format | None) -> Folder | None:  # noqa: A002 - as the function it calls
    with suppress(FolderError):
        return read_folder("m", files, format=format)
    return None


@pytest.mark.parametrize("format", [None, *Format])
@given(files=FILES)
def test_a_folder_is_read_or_refused(files: list[File], format: Format | None) -> None:  # noqa: A002 - as above
    found = read(files, format)
    if found is None:
        return
    keys = [migration.key for migration in (*found.migrations, *found.baselines)]
    assert keys
    assert len(set(keys)) == len(keys)
    for migration in found.migrations:
        lines = migration.file.data.decode("utf-8-sig").splitlines()
        shown = migration.up.text.splitlines()
        assert all(line in {"", lines[place]} for place, line in enumerate(shown))


DOWN = {
    Format.NATIVE: "SELECT 'up';\n-- dbinit: down\nSELECT 'down';\n",
    Format.DBMATE: "-- migrate:up\nSELECT 'up';\n-- migrate:down\nSELECT 'down';\n",
    Format.GOOSE: "-- +goose Up\nSELECT 'up';\n-- +goose Down\nSELECT 'down';\n",
}


@pytest.mark.parametrize("format", DOWN)
@given(place=st.integers(0, 4), line=st.sampled_from([*MARKS, "SELECT 1;"]), end=ENDS)
@example(place=2, line="", end="\r\n")
def test_what_takes_back_is_never_applied(format: Format, place: int, line: str, end: str) -> None:  # noqa: A002 - as above
    lines = DOWN[format].splitlines()
    lines.insert(place, line)
    found = read([File("1_a.sql", end.join(lines).encode())], format)
    if found is not None:
        (migration,) = found.migrations
        assert "'down'" not in migration.up.text
        assert migration.down is None or "'up'" not in migration.down.text
