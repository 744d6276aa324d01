import re
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dbinit.sql.feed import Feed
from dbinit.sql.lexer import UnterminatedError, split
from dbinit.sql.text import Place, SourceText
from dbinit.sql.window import Window


class Read(NamedTuple):
    """A piece, and where it stands in the whole text."""

    kind: str
    text: str
    place: Place
    offset: int
    data: str | None = None


def feed(chunks: list[str]) -> Feed:
    return Feed(chunk.encode() for chunk in chunks)


def read(chunks: list[str], quote: str = "") -> list[Read]:
    """Read all pieces; behind a statement that begins with COPY stand its data."""
    window, found = Window("f.sql", feed(chunks)), []
    while piece := window.read():
        source = window.source
        text = source.text[piece.start : piece.end]
        place, offset = source.place(piece.start), source.whole_offset(piece.start)
        copies = piece.kind == "sql" and text.upper().startswith("COPY")
        data = b"".join(window.data(quote)).decode() if copies else None
        found.append(Read(piece.kind, text, place, offset, data))
    return found


def cut(text: str, at: list[int]) -> list[str]:
    """Cut a text into chunks at the given offsets."""
    borders = [0, *sorted({place for place in at if 0 < place < len(text)}), len(text)]
    return [text[start:end] for start, end in pairwise(borders)]


def every_cut(text: str) -> Iterator[list[str]]:
    """Yield the text in one, in single characters, and cut in two at each place."""
    yield [text]
    yield list(text)
    for place in range(1, len(text)):
        yield cut(text, [place])


def data_of(text: str, quote: str = "") -> list[str | None]:
    """Return the data of each COPY, which are the same wherever a chunk ends."""
    expected = read([text], quote)
    for chunks in every_cut(text):
        assert read(chunks, quote) == expected, chunks
    return [piece.data for piece in expected if piece.data is not None]


# --- pieces -----------------------------------------------------------------------------------------------------


def test_pieces_come_with_their_place_in_the_whole_text() -> None:
    text = "SELECT 1;\n\n  SELECT 'a\nb';\r\nSELECT 3"
    for chunks in every_cut(text):
        assert read(chunks) == [
            Read("sql", "SELECT 1", Place(1, 1), 0),
            Read("sql", "SELECT 'a\nb'", Place(3, 3), 13),
            Read("sql", "SELECT 3", Place(5, 1), 28),
        ]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 -- ;\n;SELECT 2;",
        "SELECT 1 /* ; /* ' */ */; SELECT 2;",
        "SELECT E'\\';' 'x'\n'y;';SELECT $a$;$b$;$a$;",
        "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END; SELECT 2;",
        "SELECT 1\\;SELECT 2;SELECT 3;",
        "\\echo a \\\\ SELECT 1;\nSELECT 2;",
        "\\set x 'a;b'\nSELECT 1;",
        "SELECT 1 \\gx\nSELECT 2;",
        "-- nothing\n/* at all */;;\n",
        "",
        "SELECT 1;\n\ufeffSELECT 2;",
        "SELECT 1;\r\r\nSELECT 2;\rSELECT 3;",
    ],
)
def test_chunks_may_end_anywhere(text: str) -> None:
    whole = SourceText("f.sql", text)
    expected = [
        Read(piece.kind, text[piece.start : piece.end], whole.place(piece.start), piece.start) for piece in split(text)
    ]
    for chunks in every_cut(text):
        assert read(chunks) == expected, chunks


def test_an_empty_chunk_is_not_the_end() -> None:
    assert len(read(["SELECT 1;", "", "SELECT 2;", ""])) == 2


@pytest.mark.parametrize("text", ["SELECT 1;\nSELECT 'x;\n", "SELECT 1;\n /* ; ", "SELECT (1;\n", "SELECT $x$ $;\n"])
def test_what_is_never_closed_is_told_with_its_place(text: str) -> None:
    with pytest.raises(UnterminatedError) as whole:
        list(split(text))
    for chunks in every_cut(text):
        window = Window("f.sql", feed(chunks))
        with pytest.raises(UnterminatedError) as caught:
            list(iter(window.read, None))
        assert caught.value.what == whole.value.what
        assert window.source.whole_offset(caught.value.offset) == whole.value.offset


def test_no_more_is_read_than_is_needed() -> None:
    given_out = []

    def chunks() -> Iterator[bytes]:
        for number in range(100):
            given_out.append(number)
            yield b"SELECT %d;\n" % number * 100

    window = Window("f.sql", Feed(chunks()))
    assert window.read()
    assert len(given_out) == 1


# --- standard_conforming_strings --------------------------------------------------------------------------------


def read_with_settings(chunks: list[str]) -> list[str]:
    """Read statements; `off` and `on` set how plain strings are read."""
    window, found = Window("f.sql", feed(chunks)), []
    while piece := window.read():
        found.append(window.source.text[piece.start : piece.end])
        if found[-1] in {"on", "off"}:
            window.set_standard_conforming_strings(on=found[-1] == "on")
    return found


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("off;\n'a\\';b';c;", ["off", "'a\\';b'", "c"]),
        ("off; -- c\n /* d\n */'a\\';b';c;", ["off", "'a\\';b'", "c"]),
        ("off;\n'a\\';b';on;\n'a\\';b;", ["off", "'a\\';b'", "on", "'a\\'", "b"]),
        ("off;'a\\';b;\n'a\\';b';c;", ["off", "'a\\'", "b", "'a\\';b'", "c"]),
        ("off;on;'a\\';b;\n'a\\';b;", ["off", "on", "'a\\'", "b", "'a\\'", "b"]),
        ("off;\non;'a\\';b';\n'a\\';b;", ["off", "on", "'a\\';b'", "'a\\'", "b"]),
        ("on;'a\\';b;\n'a\\';b;", ["on", "'a\\'", "b", "'a\\'", "b"]),
        ("off;\noff;\n'a\\';b';c;", ["off", "off", "'a\\';b'", "c"]),
        ("off;", ["off"]),
    ],
)
def test_how_strings_are_read_changes_with_the_next_line(text: str, statements: list[str]) -> None:
    for chunks in every_cut(text):
        assert read_with_settings(chunks) == statements, chunks


def test_data_make_no_difference_to_how_strings_are_read() -> None:
    text = "off; COPY a; 'a\\';b;\ndata\n\\.\n'a\\';b';c;"
    for chunks in every_cut(text):
        window, found = Window("f.sql", feed(chunks)), []
        while piece := window.read():
            found.append(window.source.text[piece.start : piece.end])
            if found[-1] == "off":
                window.set_standard_conforming_strings(on=False)
            elif found[-1] == "COPY a":
                assert b"".join(window.data()).decode() == "data\n"
        assert found == ["off", "COPY a", "'a\\'", "b", "'a\\';b'", "c"], chunks


# --- data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behind", "data", "more"),
    [
        ("\n\\.\n", "", True),
        ("\n1\n2\n\\.\n", "1\n2\n", True),
        ("\r\n1\r\n\\.\r\n", "1\r\n", True),
        ("\n1\n\\.\r\n", "1\n", True),
        ("\n \\.\n\\.x\nx\\.\n\\. \n\\.\n", " \\.\n\\.x\nx\\.\n\\. \n", True),
        ("\n\\\\.\n\\.\n", "\\\\.\n", True),
        ("\n\n\n\\.\n", "\n\n", True),
        (" -- comment\n1\n\\.\n", "1\n", True),
        ("\n1;'\"$$ /* (\n\\.\n", "1;'\"$$ /* (\n", True),
        ("\n1\n\\.", "1\n", False),
        ("\n1\n\\.\r", "1\n", False),
        ("\n\\.", "", False),
        ("\n1\n2\n", "1\n2\n", False),
        ("\n1\n2", "1\n2", False),
        ("\n1\n\\.x", "1\n\\.x", False),
        ("\n", "", False),
        ("", "", False),
    ],
)
def test_data_end_at_a_line_that_is_exactly_backslash_dot(behind: str, data: str, more: bool) -> None:  # noqa: FBT001
    text = f"COPY a;{behind}" + "SELECT 1;" * more
    assert data_of(text) == [data]
    last = read([text])[-1]
    assert last.text == ("SELECT 1" if more else "COPY a")
    if more:
        assert last.place == SourceText("f.sql", text).place(text.index("SELECT"))
        assert last.offset == text.index("SELECT")


def test_what_stands_behind_a_copy_on_its_line_comes_behind_the_data() -> None:
    text = "COPY a; SELECT 1; SELECT\n1\n\\.\n 2; SELECT 3;\nSELECT 4;"
    for chunks in every_cut(text):
        assert read(chunks) == [
            Read("sql", "COPY a", Place(1, 1), 0, "1\n"),
            Read("sql", "SELECT 1", Place(1, 9), 8),
            Read("sql", "SELECT\n 2", Place(1, 19), 18),
            Read("sql", "SELECT 3", Place(4, 5), text.index("SELECT 3")),
            Read("sql", "SELECT 4", Place(5, 1), text.index("SELECT 4")),
        ], chunks


def test_two_on_a_line_take_two_blocks() -> None:
    text = "COPY a; COPY b; SELECT 1;\n1\n\\.\n2\n2\n\\.\nSELECT 2;"
    for chunks in every_cut(text):
        assert read(chunks) == [
            Read("sql", "COPY a", Place(1, 1), 0, "1\n"),
            Read("sql", "COPY b", Place(1, 9), 8, "2\n2\n"),
            Read("sql", "SELECT 1", Place(1, 17), 16),
            Read("sql", "SELECT 2", Place(7, 1), text.index("SELECT 2")),
        ], chunks


def test_one_that_goes_on_behind_anothers_data_has_its_own_behind_that() -> None:
    text = "COPY a; COPY\n1\n\\.\nb;\n2\n\\.\nSELECT 2;"
    for chunks in every_cut(text):
        assert read(chunks) == [
            Read("sql", "COPY a", Place(1, 1), 0, "1\n"),
            Read("sql", "COPY\nb", Place(1, 9), 8, "2\n"),
            Read("sql", "SELECT 2", Place(7, 1), text.index("SELECT 2")),
        ], chunks


@pytest.mark.parametrize(
    ("quote", "block"),
    [
        ('"', '1,"a\n\\.\nb"\n'),
        ('"', '1,"a ""\n\\.\n"" b"\n'),
        ('"', 'a,"\n\\.\n\\.\n\\.x\n","""\n\\.\n"\n'),
        ("|", '1,"\n2,|a\n\\.\n|\n'),
        ('"\\', '1,"a\\"\n\\.\n"\n'),
        ('"\\', '1,"a\\\\"\n2,"\n\\.\n"\n'),
        ('"\\', '1,a\\"\n\\.\n"\n'),
        ("'", "1,'\n\\.\n'\n"),
    ],
)
def test_a_quoted_value_of_csv_may_hold_the_line(quote: str, block: str) -> None:
    assert data_of(f"COPY a;\n{block}\\.\nSELECT 1;", quote) == [block]


def test_in_text_a_quote_is_a_character_as_any_other() -> None:
    assert data_of('COPY a;\n"\n\\.\nSELECT 1;') == ['"\n']


def test_data_come_in_whole_lines() -> None:
    window = Window("f.sql", feed(["COPY a;\n12", "3\n4", "5", "6\n7\n", "\\", ".\n"]))
    assert window.read()
    assert list(window.data()) == [b"123\n", b"456\n7\n"]


# --- whatever the text ------------------------------------------------------------------------------------------

FRAGMENTS = [
    *"'\"$();\\-/* \n\r",
    *("''", "$$", "$a$", "--", "/*", "*/", "\r\n", "\\;", "\\\\", "\\x", "E'\\'", "e'", "'a'\n'b'", "U&'", "é"),
    *(
        "SELECT 1;",
        "'a;b';",
        "-- c;'\n",
        "/* ; */",
        "\\echo a\n",
        ";\n",
        "$$;$$",
        "(1;2)",
        "\\g\n",
        "CREATE FUNCTION f() ",
    ),
    *("BEGIN ATOMIC ", " END", "1", "x", "\u00a0"),
]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)
places = st.lists(st.integers(1, 120), max_size=12)


@settings(max_examples=400)
@given(texts, places)
@example("SELECT 1;\n'", [9, 10])
def test_any_text_in_any_chunks_is_the_whole_text(text: str, at: list[int]) -> None:
    whole = SourceText("f.sql", text)
    window = Window("f.sql", feed(cut(text, at)))
    pieces = split(text)
    while True:
        try:
            expected = next(pieces, None)
        except UnterminatedError as error:
            with pytest.raises(UnterminatedError) as caught:
                window.read()
            found = caught.value.what, window.source.whole_offset(caught.value.offset)
            assert found == (error.what, error.offset)  # noqa: PT017 - compared, not expected
            return
        piece = window.read()
        assert (piece is None) is (expected is None)
        if piece is None or expected is None:
            return
        source = window.source
        assert (piece.kind, piece.stop) == (expected.kind, expected.stop)
        assert source.text[piece.start : piece.end] == text[expected.start : expected.end]
        assert source.place(piece.start) == whole.place(expected.start)
        assert source.whole_offset(piece.start) == expected.start


LINES = st.sampled_from(["1\ta", "'", "$$", "\\.x", " \\.", "\\\\.", "", "a;b", "é", "/*", "\\", "-- x", "x\\."])
BLOCKS = st.lists(LINES, max_size=6)
TAILS = st.sampled_from(["", "SELECT 'a;b'; ", "-- c; COPY z;", "SELECT 1", "/* ; */", "COPY b;"])
GAPS = st.sampled_from(["", "SELECT 2;", "\n\n", "-- c\n", "SELECT $$\n;$$;\n", " "])


@settings(max_examples=300)
@given(st.lists(st.tuples(GAPS, TAILS, BLOCKS, BLOCKS), max_size=4), st.sampled_from(["\n", "\r\n"]), st.data())
def test_data_and_what_is_behind_them_are_the_same_in_any_chunks(
    parts: list[tuple[str, str, list[str], list[str]]], end: str, data: st.DataObject
) -> None:
    text, blocks, rest = "", [], ""
    for gap, tail, first, second in parts:
        # Without the data, it is a text as any other, where the end of a COPY's line is a line end.
        head = f"{gap};COPY a; {tail}{end}"
        given_out = [first, second] if tail == "COPY b;" else [first]
        lines = ["".join(f"{line}{end}" for line in block) for block in given_out]
        text += head + "".join(f"{block}\\.{end}" for block in lines)
        blocks += lines
        rest += head
    text += f";SELECT{end}9;"
    rest += f";SELECT{end}9;"
    at = data.draw(st.lists(st.integers(1, len(text)), max_size=12))

    found = read(cut(text, at))

    assert [piece.data for piece in found if piece.data is not None] == blocks
    assert [piece.text for piece in found] == [rest[piece.start : piece.end] for piece in split(rest)]
    whole = SourceText("f.sql", text)
    for piece in found:
        assert text.startswith(piece.text.splitlines()[0], piece.offset)
        assert piece.place == whole.place(piece.offset)


CSV = st.text(st.sampled_from('a"|\\.,\n'), max_size=30)


@given(st.lists(CSV, min_size=1, max_size=6), st.sampled_from(['"', "|", '"\\', '|"']), places)
def test_a_quoted_value_may_hold_anything(values: list[str], quote: str, at: list[int]) -> None:
    mark, escape = quote[0], quote[-1]
    special = re.compile(f"[{re.escape(mark)}{re.escape(escape)}]")
    block = "".join(f"{mark}{special.sub(lambda found: escape + found[0], value)}{mark}\n" for value in values)
    text = f"COPY a;\n{block}\\.\nSELECT 1;"

    found = read(cut(text, at), quote)

    assert [(piece.text, piece.data) for piece in found] == [("COPY a", block), ("SELECT 1", None)]


# --- memory and time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quote", ["", '"', '"\\'])
def test_memory_does_not_grow_with_the_data(quote: str) -> None:
    chunk = '12345\t"some text of a usual length"\tand more of it, up to the end of the line\n' * 3300  # 256 KB

    def chunks() -> Iterator[bytes]:
        yield b"COPY a;\n"
        for _ in range(80):
            yield chunk.encode()
        yield b"\\.\nSELECT 1;"

    window = Window("f.sql", Feed(chunks()))
    assert window.read()
    tracemalloc.start()
    try:
        size = sum(len(block) for block in window.data(quote))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 80 * len(chunk) > 20_000_000
    assert peak < 8_000_000
    piece = window.read()
    assert piece
    assert window.source.place(piece.start).line == 80 * 3300 + 3


def test_memory_does_not_grow_with_the_statements() -> None:
    chunk = "INSERT INTO item VALUES (1, 'a value; and more');\n" * 5000

    window = Window("f.sql", Feed(chunk.encode() for _ in range(16)))
    tracemalloc.start()
    try:
        count = sum(1 for _ in iter(window.read, None))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 16 * 5000
    assert peak < 4_000_000
