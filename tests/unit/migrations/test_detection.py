from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbinit.migrations.detection import detect
from dbinit.migrations.model import Format

from .kit import files, folder, mistakes, names

GOOSE = "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;\n"
DBMATE = "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2;\n"
FOLDERS: dict[Format, list[dict[str, str]]] = {
    Format.NATIVE: [
        {"001_a.sql": "SELECT 1"},
        {"001_a.sql": "SELECT 1", "001_a.down.sql": "SELECT 2"},
        {"20240101120000_a.sql": "-- dbinit: depends none\nSELECT 1"},
        {"001_a.sql": "SELECT 1", "repeatable_b.sql": "SELECT 1", "before_all.sql": "SELECT 1"},
    ],
    Format.GOLANG_MIGRATE: [{"1_a.up.sql": "SELECT 1", "1_a.down.sql": "SELECT 1"}, {"1_a.up.sql": "SELECT 1"}],
    Format.SQLX: [
        {"1_a.sql": "-- no-transaction\nSELECT 1", "2_b.sql": "SELECT 1"},
        {"1_a.sql": "SELECT 1", "2_b.up.sql": "-- no-transaction\nSELECT 1", "2_b.down.sql": "SELECT 1"},
        {"2_b.up.sql": "-- no-transaction\nSELECT 1", "2_b.down.sql": "SELECT 1"},
    ],
    Format.DBMATE: [{"1_a.sql": DBMATE}],
    Format.GOOSE: [{"1_a.sql": GOOSE}, {"1_a.sql": GOOSE.replace("-- ", "--").replace("goose Up", "goose up")}],
    Format.FLYWAY: [
        {"V1__a.sql": "SELECT 1"},
        {"V1_1__a.sql": "SELECT 1", "U1.1.0__a.sql": "SELECT 1", "R__b.sql": "SELECT 1"},
        {"sub/V1__a.sql": "SELECT 1"},
        {"B7__a.sql": "SELECT 1"},
    ],
}
FOREIGN = {
    "tern": {"001_a.sql": "SELECT 1;\n---- create above / drop below ----\nSELECT 2"},
    "sql-migrate": {"1_a.sql": "-- +migrate Up\nSELECT 1;\n-- +migrate Down\nSELECT 2;"},
    "yoyo": {"0001.a.sql": "SELECT 1", "0001.a.rollback.sql": "SELECT 2"},
    "pogo-migrate": {"20240101_01_a.sql": "-- migrate: apply\nSELECT 1;\n-- migrate: rollback\nSELECT 2"},
    "node-pg-migrate": {"1_a.sql": "-- Up Migration\nSELECT 1;\n-- Down Migration\nSELECT 2"},
    "Atlas": {"1_a.sql": "SELECT 1", "atlas.sum": ""},
    "Liquibase": {"1_a.sql": "--liquibase formatted sql\n--changeset a:1\nSELECT 1"},
    "refinery": {"V1__a.sql": "SELECT 1", "U2__b.sql": "SELECT 2"},
    "alembic": {"env.py": "", "versions/1_a.py": ""},
    "Prisma": {"1_a/migration.sql": "SELECT 1"},
    "sqitch": {"sqitch.plan": "", "deploy/a.sql": "SELECT 1"},
}


@pytest.mark.parametrize(
    ("expected", "contents"), [(owner, contents) for owner, cases in FOLDERS.items() for contents in cases]
)
def test_the_format_is_detected(expected: Format, contents: dict[str, str]) -> None:
    found = detect("m", files(contents))
    assert found.format is expected
    assert any(name in found.reason for name in contents)


@pytest.mark.parametrize("owner", FOREIGN)
def test_the_folder_of_a_tool_that_is_not_read_is_refused_by_name(owner: str) -> None:
    (found,) = mistakes(FOREIGN[owner])
    assert found.startswith(f"m: this is a folder of {owner} (")


@pytest.mark.parametrize(
    "contents",
    [
        {"1_a.sql": GOOSE, "2_b.sql": DBMATE},
        {"1_a.sql": GOOSE + "-- dbinit: down\n"},
        {"V1__a.sql": "SELECT 1", "2_b.up.sql": "SELECT 2"},
        {"1_a.sql": "-- no-transaction\nSELECT 1", "2_b.sql": "-- dbinit: no-transaction\nSELECT 1"},
        {"V1__a.sql": GOOSE},
        {"1_a.sql": "SELECT 1", "2_b.up.sql": "SELECT 1", "2_b.down.sql": "SELECT 1"},
    ],
)
def test_a_folder_that_fits_two_formats_is_refused_with_both(contents: dict[str, str]) -> None:
    (found,) = mistakes(contents)
    assert found.startswith("m: the folder fits more than one format: ")
    assert found.count(", as ") == 2


@pytest.mark.parametrize("contents", [{}, {"README.md": ""}, {"schema.sql": "SELECT 1"}, {"a/1_a.txt": ""}])
def test_a_folder_that_fits_no_format_is_refused(contents: dict[str, str]) -> None:
    (found,) = mistakes(contents)
    assert found.startswith(("m: it fits no format", "m: there is no file in it"))


def test_a_format_can_be_forced() -> None:
    contents = {"1_a.sql": "SELECT 1", "2_b.sql": "SELECT 2"}
    found = folder(contents, Format.SQLX)
    assert (found.format, found.reason, names(found)) == (Format.SQLX, "it was asked for", ["1_a.sql", "2_b.sql"])


@given(st.sampled_from([case for cases in FOLDERS.values() for case in cases]), st.randoms())
def test_the_order_of_the_listing_makes_no_difference(contents: dict[str, str], random: Random) -> None:
    shuffled = list(contents.items())
    random.shuffle(shuffled)
    assert folder(dict(shuffled)) == folder(contents)
