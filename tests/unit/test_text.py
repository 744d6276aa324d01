import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbinit.redaction import MASK
from dbinit.sql.text import Gap, Place, SourceText, hide_passwords

CANARY = "Zqcanaryq7"


def source(text: str) -> SourceText:
    return SourceText("init-db.sql", text)


def excerpt(text: str, offset: int) -> tuple[str, str, str]:
    """Return heading, line (without its number) and the character above the caret."""
    heading, line, caret = source(text).excerpt(offset).split("\n")
    gutter = line.index(" | ") + 3
    assert caret[:gutter].strip() == "|"
    columns = re.sub("([\u4e00-\u9fff])", r"\1\1", line)  # as a terminal has them
    above = columns[caret.index("^") :][:1]
    return heading, line[gutter:], above


# --- place ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "offset", "place"),
    [
        ("", 0, Place(1, 1)),
        ("abc", 0, Place(1, 1)),
        ("abc", 2, Place(1, 3)),
        ("abc", 3, Place(1, 4)),
        ("a\nbc", 1, Place(1, 2)),
        ("a\nbc", 2, Place(2, 1)),
        ("a\n", 2, Place(2, 1)),
        ("a\r\nbc", 3, Place(2, 1)),
        ("a\r\nbc", 2, Place(1, 3)),
        ("a\rbc", 2, Place(2, 1)),
        ("a\r\r\nb", 2, Place(2, 1)),
        ("a\n\r\nb", 4, Place(3, 1)),
        ("\n\n\n", 3, Place(4, 1)),
        ("é𝄞\té", 3, Place(1, 4)),
        ("a\fb\vc\x85d\u2028e", 8, Place(1, 9)),
    ],
)
def test_where_an_offset_is(text: str, offset: int, place: Place) -> None:
    assert source(text).place(offset) == place


@pytest.mark.parametrize(
    ("text", "offset", "line"),
    [
        ("", 0, ""),
        ("abc", 0, "abc"),
        ("a\nbc\n", 2, "bc"),
        ("a\nbc\n", 5, ""),
        ("a\r\nbc\r\n", 0, "a"),
        ("a\rbc", 0, "a"),
        ("a\n\nb", 2, ""),
    ],
)
def test_a_line_comes_without_its_end(text: str, offset: int, line: str) -> None:
    assert excerpt(text, offset)[1] == line


# --- a stretch of a text ----------------------------------------------------------------------------------------


def test_a_stretch_knows_where_it_stands() -> None:
    stretch = SourceText("init-db.sql", "SELECT 1;\nSELEC 2;\n", first_line=41, first_offset=1000)
    assert stretch.place(0) == Place(41, 1)
    assert stretch.place(12) == Place(42, 3)
    assert stretch.whole_offset(12) == 1012
    assert stretch.excerpt(10) == "init-db.sql:42:1\n  42 | SELEC 2;\n     | ^"


def test_what_was_taken_out_counts_for_what_stands_behind_it() -> None:
    stretch = SourceText("f", "COPY a;\nSELECT 1;", first_line=3, first_offset=50, gap=Gap(8, 5, 70))
    assert [stretch.place(offset) for offset in (0, 7, 8, 10)] == [Place(3, 1), Place(3, 8), Place(9, 1), Place(9, 3)]
    assert [stretch.whole_offset(offset) for offset in (0, 7, 8, 10)] == [50, 57, 128, 130]


@pytest.mark.parametrize(("start", "seen"), [(0, Gap(8, 5, 70)), (3, Gap(5, 5, 70)), (8, Gap()), (9, Gap())])
def test_a_gap_that_was_passed_is_none_any_more(start: int, seen: Gap) -> None:
    assert Gap(8, 5, 70).seen_from(start) == seen


TEXTS = st.text(st.sampled_from("ab'\n\r\t é𝄞"), max_size=40)


@given(TEXTS, st.data())
def test_line_and_column_lead_back_to_the_offset(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    place = source(text).place(offset)
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    assert sum(map(len, lines[: place.line - 1])) + place.column - 1 == offset
    assert excerpt(text, offset)[1] == lines[place.line - 1].rstrip("\r\n")


@given(TEXTS.filter(bool), st.data())
def test_the_caret_stands_under_the_character(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text) - 1))
    expected = "" if text[offset] in "\r\n" else text[offset]
    assert excerpt(text, offset)[2] == expected


# --- excerpt ----------------------------------------------------------------------------------------------------


def test_an_excerpt_is_path_line_and_column_with_the_line_and_a_caret() -> None:
    assert source("SELECT 1;\nSELEC 2;\n").excerpt(10) == "init-db.sql:2:1\n  2 | SELEC 2;\n    | ^"


def test_the_gutter_is_as_wide_as_the_number() -> None:
    assert source("\n" * 122 + "ab").excerpt(123) == "init-db.sql:123:2\n  123 | ab\n      |  ^"


@pytest.mark.parametrize("text", ["SELECT", "SELECT\n"])
def test_the_end_of_a_text_can_be_shown(text: str) -> None:
    heading, line, above = excerpt(text, len(text))
    assert heading == ("init-db.sql:2:1" if text.endswith("\n") else "init-db.sql:1:7")
    assert (line, above) == ("" if text.endswith("\n") else "SELECT", "")


def test_no_carriage_return_gets_into_an_excerpt() -> None:
    assert "\r" not in source("SELECT 1,\r\n  x;\r\n").excerpt(13)


def test_tabs_stay_tabs_so_that_the_caret_stands_right_whatever_their_width() -> None:
    _, line, caret = source("a\t\tb = x").excerpt(7).split("\n")
    assert line == "  1 | a\t\tb = x"
    assert caret == "    |  \t\t    ^"


@pytest.mark.parametrize(
    ("before", "pad"),
    [
        ("表名", 4),
        ("ｱ", 1),
        ("\uff21", 2),
        ("e\u0301", 1),
        ("é", 1),
        ("\u200b", 0),
        ("👍", 2),
        ("\x1b[31m", 8),
        ("\u202e", 6),
    ],
)
def test_the_caret_stands_right_behind_any_character(before: str, pad: int) -> None:
    _, line, caret = source(f"{before}x").excerpt(len(before)).split("\n")
    assert caret == "    | " + " " * pad + "^"
    assert "\x1b" not in line
    assert "\u202e" not in line


def test_what_includes_a_file_is_named_from_the_inside_to_the_outside() -> None:
    outer = source("SELECT 1;\n\\i inner.sql\n")
    inner = SourceText("inner.sql", "\n\\i inmost.sql", included_at=(outer, 10))
    inmost = SourceText("inmost.sql", "SELEC 1", included_at=(inner, 1))
    assert inmost.excerpt(0).splitlines()[3:] == ["  included at inner.sql:2", "  included at init-db.sql:2"]


@pytest.mark.parametrize("offset", [0, 10, 139, 140, 141, 500, 998, 999])
def test_a_wide_line_is_cut_around_the_caret(offset: int) -> None:
    text = "".join(chr(0x4E00 + number) for number in range(1000))
    _, line, above = excerpt(text, offset)
    assert above == text[offset]
    assert line in text
    assert len(line) <= 160


# --- passwords --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "literal",
    [
        f"'{CANARY}'",
        f"'{CANARY}",
        f"'it''s {CANARY}'",
        f"'{CANARY}''{CANARY}'",
        rf"'{CANARY}\'",
        rf"'\''{CANARY}'",
        rf"E'\'{CANARY}\\'",
        rf"e'{CANARY}\'{CANARY}'",
        f"U&'{CANARY}'",
        f"$${CANARY}$$",
        f"$q$ $${CANARY}$$ $q$",
        f"$q${CANARY}",
        f"'first'\n  '{CANARY}'",
        f"'first\n{CANARY}\nlast'",
        f"\n  '{CANARY}'",
        f"/* secret */ '{CANARY}'",
        f"-- secret\n'{CANARY}'",
    ],
)
@pytest.mark.parametrize("word", ["PASSWORD", "password", "Encrypted Password"])
def test_the_literal_behind_password_is_never_shown(word: str, literal: str) -> None:
    text = f"ALTER ROLE a {word} {literal}\nVALID UNTIL 'x';"
    for offset in range(len(text)):
        assert CANARY not in source(text).excerpt(offset)
    assert CANARY not in hide_passwords(text)
    assert MASK in hide_passwords(text)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE a (password text DEFAULT 'x');",
        "SELECT 'password', 'x';",
        "COMMENT ON COLUMN a.password IS 'x';",
        "-- a password's length\nSELECT 'x';",
        "SELECT password_hash 'x';",
    ],
)
def test_what_is_no_password_is_shown(text: str) -> None:
    assert hide_passwords(text) == text


@pytest.mark.parametrize(
    ("at", "above"),
    [("ALTER", "A"), ("PASSWORD", "P"), (CANARY, "'"), ("'Zq", "'"), ("VALID", "V"), ("x'", "x")],
)
def test_the_caret_stands_right_beside_a_masked_password(at: str, above: str) -> None:
    text = f"ALTER ROLE a PASSWORD '{CANARY}' VALID UNTIL 'x';"
    _, line, shown = excerpt(text, text.index(at))
    assert line == "ALTER ROLE a PASSWORD '***' VALID UNTIL 'x';"
    assert shown == above


def test_a_password_within_is_pointed_at_where_its_mask_begins() -> None:
    text = f"ALTER ROLE a PASSWORD '{CANARY}';"
    assert source(text).excerpt(text.index(CANARY) + 3).endswith(f"{' ' * 22}^")


def test_several_passwords_in_a_line_are_all_masked() -> None:
    text = f"ALTER ROLE a PASSWORD '{CANARY}'; ALTER ROLE b PASSWORD '{CANARY}'; SELEC;"
    _, line, above = excerpt(text, text.index("SELEC"))
    assert line == "ALTER ROLE a PASSWORD '***'; ALTER ROLE b PASSWORD '***'; SELEC;"
    assert above == "S"


PASSWORDS = st.text(st.sampled_from("ab1 '\\\"$;%-/*\n\té"), max_size=12).map(lambda rest: f"{CANARY}{rest}{CANARY}")
QUOTED = st.one_of(
    PASSWORDS.map(lambda text: "'" + text.replace("'", "''") + "'"),
    PASSWORDS.map(lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    PASSWORDS.map(lambda text: f"$q${text}$q$"),
)


@given(QUOTED, st.sampled_from(["", "\n", "\t"]), st.data())
def test_no_password_is_shown_and_the_caret_stands_right(literal: str, blank: str, data: st.DataObject) -> None:
    head, tail = f"ALTER ROLE a PASSWORD {blank}", " VALID UNTIL 'x' NONSENSE;\nSELECT 1;"
    text = head + literal + tail
    offset = data.draw(st.integers(0, len(text) - 1))
    assert CANARY not in source(text).excerpt(offset)
    if not len(head) <= offset < len(head) + len(literal):
        assert excerpt(text, offset)[2] == text[offset].strip("\n")


def test_a_password_in_a_literal_within_a_literal_is_hidden() -> None:
    hidden = hide_passwords("EXECUTE 'CREATE ROLE a PASSWORD ''Zqcanaryq7'' LOGIN'")
    assert "Zqcanaryq7" not in hidden
    assert hidden.endswith(" LOGIN'")


@given(st.text(alphabet="a\r\n", max_size=12), st.integers(1, 5))
def test_the_line_alone_is_that_of_the_place(text: str, first_line: int) -> None:
    source = SourceText("a.sql", text, first_line=first_line, gap=Gap(3, 2, 5))
    for offset in range(len(text) + 1):
        assert source.line(offset) == source.place(offset).line
