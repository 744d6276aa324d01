"""Whatever the text: the lexer keeps its promises, and agrees with a reading of the rules that is as plain as slow."""

import re
from collections.abc import Iterator
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dbinit.sql import lexer
from dbinit.sql.lexer import Lexer, UnterminatedError, references, split

# Few examples, always the same: this suite must be quick and never fail by chance. The oracle test has psql's word.
quick = settings(max_examples=400, deadline=None, derandomize=True, database=None)

FRAGMENTS = [
    *"'\"$();\\-/*:.@e1 \n\r",
    *("''", "$$", "$a$", "$1", "--", "/*", "*/", "/**/", "\\;", "\\:", "\\\\", "\\x", "::", ":e", "e'", "E'\\'"),
    *("U&'", 'u&"', "b'", "X'", "n'", "é", "\u00a0", "1e", "1.", "1_0", "0x1", "1e-", "$é$", "a$b", "'a'\n'b'"),
    *("BEGIN ATOMIC ", "begin", " END", " end;", "CASE ", "x.", "AS ", "CREATE FUNCTION f() ", "create schema s "),
    *("create/**/or--\nreplace procedure p ", "((", "))", "(1;2)", "((((((((0))))))))", "-- c\n", "'it''s'"),
    *("SELECT 1;", "SELECT e'\\';' /* ; */ ;\n", "$$;$$", "BEGIN ATOMIC SELECT 1; END;", "/*/*;*/*/", ";\n-- c;'\n"),
    *("\\g\n", "\\echo a \\\\", " \n;"),
]
scripts = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join)
BODY_FRAGMENTS = [
    *FRAGMENTS,
    *("case ", "end ", " end", "END;", ";", "(", ")", "x", "_", "1", ".", ":", "as ", "as/**/", "send", "lower_case "),
    *("begin atomic ", "SELECT CASE WHEN (case end) THEN 'end' ELSE e'case' END AS ends;\n", "--end\n", "/*case*/"),
]
heads = st.sampled_from(
    ["create function f() ", "CREATE OR REPLACE\nPROCEDURE p(a int DEFAULT (1)) ", "create procedure"]
)
bodies = st.lists(st.sampled_from(BODY_FRAGMENTS), max_size=12).map("".join)
routines = st.builds("{}begin atomic {} end; select 1".format, heads, bodies)
anything = (
    scripts | routines | st.text(alphabet=st.sampled_from("'\"$;()-/*\\eEa1:. \n"), max_size=30) | st.text(max_size=20)
)

# The rules of the tokens, as flex has them: the longest match counts, of equals the first.
LETTER, NAME = "[A-Za-z_\x80-\U0010ffff]", "[A-Za-z_0-9$\x80-\U0010ffff]*"
INTEGER = "[0-9](?:_?[0-9])*"
DECIMAL = rf"(?:{INTEGER}\.(?:{INTEGER})?|\.{INTEGER}|{INTEGER})"
VARIABLE = "[A-Za-z_0-9\x80-\U0010ffff]+"
RULES = [
    ("gap", r"[ \t\n\r\v\f]+|--[^\r\n]*"),
    ("word", LETTER + NAME),
    ("number", rf"{DECIMAL}(?:{LETTER}{NAME})?"),
    ("number", rf"{DECIMAL}[eE][-+]?{INTEGER}(?:{LETTER}{NAME})?"),
    ("number", rf"{DECIMAL}[eE][-+]"),
    ("number", rf"(?:[0-9]+|{INTEGER}\.[0-9]*|\.[0-9]+){LETTER}{NAME}"),
    ("integer", rf"{INTEGER}\.\."),
    ("parameter", rf"\$[0-9]+(?:{LETTER}{NAME})?"),
    ("dollar", rf"\$(?:{LETTER}[A-Za-z_0-9\x80-\U0010ffff]*)?\$"),
    ("comment", r"/\*"),
    ("escapes", "[eE]'"),
    ("unicode", "[uU]&'"),
    ("bits", "[bBxX]'"),
    ("plain", "'"),
    ("identifier", '"'),
    ("colon", rf"""::|:=|:(?:{VARIABLE}|'{VARIABLE}'|"{VARIABLE}"|\{{\?{VARIABLE}\}})"""),
    ("escaped", r"\\[;:]"),
    ("command", r"\\"),
    ("other", r"[\s\S]"),
]
CONTINUED = re.compile(r"(?:[ \t\v\f]|--[^\r\n]*)*[\r\n](?:[ \t\n\r\v\f]|--[^\r\n]*[\r\n])*'")


def tokens(text: str, start: int, *, standard: bool) -> Iterator[tuple[str, int, int]]:
    """Yield kind, start and end of each token; the kind is "open" for one that does not end."""
    while start < len(text):
        matches = [(kind, match.end()) for kind, rule in RULES if (match := re.compile(rule).match(text, start))]
        kind, end = max(matches, key=lambda match: match[1])
        if kind == "integer":
            end -= 2
        elif kind == "dollar":
            end = text.find(text[start:end], end) + end - start
            kind = "dollar" if end >= 2 * (text.index("$", start + 1) + 1 - start) + start else "open"
        elif kind == "comment":
            end = comment_end(text, start)
            kind = "gap" if end else "open"
        elif kind in ("escapes", "unicode", "bits", "plain", "identifier"):
            escapes = kind == "escapes" or (kind == "plain" and not standard)
            end = string_end(text, end, text[end - 1], doubles=kind != "bits", escapes=escapes)
            kind = "string" if end else "open"
        yield kind, start, end
        if kind in ("open", "command"):
            return
        start = end


def comment_end(text: str, start: int) -> int:
    depth = 0
    while start < len(text):
        sign = text[start : start + 2]
        depth += {"/*": 1, "*/": -1}.get(sign, 0)
        start += 2 if sign in ("/*", "*/") else 1
        if not depth:
            return start
    return 0


def string_end(text: str, position: int, quote: str, *, doubles: bool, escapes: bool) -> int:
    while position < len(text):
        if text[position] == "\\" and escapes:
            position += 1
        elif text[position] == quote:
            if doubles and text.startswith(quote, position + 1):
                position += 1
            elif quote == "'" and (continued := CONTINUED.match(text, position + 1)):
                position = continued.end() - 1
            else:
                return position + 1
        position += 1
    return 0


def first_statement(text: str, start: int, *, standard: bool) -> tuple[int, int, str]:
    """Return where the first statement ends, where what stops it stands, and what that is; "open" for no end."""
    end, depth, blocks, words, label = start, 0, 0, list[str](), False
    for kind, first, last in tokens(text, start, standard=standard):
        sign = text[first:last].lower()
        if kind in ("open", "command") or (sign == ";" and not depth and not blocks):
            return end, first, sign if sign == ";" else kind
        if kind == "gap":
            continue
        words.append(sign if kind == "word" else "")
        if sign == "\\;" and not blocks:
            words.clear()
        if kind == "word" and not depth and not label:
            following = (text[a:b].lower() for kind, a, b in tokens(text, last, standard=standard) if kind != "gap")
            atomic = may_have_body(words) and sign == "begin" and next(following, "") == "atomic"
            blocks += atomic + (blocks > 0) * ((sign == "case") - (sign == "end"))
        depth = max(0, depth + (sign == "(") - (sign == ")"))
        end, label = last, sign in (".", "as")
    return end, len(text), "open" if depth or blocks else ""


def may_have_body(words: list[str]) -> bool:
    found = " ".join(words[:4])
    return bool(re.match(r"create (?:(?:or replace )?(?:function|procedure)|schema)(?: |$)", found))


def expected(text: str, *, standard: bool = True) -> list[str]:
    """Cut up a text the slow way; what does not end shows as the last piece."""
    start = 0
    pieces: list[str] = []
    while True:
        for kind, first, last in tokens(text, start, standard=standard):
            start = first
            if kind != "gap" and text[first] != ";":
                break
            start = last
        else:
            return pieces
        end, stop_at, stop = first_statement(text, start, standard=standard)
        if stop == "open":
            return [*pieces, "unterminated"]
        if end > start:
            pieces.append(text[start:end])
        start = stop_at + (stop == ";")
        if stop == "command":
            command = next(iter(Lexer(text[stop_at:])))
            pieces.append(text[stop_at : stop_at + command.end])
            start = stop_at + command.next


def found(text: str, *, standard: bool = True) -> list[str]:
    pieces: list[str] = []
    try:
        for piece in split(text, standard_conforming_strings=standard):
            pieces.append(text[piece.start : piece.end])  # noqa: PERF401 - those before an error count
    except UnterminatedError:
        pieces.append("unterminated")
    return pieces


@quick
@given(anything)
def test_the_short_cut_and_the_exact_way_agree(text: str) -> None:
    shortened = found(text)
    with patch.multiple(lexer, usual_statement=lambda: re.compile("()"), usual_part=lambda: re.compile("()")):
        assert found(text) == shortened


@quick
@given(anything, st.booleans())
def test_it_reads_as_the_rules_say(text: str, standard: bool) -> None:  # noqa: FBT001 - hypothesis hands it in
    assert found(text, standard=standard) == expected(text, standard=standard)


@quick
@given(anything)
def test_statements_are_slices_and_gaps_hold_nothing(text: str) -> None:
    position = 0
    interrupted = False
    try:
        for piece in split(text):
            assert position <= piece.start < piece.end <= piece.next <= len(text)
            assert text[piece.start] not in " \t\n\r\v\f;"
            assert text[piece.end - 1] not in " \t\n\r\v\f"
            assert not found(text[position : piece.start])
            if piece.kind == "sql":
                assert not found(text[piece.end : piece.next])
                assert (piece.next, text[piece.next - 1]) == (piece.next, ";") or piece.stop != ";"
            else:
                assert text[piece.end : piece.next].strip() in ("", "\\\\")
            interrupted = piece.stop == "\\"
            position = piece.next
    except UnterminatedError:
        return
    assert not interrupted
    assert not found(text[position:])


@quick
@given(anything)
def test_a_statement_split_again_is_the_same(text: str) -> None:
    try:
        pieces = [piece for piece in split(text) if piece.kind == "sql" and piece.stop != "\\"]
    except UnterminatedError:
        return
    for piece in pieces:
        statement = text[piece.start : piece.end]
        assert found(statement) == [statement]
        assert found(statement + ";" + statement) == [statement, statement]


@quick
@given(anything)
def test_reading_one_by_one_is_the_same(text: str) -> None:
    reader = Lexer(text)
    pieces: list[str] = []
    try:
        while piece := reader.read():
            pieces.append(text[piece.start : piece.end])
    except UnterminatedError:
        pieces.append("unterminated")
    assert pieces == found(text)


@quick
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=15).map("".join))
@example("a\\;b:x")
def test_references_are_where_they_say(text: str) -> None:
    try:
        pieces = list(split(text))
    except UnterminatedError:
        return
    for piece in pieces:
        if piece.kind == "sql":
            shown = [
                (first, last)
                for kind, first, last in tokens(text[: piece.end], piece.start, standard=True)
                if kind == "escaped" or (kind == "colon" and text[first:last] not in ("::", ":="))
            ]
            assert [(one.start, one.end) for one in references(text, piece.start, piece.end)] == shown
