"""The formats of other tools, each by the rules of its owner."""

import pytest

from dbinit.migrations.model import Format, Hook, Kind, Migration, Transaction
from dbinit.source import checksum

from .kit import folder, mistakes, names, only


def statements(migration: Migration, *, down: bool = False) -> list[str]:
    part = migration.down if down else migration.up
    assert part is not None
    return [line for line in part.text.splitlines() if line and not line.startswith("--")]


# --- golang-migrate ---------------------------------------------------------------------------------------------


def test_golang_migrate_pairs() -> None:
    found = folder(
        {
            "2_b.up.sql": "SELECT 2",
            "2_b.down.sql": "SELECT -2",
            "0010_c.d.up.sql": "",
            f"{2**64 - 1}_e.up.sql": "SELECT 3",
            "1_.up.sql": "SELECT 1",
            "notes.up.sql": "SELECT 'passed over'",
        }
    )
    assert names(found) == ["1_.up.sql", "2_b.up.sql", "0010_c.d.up.sql", f"{2**64 - 1}_e.up.sql"]
    assert [migration.name for migration in found.migrations] == ["", "b", "c.d", "e"]
    assert statements(found.migrations[1], down=True) == ["SELECT -2"]
    assert found.migrations[1].up.transaction is Transaction.BY_CONTENT
    assert found.migrations[1].checksum == checksum(b"SELECT 2")


@pytest.mark.parametrize(
    ("contents", "mistake"),
    [
        ({"1_a.up.sql": "", "01_b.up.sql": ""}, "m/1_a.up.sql: this has the same version (1) as m/01_b.up.sql"),
        ({"1_a.up.sql": "", "1_a.up.sql~": ""}, "m/1_a.up.sql~: this has the same version (1) as m/1_a.up.sql"),
        ({"1_a.up.sql": "", "2_b.down.sql": ""}, "m/2_b.down.sql: this takes back a migration whose own file"),
        ({f"{2**64}_a.up.sql": ""}, f"m/{2**64}_a.up.sql: version {2**64} has more than 64 bits"),
    ],
)
def test_golang_migrate_mistakes(contents: dict[str, str], mistake: str) -> None:
    (found,) = mistakes(contents)
    assert found.startswith(mistake)


# --- sqlx -------------------------------------------------------------------------------------------------------


def test_sqlx() -> None:
    found = folder(
        {
            "20240101_a_b.sql": "SELECT 1",
            "3_c.up.sql": "-- no-transaction, as it is long\nSELECT 3",
            "3_c.down.sql": "SELECT -3",
            "readme.sql": "passed over: no underscore",
            "4_d.txt": "passed over",
        }
    )
    assert found.format is Format.SQLX
    assert names(found) == ["3_c.up.sql", "20240101_a_b.sql"]
    first, second = found.migrations
    assert (first.up.transaction, second.up.transaction) == (Transaction.NO, Transaction.YES)
    assert (first.name, second.name) == ("c", "a_b")
    assert first.down is not None
    assert first.down.transaction is Transaction.YES
    assert second.down is None


def test_sqlx_wants_its_mark_at_the_very_beginning() -> None:
    for text in ("\n-- no-transaction\nSELECT 1", "\ufeff-- no-transaction\nSELECT 1", "--no-transaction\nSELECT 1"):
        assert only({"1_a.sql": text}, Format.SQLX).up.transaction is Transaction.YES


@pytest.mark.parametrize(
    ("contents", "mistake"),
    [
        ({"x_a.sql": "SELECT 1"}, "m/x_a.sql: 'x' is not a version"),
        ({f"{2**63}_a.sql": "SELECT 1"}, f"m/{2**63}_a.sql: {2**63} is no version of sqlx's"),
        ({"1.2_a.sql": "SELECT 1"}, "m/1.2_a.sql: 1.2 is no version of sqlx's"),
        ({"1_a.sql": "SELECT 1", "1_a.up.sql": "SELECT 1"}, "m/1_a.up.sql: this has the same version (1) as m/1_a.sql"),
    ],
)
def test_sqlx_mistakes(contents: dict[str, str], mistake: str) -> None:
    (found,) = mistakes(contents, Format.SQLX)
    assert found.startswith(mistake)


# --- dbmate -----------------------------------------------------------------------------------------------------


def test_dbmate() -> None:
    text = "-- a table\n\n-- migrate:up\nSELECT 1;\n-- not migrate:down\nSELECT 2;\n--  migrate:down\nSELECT 3;\n"
    found = only({"20240101_a.sql": text})
    assert statements(found) == ["SELECT 1;", "SELECT 2;"]
    assert statements(found, down=True) == ["SELECT 3;"]
    assert found.up.text.splitlines()[3] == "SELECT 1;"
    assert found.up.transaction is Transaction.YES
    assert found.name == "a"


def test_dbmate_passes_over_a_down_above_the_first_up() -> None:
    found = only({"1_a.sql": "-- migrate:down\n-- why\n-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2;\n"})
    assert statements(found) == ["SELECT 1;"]
    assert statements(found, down=True) == ["SELECT 2;"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", Transaction.YES),
        (" transaction:false", Transaction.NO),
        (" foo:bar transaction:false  ", Transaction.NO),
        ("\ttransaction:false\r", Transaction.NO),
        (" transaction:true", Transaction.YES),
        (" transaction: false", Transaction.YES),
        (" transaction:false transaction:true", Transaction.YES),
    ],
)
def test_dbmate_options(options: str, expected: Transaction) -> None:
    found = only({"1_a.sql": f"-- migrate:up{options}\nSELECT 1;\n-- migrate:down\n"})
    assert found.up.transaction is expected
    assert found.down is not None
    assert found.down.transaction is Transaction.YES


def test_dbmate_several_blocks_run_in_order_and_are_taken_back_last_first() -> None:
    blocks = ((1, ""), (2, " transaction:false"))
    text = "".join(f"-- migrate:up{x}\nSELECT {i};\n-- migrate:down\nSELECT -{i};\n" for i, x in blocks)
    found = only({"1_a.sql": text})
    assert statements(found) == ["SELECT 1;", "SELECT 2;"]
    assert found.up.text.splitlines()[5] == "SELECT 2;"
    assert statements(found, down=True) == ["SELECT -2;", "SELECT -1;"]
    assert found.up.transaction is Transaction.NO
    assert found.down is not None
    assert found.down.transaction is Transaction.YES


@pytest.mark.parametrize(
    ("contents", "mistake"),
    [
        ({"1_a.sql": "SELECT 1"}, "m/1_a.sql: dbmate wants -- migrate:up and -- migrate:down in it"),
        ({"1_a.sql": "-- migrate:upwards\n"}, "m/1_a.sql: dbmate wants"),
        ({"1_a.sql": "-- migrate:up\nSELECT 1"}, "m/1_a.sql: dbmate wants"),
        ({"1_a.sql": "-- migrate:down\n-- migrate:up\n"}, "m/1_a.sql: dbmate wants"),
        ({"1_a.sql": "-- migrate:down\nSELECT 1;\n-- migrate:up\n-- migrate:down\n"}, "m/1_a.sql: there is SQL above"),
        ({"1_a.sql": "-- migrate:up\n-- migrate:down\n-- migrate:down\n"}, "m/1_a.sql:3:1: dbmate wants"),
        ({"1_a.sql": "SELECT 1;\n-- migrate:up\n-- migrate:down\n"}, "m/1_a.sql: there is SQL above -- migrate:up"),
        (
            {f"{number}_a.sql": "-- migrate:up\n-- migrate:down\n" for number in (9, 10)},
            "m/9_a.sql: dbmate runs it behind m/10_a.sql",
        ),
    ],
)
def test_dbmate_mistakes(contents: dict[str, str], mistake: str) -> None:
    (found,) = mistakes(contents, Format.DBMATE)
    assert found.startswith(mistake)


# --- goose ------------------------------------------------------------------------------------------------------

FUNCTION = "CREATE FUNCTION f() RETURNS int AS $$\nBEGIN\n  RETURN 1;\nEND $$ LANGUAGE plpgsql;\n"


def test_goose() -> None:
    text = (
        f"\n-- comment\n--+goose up\n-- +goose StatementBegin\n{FUNCTION}-- +goose STATEMENTEND\nSELECT 1;\n"
        "-- +goose Down\n-- +goose ENVSUB OFF\nSELECT 2;\n"
    )
    found = only({"00001_a.sql": text})
    assert statements(found) == [*FUNCTION.splitlines(), "SELECT 1;"]
    assert statements(found, down=True) == ["SELECT 2;"]
    assert found.down is not None
    assert found.down.text.splitlines()[12] == "SELECT 2;"
    assert found.up.transaction is Transaction.YES


@pytest.mark.parametrize("text", ["{mark}-- +goose Up\nSELECT 1;", "-- +goose Up\nSELECT 1;\n-- +goose Down\n{mark}"])
def test_goose_without_a_transaction_wherever_that_stands(text: str) -> None:
    found = only({"1_a.sql": text.format(mark="-- +goose NO TRANSACTION\n")})
    assert found.up.transaction is Transaction.NO
    assert found.down is None or found.down.transaction is Transaction.NO


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("SELECT 1;", ": there is no -- +goose Up in it"),
        ("SELECT 1;\n-- +goose Up\n", ":2:1: there is SQL above"),
        ("-- +goose Down\n", ":1:1: Down comes once"),
        ("-- +goose Up\n-- +goose Up\n", ":2:1: Up comes once"),
        ("-- +goose Up\n-- +goose Down\n-- +goose Down\n", ":3:1: Down comes once"),
        ("-- +goose Up\n-- +goose StatementBegin\n-- +goose Down\n-- +goose StatementEnd", ":3:1: Down comes once"),
        ("-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n", ":4:1: StatementEnd is missing"),
        ("-- +goose Up\n-- +goose StatementEnd\n", ":2:1: StatementEnd comes behind"),
        ("-- +goose Up\n  -- +goose Down\n", ":2:3: a mark begins at the beginning"),
        ("-- +goose Up\n-- +goose Sideways\n", ":2:1: goose knows no mark 'Sideways'"),
        ("-- +goose Up\n-- as +goose Up says\n", ":2:1: goose knows no mark 'as  Up says'"),
        ("-- +goose Up\n-- +goose ENVSUB ON\nSELECT '$X';", ":2:1: goose would put variables"),
    ],
)
def test_goose_mistakes(text: str, mistake: str) -> None:
    (found,) = mistakes({"1_a.sql": text}, Format.GOOSE)
    assert found.removeprefix("m/1_a.sql").startswith(mistake)


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("2_b.go", "this is a migration in Go"),
        ("seed.sql", "goose finds no version"),
        ("x_b.sql", "'x' is not a version"),
        ("0_b.sql", "0 is no version of goose's"),
        ("001_b.sql", "this has the same version (1)"),
    ],
)
def test_goose_names(name: str, mistake: str) -> None:
    text = "-- +goose Up\nSELECT 1;"
    found = mistakes({"1_a.sql": text, name: text, "2_b_test.go": ""})
    assert len(found) == 1
    assert mistake in found[0]


# --- Flyway -----------------------------------------------------------------------------------------------------


def test_flyway() -> None:
    found = folder(
        {
            "V2__b.sql": "SELECT 2",
            "V1_1__a.sql": "SELECT 1",
            "sub/V10__c.sql": "SELECT 10",
            "U2__b.sql": "SELECT -2",
            "R__views.sql": "SELECT 3",
            "R__a_view.sql": "SELECT 3",
            "B2__base.sql": "SELECT 0",
            "beforeMigrate.sql": "SELECT 'before'",
            "afterEachMigrate__one.sql": "SELECT 'after'",
            "afterEachMigrate__two.sql": "SELECT 'after'",
            "V10.sql.bak": "",
            "README.sql": "passed over",
        }
    )
    assert names(found) == ["V1_1__a.sql", "V2__b.sql", "sub/V10__c.sql", "R__a_view.sql", "R__views.sql"]
    assert [migration.key for migration in found.migrations] == ["1.1", "2", "10", "R:a_view", "R:views"]
    assert [migration.key for migration in found.baselines] == ["B:2"]
    assert found.baselines[0].kind is Kind.BASELINE
    assert statements(found.migrations[1], down=True) == ["SELECT -2"]
    assert {hook: len(parts) for hook, parts in found.hooks.items()} == {Hook.BEFORE_ALL: 1, Hook.AFTER_EACH: 2}


def test_flyway_conf() -> None:
    found = folder(
        {
            "V1__a.sql": "SELECT '${x}'",
            "V1__a.sql.conf": "# why\nexecuteInTransaction=false\r\nplaceholderReplacement = false\n",
            "V2__b.sql": "SELECT 1",
        }
    )
    assert [migration.up.transaction for migration in found.migrations] == [Transaction.NO, Transaction.BY_CONTENT]
    assert statements(found.migrations[0]) == ["SELECT '${x}'"]


def test_flyway_placeholders() -> None:
    contents = {"V1__a.sql": "SELECT '${Role}', '$1', '${role}'", "R__b.sql": "SELECT '${role}'"}
    one, other = (folder(contents, placeholders={"ROLE": value}) for value in ("app", "web"))
    assert statements(one.migrations[0]) == ["SELECT 'app', '$1', 'app'"]
    assert one.migrations[0].checksum == other.migrations[0].checksum
    assert one.migrations[1].checksum != other.migrations[1].checksum


@pytest.mark.parametrize(
    ("contents", "mistake"),
    [
        (
            {"V1__a.sql": "SELECT\n '${x}'"},
            "m/V1__a.sql:2:3: there is no value for the placeholder ${x}; give it one with --placeholder",
        ),
        ({"V1__a.sql": "SELECT '${x"}, "m/V1__a.sql:1:9: there is no value for the placeholder ${x"),
        ({"V1__a.sql": "", "V1.0__b.sql": ""}, "m/V1__a.sql: this has the same version (1) as m/V1.0__b.sql"),
        ({"V1__a.sql": "", "x/R__b.sql": "", "y/R__b.sql": ""}, "m/y/R__b.sql: this has the same name as m/x/R__b.sql"),
        ({"V1__a.sql": "", "V2_b.sql": ""}, "m/V2_b.sql: Flyway would pass over this name"),
        ({"V1__a.sql": "", "beforeRepeatables.sql": ""}, "m/beforeRepeatables.sql: Flyway would run this callback"),
        ({"V1__a.sql": "", "V1__a.sql.conf": "shouldExecute=x"}, "m/V1__a.sql.conf:1:1: shouldExecute=x is nothing"),
        ({"V1__a.sql": "", "V1__a.sql.conf": "\nwhat"}, "m/V1__a.sql.conf:2:1: what= is nothing"),
    ],
)
def test_flyway_mistakes(contents: dict[str, str], mistake: str) -> None:
    (found,) = mistakes(contents)
    assert found.startswith(mistake)


@pytest.mark.parametrize(
    ("format", "contents", "overlooked"),
    [
        (
            Format.GOLANG_MIGRATE,
            {"1_a.up.sql": "", "2_b.sql": "", "old/1_c.up.sql": ""},
            ["m/2_b.sql", "m/old/1_c.up.sql"],
        ),
        (
            Format.SQLX,
            {"1_a.sql": "", "2.sql": "", "3_c.SQL": "", "old/1_c.sql": ""},
            ["m/2.sql", "m/3_c.SQL", "m/old/1_c.sql"],
        ),
        (
            Format.DBMATE,
            {"1_a.sql": "-- migrate:up\n-- migrate:down", "2_b.sql.gz": "", "old/1_c.sql": ""},
            ["m/2_b.sql.gz", "m/old/1_c.sql"],
        ),
        (Format.GOOSE, {"1_a.sql": "-- +goose Up", "old/notes.sql": "", "old/1_c.sql": ""}, ["m/old/1_c.sql"]),
        (Format.FLYWAY, {"V1__a.sql": "", "V2__b.SQL": "", "old/V3__c.sql": ""}, ["m/V2__b.SQL"]),
    ],
)
def test_what_the_tool_passes_over_too_is_noted(
    format: Format,  # noqa: A002 - as the function it calls
    contents: dict[str, str],
    overlooked: list[str],
) -> None:
    assert list(folder(contents, format).overlooked) == overlooked
