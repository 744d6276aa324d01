import hashlib
import zlib
from collections.abc import Mapping

import pytest

from dbinit.migrations.adoption import adopt
from dbinit.migrations.foreign import LAYOUTS, owner_of
from dbinit.migrations.history import State
from dbinit.migrations.model import Folder, Format, Kind
from dbinit.migrations.planner import plan_up
from dbinit.migrations.problems import PlanError

from .kit import folder

PAIRS = folder({f"{number}_m.{way}.sql": f"SELECT {number}" for number in (1, 2, 10) for way in ("up", "down")})
PLAIN = folder({f"{number:03}_m.sql": f"SELECT {number};\n" for number in (1, 2, 10)})

Row = Mapping[str, object]


def adopted(owner: Format, rows: list[Row], found: Folder = PLAIN) -> list[str]:
    return [f"{row.key} {row.state.value}" for row in adopt(owner, rows, found)]


def refusals(owner: Format, rows: list[Row], found: Folder = PLAIN) -> list[str]:
    with pytest.raises(PlanError) as caught:
        adopt(owner, rows, found)
    return list(caught.value.problems)


# --- whose table is it? -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "columns", "owner"),
    [
        ("schema_migrations", "version dirty", Format.GOLANG_MIGRATE),
        ("migrations_of_mine", "version dirty", Format.GOLANG_MIGRATE),
        ("schema_migrations", "version", Format.DBMATE),
        ("goose_db_version", "id version_id is_applied tstamp", Format.GOOSE),
        ("_sqlx_migrations", "version description installed_on success checksum execution_time", Format.SQLX),
        (
            "flyway_schema_history",
            "installed_rank version description type script checksum installed_by installed_on execution_time success",
            Format.FLYWAY,
        ),
        ("schema_migrations", "filename checksum applied_at", "pgdbm"),
        ("schema_version", "version", "tern"),
        ("alembic_version", "version_num", "alembic"),
        ("databasechangelog", "id author filename", "Liquibase"),
        ("_yoyo_migration", "migration_hash migration_id applied_at_utc", "yoyo"),
        ("pgmigrations", "id name run_on", "node-pg-migrate"),
        ("users", "id name", None),
        ("schema_migrations", "version inserted_at", None),
    ],
)
def test_a_table_is_told_by_its_columns(table: str, columns: str, owner: Format | str | None) -> None:
    assert owner_of(table, columns.split()) == owner


def test_each_layout_is_its_owners() -> None:
    assert {owner_of(layout.table, layout.columns) for layout in LAYOUTS.values()} == set(LAYOUTS)


# --- golang-migrate, dbmate, goose ------------------------------------------------------------------------------


def test_golang_migrate_says_how_far_it_came() -> None:
    rows: list[Row] = [{"version": 2, "dirty": False}]
    assert adopted(Format.GOLANG_MIGRATE, rows, PAIRS) == ["1 applied", "2 applied"]
    assert adopted(Format.GOLANG_MIGRATE, [], PAIRS) == []
    found = adopt(Format.GOLANG_MIGRATE, rows, PAIRS)
    assert found[0].down is not None
    assert found[0].down.text == "SELECT 1"
    assert [str(step.version) for step in plan_up(PAIRS, found).steps] == ["10"]


def test_a_dirty_version_and_one_without_a_file_are_refused() -> None:
    assert refusals(Format.GOLANG_MIGRATE, [{"version": 3, "dirty": True}], PAIRS) == [
        "migration 3 was applied, and has no file in m; put it back",
        ("golang-migrate left version 3 dirty; finish or undo by hand what it began, mend the row, and import again"),
    ]


def test_dbmate_has_a_row_for_each() -> None:
    assert adopted(Format.DBMATE, [{"version": "001"}, {"version": "10"}]) == ["1 applied", "10 applied"]
    assert refusals(Format.DBMATE, [{"version": "4"}, {"version": "5"}]) == [
        "migration 4 was applied, and has no file in m; put it back",
        "migration 5 was applied, and has no file in m; put it back",
    ]


def test_of_goose_the_last_row_about_a_version_counts() -> None:
    rows: list[Row] = [
        {"id": number, "version_id": version, "is_applied": is_applied}
        for number, (version, is_applied) in enumerate(
            [(0, True), (1, True), (2, True), (2, False), (10, False), (10, True)]
        )
    ]
    assert adopted(Format.GOOSE, rows) == ["1 applied", "10 applied"]


# --- sqlx -------------------------------------------------------------------------------------------------------


def sqlx_row(version: int, text: str, *, success: bool = True) -> Row:
    return {"version": version, "success": success, "checksum": hashlib.sha384(text.encode()).digest()}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_sqlx_compares_checksums_whatever_the_line_ends(end: str) -> None:
    assert adopted(Format.SQLX, [sqlx_row(1, f"SELECT 1;{end}")]) == ["1 applied"]


def test_sqlx_refusals() -> None:
    rows = [sqlx_row(1, "SELECT 'other'"), sqlx_row(2, "SELECT 'broken'", success=False), sqlx_row(3, "SELECT 3")]
    assert [problem.split(";")[0] for problem in refusals(Format.SQLX, rows)] == [
        "m/001_m.sql is not as it was applied",
        "migration 2 failed under sqlx",
        "migration 3 was applied, and has no file in m",
    ]


# --- Flyway -----------------------------------------------------------------------------------------------------

FLYWAY = folder(
    {
        "V1__a.sql": "SELECT 1;\n",
        "V2.1__b.sql": "SELECT 2;\nSELECT 3;\n",
        "V3__c.sql": "SELECT 4",
        "R__some_views.sql": "SELECT 5",
        "B2__base.sql": "SELECT 6",
    }
)


def flyway_row(
    version: str | None, text: str | None, kind: str = "SQL", *, success: bool = True, name: str = "x"
) -> Row:
    code = None if text is None else zlib.crc32(text.encode())
    checksum = code if code is None or code < 2**31 else code - 2**32
    return {
        "installed_rank": 1,
        "version": version,
        "description": name,
        "type": kind,
        "script": f"V{version}__{name}.sql",
        "checksum": checksum,
        "success": success,
    }


def test_flyway_has_a_row_for_each_run() -> None:
    rows = [
        flyway_row("1", "SELECT 1;"),
        flyway_row("2.1", "SELECT 2;SELECT 3;"),
        flyway_row(None, "SELECT 5", name="some views"),
        flyway_row("3", "SELECT 4"),
        flyway_row("3", None, "UNDO_SQL"),
    ]
    assert adopted(Format.FLYWAY, rows, FLYWAY) == ["1 applied", "2.1 applied", "R:some_views applied"]


def test_flyways_checksums_are_signed() -> None:
    texts = [f"SELECT {number}" for number in range(20)]
    signs = {zlib.crc32(text.encode()) < 2**31 for text in texts}
    assert signs == {True, False}
    for text in texts:
        found = folder({"V1__a.sql": f"{text}\r\n"})
        assert adopted(Format.FLYWAY, [flyway_row("1", text)], found) == ["1 applied"]


def test_flyways_baseline_covers_what_is_older() -> None:
    rows = [flyway_row("0", None, "SCHEMA"), flyway_row("2.1", None, "BASELINE"), flyway_row("3", "SELECT 4")]
    assert adopted(Format.FLYWAY, rows, FLYWAY) == ["1 baseline", "2.1 baseline", "3 applied"]


def test_flyways_baseline_migration() -> None:
    (found,) = adopt(Format.FLYWAY, [flyway_row("2", "SELECT 6", "SQL_BASELINE")], FLYWAY)
    assert (found.key, found.kind, found.state) == ("B:2", Kind.BASELINE, State.APPLIED)
    assert [step.name for step in plan_up(FLYWAY, [found]).steps] == ["b", "c", "some_views"]


def test_a_repeatable_one_that_was_edited_since_will_run() -> None:
    rows = [flyway_row(None, "SELECT 'before'", name="some views")]
    assert adopted(Format.FLYWAY, rows, FLYWAY) == []


def test_flyway_refusals() -> None:
    rows = [
        flyway_row("1", "SELECT 'other'"),
        flyway_row("3", "SELECT 'broken'", success=False),
        flyway_row("4", None, "JDBC"),
        flyway_row("5", None),
        flyway_row("5", None, "DELETE"),
    ]
    assert [problem.split(";")[0] for problem in refusals(Format.FLYWAY, rows, FLYWAY)] == [
        "V3__x.sql failed under Flyway",
        "m/V1__a.sql is not as it was applied",
        "migration 4 was applied, and has no file in m",
    ]


def test_a_history_that_names_no_versions_is_refused() -> None:
    problem = ["in its history, 'create_users.sql' is not a version; a version is a number such as 007"]
    assert refusals(Format.DBMATE, [{"version": "create_users.sql"}]) == problem
    for kind in ("SQL", "BASELINE"):
        assert refusals(Format.FLYWAY, [flyway_row("create_users.sql", None, kind)], FLYWAY) == problem
