from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbinit.migrations.model import Format, Hook, Kind, Transaction
from dbinit.source import checksum

from .kit import folder, mistakes, names, only, version


def test_a_folder_is_read_in_the_order_of_its_numbers() -> None:
    found = folder(
        {
            "10_c.sql": "SELECT 3",
            "repeatable_views.sql": "SELECT 4",
            "009_b.sql": "SELECT 2",
            "1_a.sql": "SELECT 1",
            "1_a.down.sql": "SELECT -1",
            "before_each.sql": "SELECT 0",
            "README.md": "",
            ".9_hidden.sql": "nothing",
            "below/notes.sql": "nothing",
            "below/2024.csv": "nothing",
        }
    )
    assert found.format is Format.NATIVE
    assert names(found) == ["1_a.sql", "009_b.sql", "10_c.sql", "repeatable_views.sql"]
    assert [migration.key for migration in found.migrations] == ["1", "9", "10", "R:views"]
    assert [migration.down is not None for migration in found.migrations] == [True, False, False, False]
    assert found.migrations[-1].kind is Kind.REPEATABLE
    assert [part.path for part in found.hooks[Hook.BEFORE_EACH]] == ["m/before_each.sql"]


def test_the_annotations() -> None:
    migration = folder(
        {
            "001_a.sql": "SELECT 1",
            "002_b.sql": "-- dbinit: no-transaction\n--dbinit:lock-timeout   1m30s\r\n"
            "-- dbinit: depends 001\n-- dbinit: compatible-with 001\nSELECT 2;\n"
            "-- dbinit: down\n-- dbinit: lock-timeout 5\nSELECT 3;\n",
        }
    ).migrations[1]
    assert migration.up.transaction is Transaction.NO
    assert migration.up.lock_timeout == timedelta(seconds=90)
    assert migration.depends == (version(1),)
    assert migration.compatible_with == version(1)
    assert migration.down is not None
    assert (migration.down.transaction, migration.down.lock_timeout) == (Transaction.BY_CONTENT, timedelta(seconds=5))
    assert "SELECT 3" not in migration.up.text
    assert "SELECT 2" not in migration.down.text


def test_a_part_keeps_the_lines_of_its_file() -> None:
    text = "SELECT 1;\r\n\nSELECT 2;\n-- dbinit: down\n  SELECT 3;\n"
    down = only({"1_a.sql": text}).down
    assert down is not None
    assert down.text.splitlines()[4] == "  SELECT 3;"
    assert not "".join(down.text.splitlines()[:3])


SQL = st.text(alphabet="ab;\n\r é'", max_size=30)


@given(SQL, SQL)
def test_both_parts_of_a_file_keep_their_lines(up: str, down: str) -> None:
    text = f"SELECT 1;{up}\n-- dbinit: down\nSELECT 2;{down}"
    found = only({"1_a.sql": text})
    assert found.down is not None
    lines = text.splitlines()
    assert found.up.text.splitlines() == lines[: lines.index("-- dbinit: down")]
    assert found.down.text.splitlines()[lines.index("-- dbinit: down") :] == lines[lines.index("-- dbinit: down") :]


@given(SQL)
def test_the_checksum_is_that_of_the_text_whatever_its_line_ends_and_its_mark(sql: str) -> None:
    text = ("SELECT 1;\n" + sql).replace("\r", "")
    variants = [text.encode(), text.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + text.encode()]
    assert {only({"1_a.sql": data}).checksum for data in variants} == {checksum(text.encode())}


def test_the_down_part_does_not_count_for_the_checksum() -> None:
    one, other = (only({"1_a.sql": f"SELECT 1;\n-- dbinit: down\n{down}"}) for down in ("SELECT 2", "SELECT 3"))
    assert one.checksum == other.checksum == checksum(b"SELECT 1;\n")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("-- dbinit: dwon\nSELECT 1", "1:1: there is no annotation 'dwon'"),
        ("SELECT 1;\n-- dbinit:\n", "2:1: an annotation is missing"),
        ("SELECT 1;\n  -- dbinit: down\nDROP", "2:3: an annotation begins at the beginning of its line"),
        ("SELECT 1; -- dbinit: down\nDROP", "1:11: an annotation begins at the beginning of its line"),
        ("SELECT 1;\n-- dbinit down\nDROP", "2:1: there is no colon behind dbinit"),
        ("SELECT 1;\n-- DBINIT: Down\nSELECT 2", "2:1: there is no annotation 'Down'"),
        ("-- dbinit: lock-timeout soon\nSELECT 1", "1:1: lock-timeout: 'soon' is not a duration"),
        ("-- dbinit: lock-timeout 600h\nSELECT 1", "1:1: lock-timeout: 600h is more than PostgreSQL takes"),
        (
            "-- dbinit: lock-timeout 1s\n-- dbinit: lock-timeout 2s\nSELECT 1",
            "2:1: lock-timeout stands in this part twice",
        ),
        ("-- dbinit: depends\nSELECT 1", "1:1: depends: name the versions"),
        ("-- dbinit: depends 1 2\nSELECT 1", "1:1: depends: commas belong between versions"),
        ("-- dbinit: depends x\nSELECT 1", "1:1: depends: 'x' is not a version"),
        ("-- dbinit: no-transaction please\nSELECT 1", "1:1: no-transaction: nothing may stand behind it"),
        ("SELECT 1;\n-- dbinit: down\nSELECT 2;\n-- dbinit: depends none", "4:1: depends belongs to the up part"),
        ("SELECT 1;\n-- dbinit: down\nSELECT 2;\n-- dbinit: down", "4:1: the down part has begun already"),
        ("-- dbinit: depends 1\nSELECT 1", "1:1: it depends on itself"),
        ("-- dbinit: compatible-with 1\nSELECT 1", "1:1: compatible-with must name an older version"),
        ("SELECT 1;\n-- dbinit: depends 9\n", "2:1: it depends on 9, and there is no migration"),
        (b"SELECT 1;\n\xff", "2:1: byte 0xff is not UTF-8"),
        (b"SELECT 1;\n  \0", "2:3: there is a NUL byte"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str | bytes, mistake: str) -> None:
    (found,) = mistakes({"1_a.sql": text})
    assert found.removeprefix("m/1_a.sql").removeprefix(":").startswith(mistake.removeprefix(":"))


@pytest.mark.parametrize(
    ("text", "place", "further"),
    [
        (
            "SELECT 1;\n-- dbinit: down\n-- nothing",
            "2:1",
            ", in the down part; write it, or leave out the line that begins it",
        ),
        ("-- nothing\n/* at /* all */ */ ;\n", "1:1", ""),
        ("", "1:1", ""),
        ("\n\n-- dbinit: down\n\n", "1:1", ""),
    ],
)
def test_what_holds_no_statement_as_yet_is_noted(text: str, place: str, further: str) -> None:
    found = folder({"1_a.sql": text, "2_b.sql": "SELECT 1"})
    assert [str(problem) for problem in found.blank] == [
        f"m/1_a.sql:{place}: there is no SQL statement, only blanks or comments{further}"
    ]
    assert names(found) == ["1_a.sql", "2_b.sql"]


@pytest.mark.parametrize(
    ("contents", "mistake"),
    [
        ({"001_a.sql": "SELECT 1", "1_b.sql": "SELECT 1"}, "m/1_b.sql: this has the same version (1) as m/001_a.sql"),
        ({"1_a.sql": "SELECT 1", "2_b.down.sql": "SELECT 1"}, "m/2_b.down.sql: this takes back a migration whose own"),
        (
            {"1_a.sql": "SELECT 1\n-- dbinit: down\nSELECT 2", "1_a.down.sql": "SELECT 1"},
            "m/1_a.down.sql: m/1_a.sql has a down part of its own",
        ),
        (
            {"1_a.sql": "SELECT 1", "1_a.down.sql": "SELECT 1", "1_b.down.sql": "SELECT 1"},
            "m/1_b.down.sql: this has the same version (1) as m/1_a.down.sql",
        ),
        ({"1_a.sql": "SELECT 1", "notes.sql": "SELECT 1"}, "m/notes.sql: this is no name of a migration"),
        ({f"{2**64}_a.sql": "SELECT 1"}, f"m/{2**64}_a.sql: version {2**64} has more than 64 bits"),
        ({"1_a.sql": "SELECT 1", "1_a.down.sql": "-- dbinit: down\nSELECT 1"}, "m/1_a.down.sql:1:1: the down part has"),
        (
            {"1_a.sql": "SELECT 1", "repeatable_a.sql": "SELECT 1\n-- dbinit: down"},
            "m/repeatable_a.sql:2:1: a repeatable",
        ),
        (
            {"1_a.sql": "SELECT 1", "on_error.sql": "-- dbinit: depends 1\nSELECT 1"},
            "m/on_error.sql:1:1: a hook can have nei",
        ),
        (
            {"1_a.sql": "-- dbinit: depends 2\nSELECT 1", "2_b.sql": "SELECT 1"},
            "m/1_a.sql:1:1: migrations depend on each other in a circle: m/1_a.sql -> m/2_b.sql -> m/1_a.sql",
        ),
        ({"before_all.sql": "SELECT 1"}, "m: there is no migration in it"),
        (
            {"1_a.sql": "SELECT 1", "old/2_b.sql": ""},
            "m/old/2_b.sql: this looks like a migration, and is not read; move",
        ),
        ({"1_a.sql": "SELECT 1", "2_b.sql.gz": ""}, "m/2_b.sql.gz: this looks like a migration, and is not read; move"),
        ({"1_a.sql": "SELECT 1", "2_b.SQL": ""}, "m/2_b.SQL: this is no name of a migration"),
    ],
)
def test_a_mistake_of_the_folder_is_named(contents: dict[str, str], mistake: str) -> None:
    (found,) = mistakes(contents)
    assert found.startswith(mistake)


def test_all_mistakes_are_named_at_once() -> None:
    found = mistakes(
        {"1_a.sql": "", "x.sql": "", "2_b.sql": "-- dbinit: what\nSELECT 1", "3_c.sql": b"\xff", "3_d.sql": "x"}
    )
    assert [problem.split(": ")[0] for problem in found] == [
        "m/1_a.sql:1:1",
        "m/2_b.sql:1:1",
        "m/3_c.sql:1:1",
        "m/3_d.sql",
        "m/x.sql",
    ]


def test_a_comment_that_only_begins_with_the_name_is_no_annotation() -> None:
    assert only({"1_a.sql": "-- dbinit runs this\n-- dbinit depends\n-- not -- dbinit: down\nSELECT 1"}).depends is None


def test_a_name_that_is_not_utf8_is_a_mistake() -> None:
    assert mistakes({"001_caf\udce9.sql": "SELECT 1"}) == [
        "m/001_caf\\udce9.sql: its name is not UTF-8, as the history is; rename the file"
    ]
