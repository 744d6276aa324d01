"""What becomes of variables in a statement, as psql 15 and 18 were seen to send it; where each character is from."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbinit.quoting import quote_literal, quote_name
from dbinit.sql.expansion import Expanded, expand, unescape
from dbinit.sql.lexer import UnterminatedError, references, split
from dbinit.sql.variables import (
    CommandError,
    Variables,
    parse_boolean,
)

quick = settings(max_examples=300)

VALUES = {
    "x": "5",
    "empty": "",
    "own": "it's",
    "back": r"a\b",
    "two": "select 1; select 2",
    "self": "(:self)",
    "ping": ":pong!",
    "pong": ":ping?",
    "outer": ":x, :'own', :nope",
    "quote": "'",
    "double": '"',
    "dollar": "$t$",
    "comment": "/* /*",
    "escapes": "e'a\\",
    "spanning": ":",
    "semicolon": r"1\; 2",
    "1": "one",
    "é": "accent",
}


def sent(text: str, variables: Variables, *, standard: bool = True) -> list[str]:
    """Return the statements of a text as they are sent."""
    found = []
    for piece in split(text, standard_conforming_strings=standard):
        whole = expand(text, piece.start, piece.end, variables, standard_conforming_strings=standard)
        source = whole.text if whole else text
        for part in split(source, standard_conforming_strings=standard) if whole else [piece]:
            plain = unescape(source, part.start, part.end, standard_conforming_strings=standard)
            found.append(plain.text if plain else source[part.start : part.end])
    return found


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        (
            ":x, 1::int, ':x', a[1:x], \":x\", $$:x$$ /* :x */, :é:1",
            "5, 1::int, ':x', a[15], \":x\", $$:x$$ /* :x */, accentone",
        ),
        ("select :'x', :\"x\", :{?x}, :{?nope}", "select '5', \"5\", TRUE, FALSE"),
        ("select :nope, :'nope', :\"nope\", ::x, :=:x, :::x", "select :nope, :'nope', :\"nope\", ::x, :=5, ::5"),
        ("select :'own', :\"own\", :'back', :'empty', :\"empty\"", "select 'it''s', \"it's\",  E'a\\\\b', '', \"\""),
        ("select :xx, :'xx', :x x, x:x", "select :xx, :'xx', 5 x, x5"),
        ("select '\\:x', E'\\':x'", "select '\\:x', E'\\':x'"),
        (r"select 1 \: x, \:x, \::x, 1\; select 2", r"select 1 : x, :x, :5, 1; select 2"),
        ("select :self, :ping, :outer", "select (:self), :ping?!, 5, 'it''s', :nope"),
        ("select :semicolon", "select 1; 2"),
        ("select :empty", "select"),
        (":two;", "select 1|select 2"),
        (":two; :two", "select 1|select 2|select 1|select 2"),
        ("select :spanning'x'", "select :'x'"),
    ],
)
def test_statements_are_expanded_as_psql_does(text: str, statements: str) -> None:
    assert "|".join(sent(text, Variables(VALUES))) == statements


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("select :quote :x :quote :x", "select ' :x :quote :x"),
        ("select :quote a' :x", "select ' a' 5"),
        ('select :double :x" :x', 'select " :x" 5'),
        ("select :dollar :x $t$ :x", "select $t$ :x $t$ 5"),
        ("select :comment :x */ :x */ :x", "select /* /* :x */ :x */ 5"),
        ("select :comment /* :x */ :x */ :x", "select /* /* /* :x */ :x */ :x"),
        (r"select :escapes' :x", r"select e'a\' 5"),
        (r"select :escapes \':x'' :x' :x", r"select e'a\ \':x'' :x' 5"),
    ],
)
def test_what_a_value_leaves_open_goes_on_behind_it(text: str, expanded: str) -> None:
    whole = expand(text, 0, len(text), Variables(VALUES))
    assert whole
    assert whole.text == expanded


def test_without_standard_strings_a_backslash_keeps_a_quote_open() -> None:
    variables = Variables({"x": "5", "q": "'a"})
    assert sent(r"select '\':x', :x", variables, standard=False) == [r"select '\':x', 5"]
    whole = expand(text := r"select :q \':x' :x", 0, len(text), variables, standard_conforming_strings=False)
    assert whole
    assert whole.text == r"select 'a \':x' 5"


@pytest.mark.parametrize("text", ["", "select 1", "select '12:30', a::int, ':x'", "select :nope", "select :self_"])
def test_nothing_is_copied_where_nothing_is_expanded(text: str) -> None:
    assert expand(text, 0, len(text), Variables(VALUES)) is None
    assert unescape(text, 0, len(text)) is None


def test_a_name_of_digits_is_found_once_it_is_set() -> None:
    variables = Variables()
    assert variables.find("a 12:30", 0, 7) == -1
    variables.set("30", "x")
    assert variables.find("a 12:30", 0, 7) == 4


def test_offsets_lead_back_to_the_original() -> None:
    text = r"--; select :x + :two, \;:'own' ;"
    whole = expand(text, 4, 30, Variables(VALUES))
    assert whole
    assert whole.text == r"select 5 + select 1; select 2, \;'it''s'"
    origins = {word: whole.origin(whole.text.index(word)) for word in ("select", "5", "+", "1", "2", ", ", "it", r"\;")}
    assert {word: text[origin : origin + 4] for word, origin in origins.items()} == {
        "select": "sele",
        "5": ":x +",
        "+": "+ :t",
        "1": ":two",
        "2": ":two",
        ", ": r", \;",
        "it": ":'ow",
        r"\;": r"\;:'",
    }
    assert whole.origin(len(whole.text)) == 30
    plain = unescape(whole.text, 20, len(whole.text))
    assert plain
    assert plain.text == " select 2, ;'it''s'"
    assert text[whole.origin(plain.origin(plain.text.index(";"))) :].startswith(r"\;")


@pytest.mark.parametrize("value", [":a :a", ":a:a"])
def test_variables_that_name_each_other_over_and_over_are_an_error(value: str) -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    values = {after: value.replace("a", name) for name, after in pairwise(names)}
    with pytest.raises(CommandError, match="too long") as caught:
        expand(":z", 0, 2, Variables({"a": "", **values}))
    assert "name each other" in caught.value.advice


def test_a_statement_may_have_many_references() -> None:
    text = "select " + ":x," * 50_000
    whole = expand(text, 0, len(text), Variables({"x": "12"}))
    assert whole
    assert whole.text == "select " + "12," * 50_000


@pytest.mark.parametrize("word", ["t", "TRUE", "tr", "y", "yes", "on", "ON", "1"])
def test_true(word: str) -> None:
    assert parse_boolean(word, "it") is True


@pytest.mark.parametrize("word", ["f", "False", "fal", "n", "no", "of", "off", "0"])
def test_false(word: str) -> None:
    assert parse_boolean(word, "it") is False


@pytest.mark.parametrize("word", ["", "o", "truee", "2", "01", "offf", "true false", " t"])
def test_neither_true_nor_false(word: str) -> None:
    with pytest.raises(CommandError, match=r"^it is .* neither true nor false$"):
        parse_boolean(word, "it")


def test_a_variable_that_is_not_set_is_named_where_a_boolean_is_missing() -> None:
    with pytest.raises(CommandError) as caught:
        parse_boolean(":wanted", r"\if")
    assert caught.value.advice == "set the variable wanted first, or ask with :{?wanted} whether it is set"


@pytest.mark.parametrize("name", ["", "a-b", "a b", "a$", ":x", "a.b"])
def test_names_are_checked_when_they_are_set(name: str) -> None:
    with pytest.raises(CommandError, match="no name"):
        Variables().set(name, "1")
    assert Variables().unset(name)


def test_variables_are_set_and_unset() -> None:
    variables = Variables({"x": "1", "é_9": ""})
    assert "x" in variables
    assert variables.get("é_9") == ""
    assert variables.unset("x")
    assert variables.unset("x")
    assert "x" not in variables
    assert variables.get("x") is None


def test_on_error_stop_is_always_on() -> None:
    variables = Variables()
    assert not variables.set("ON_ERROR_STOP", "off")
    assert not variables.unset("ON_ERROR_STOP")
    assert variables.get("ON_ERROR_STOP") == "on"
    assert variables.set("ON_ERROR_STOP", "1")
    assert variables.get("ON_ERROR_STOP") == "1"
    assert variables.set("ON_ERROR_STOP", "")
    assert variables.get("ON_ERROR_STOP") == "on"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ON_ERROR_STOP", "huh"),
        ("AUTOCOMMIT", "off"),
        ("SINGLELINE", "on"),
        ("SINGLESTEP", "yes"),
        ("QUIET", "loud"),
        ("VERBOSITY", "much"),
        ("ECHO", ""),
        ("ON_ERROR_ROLLBACK", "maybe"),
    ],
)
def test_what_a_variable_of_psql_cannot_be(name: str, value: str) -> None:
    with pytest.raises(CommandError, match=name) as caught:
        Variables({name: value})
    assert caught.value.advice


def test_autocommit_cannot_be_unset() -> None:
    with pytest.raises(CommandError, match="AUTOCOMMIT is always on"):
        Variables().unset("AUTOCOMMIT")


def test_variables_of_psql_go_back_to_what_they_were() -> None:
    variables = Variables({"QUIET": "on", "ON_ERROR_ROLLBACK": "interactive", "VERBOSITY": "Terse", "HISTSIZE": "1"})
    for name in ("QUIET", "ON_ERROR_ROLLBACK", "VERBOSITY", "HISTSIZE"):
        assert variables.unset(name)
    values = [variables.get(name) for name in ("QUIET", "ON_ERROR_ROLLBACK", "VERBOSITY", "HISTSIZE")]
    assert values == ["off", "off", "default", "500"]


def test_only_variables_that_psql_heeds_are_special() -> None:
    assert Variables().is_special("AUTOCOMMIT")
    assert not Variables({"x": "1"}).is_special("x")
    assert not Variables().is_special("SQLSTATE")


FRAGMENTS = [
    *(":a", ":b", ":c", ":'a'", ':"b"', ":{?c}", ":nope", "::a", ":", "'", '"', "$$", "$t$", "E'\\'", "\\;", "\\:"),
    *("/*", "*/", "--", "\n", " ", ";", "(", ")", "1", "x", "E", "\\", "''"),
]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)


@quick
@given(values=st.fixed_dictionaries({"a": texts, "b": texts, "c": texts}), text=texts, standard=st.booleans())
def test_the_offsets_of_what_was_expanded_are_monotone_and_exact(
    values: dict[str, str], text: str, *, standard: bool
) -> None:
    whole = expand(text, 0, len(text), Variables(values), standard_conforming_strings=standard)
    if not whole:
        return
    check_origins(whole, text)
    try:
        pieces = [piece for piece in split(whole.text) if piece.kind == "sql"]
    except UnterminatedError:
        return
    for piece in pieces:
        if plain := unescape(whole.text, piece.start, piece.end):
            assert plain.origin(len(plain.text)) == piece.end
            check_origins(plain, whole.text)


def check_origins(whole: Expanded, text: str) -> None:
    origins = [whole.origin(offset) for offset in range(len(whole.text) + 1)]
    assert origins == sorted(origins)
    assert set(origins) <= set(range(len(text) + 1))
    places = [origins.count(origin) for origin in origins]
    for character, origin, count in zip(whole.text, origins, places, strict=False):
        # What stands alone at its place is the same there, or stands for a reference.
        assert count > 1 or text[origin] == character or text[origin] in ":\\"


@quick
@given(st.fixed_dictionaries({"a": texts, "b": texts}), texts)
def test_where_nothing_is_found_nothing_is_expanded(values: dict[str, str], text: str) -> None:
    variables = Variables(values)
    if variables.find(text, 0, len(text)) >= 0:
        return
    try:
        found = [reference for reference in references(text) if reference.name]
    except UnterminatedError:
        return
    assert not [name for form, name, *_ in found if name in variables or form == ":{?x}"]


@quick
@given(value=st.text(), standard=st.booleans())
def test_what_is_quoted_is_one_token_and_reads_back(value: str, *, standard: bool) -> None:
    literal, identifier = quote_literal(value), quote_name(value)
    for quoted in (literal, identifier):
        pieces = list(split(f"{quoted};", standard_conforming_strings=standard))
        assert [f"{quoted};"[piece.start : piece.end] for piece in pieces] == [quoted.strip()]
        assert not list(references(quoted, standard_conforming_strings=standard))
    body = literal.strip()
    if body.startswith("E"):
        body = body[1:].replace("\\\\", "\\")
    assert re.fullmatch(r"'((?:[^']|'')*)'", body)
    assert body[1:-1].replace("''", "'") == value
    assert identifier[1:-1].replace('""', '"') == value
