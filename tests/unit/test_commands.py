"""What psql's commands are taken for: arguments as psql 15 and 18 were seen to read them; what is refused, and why."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbinit.sql.commands import (
    KNOWN,
    REFUSED,
    Command,
    CommandError,
    Kind,
    Target,
    command_name,
    parse_command,
)
from dbinit.sql.conditions import Conditions
from dbinit.sql.copying import CopyFrom
from dbinit.sql.variables import Variables

quick = settings(max_examples=300)
VARIABLES = {"v": "v'a\\lue", "w": "x y;", "n": "-n", "t": "true", "e": ""}


def parse(raw: str) -> Command:
    return parse_command(raw, Variables(VARIABLES))


def error(raw: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        parse(raw)
    return caught.value


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("", ""),
        ("a  b\tc", "a b c"),
        ("a;", "a;"),
        ("'it''s' '' \"a b\"c", 'it\'s  "a b"c'),
        (r"'\n\t\b\r\f'", "\n\t\b\r\f"),
        (r"'\101\x41\x4g\7\q\'\\'", "AA\x04g\x07q'\\"),
        (r"'\xc3\xa9'", "é"),
        ("'a'b'c'\"d\"", 'abc"d"'),
        (":v :'v' :\"v\"", "v'a\\lue  E'v''a\\\\lue' \"v'a\\lue\""),
        (":w:w x:w", "x y;x y; xx y;"),
        (":nope :'nope' :\"nope\" ::v :v1", ":nope :'nope' :\"nope\" :v'a\\lue :v1"),
        (":{?v} :{?nope} :{? :{?v", "TRUE FALSE :{? :{?v"),
        (":'v x'", ":v x"),
        ("\":v\" ':v'", '":v" :v'),
        ("a=b|c (d) -- e", "a=b|c (d) -- e"),
        ("a:", "a:"),
        ("é\u00a0ü", "é\u00a0ü"),
        ("-n a", "a"),
        ("'-n' a", "-n a"),
        (":n a", "-n a"),
        ("a -n", "a -n"),
        ("-n -n b", "-n b"),
        ("a\\b", "a"),
    ],
)
def test_arguments_are_read_as_psql_does(argument: str, text: str) -> None:
    for name in ("echo", "qecho", "warn"):
        command = parse(f"\\{name} {argument}")
        assert command == Command(name, Kind.WARN if name == "warn" else Kind.ECHO, (text,))


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        (r"\set", ()),
        (r"\set x", ("x", "")),
        (r"\set x ''", ("x", "")),
        (r"\set x a b  c;", ("x", "abc;")),
        (r"\set x 'select 1;' :t", ("x", "select 1;true")),
        (r"\set x :nope", ("x", ":nope")),
        (r"\set a-b 1", ("a-b", "1")),
        (r"\unset x", ("x",)),
        (r"\if", ("",)),
        (r"\if not true", ("not true",)),
        (r"\elif :{?nope}", ("FALSE",)),
        (r"\i 'a b.sql'", ("a b.sql",)),
        (r"\i a.sql;;", ("a.sql",)),
        (r"\include :'t'", ("'true'",)),
        (r"\ir ../x/:t.sql;", ("../x/true.sql",)),
        (r"\include_relative 'a;'", ("a;",)),
        (r"\ir 'a';b;", ("a;b",)),
        (r"\gset", ()),
        (r"\gset pre_", ("pre_",)),
        (r"\gexec", ()),
        (r"\restrict abcDEF12;", ("abcDEF12",)),
        (r"\unrestrict abcDEF12", ("abcDEF12",)),
        (r"\encoding", ()),
        (r"\encoding latin1;", ("latin1",)),
        (r"\g", ()),
        (r"\g (format=csv tuples_only=on)", ()),
        (r"\gx (format=csv) /dev/null", ()),
        (r"\pset format 'un''aligned'", ("format", "un'aligned")),
        (r"\o", ()),
        (r"\o /dev/null;", ("/dev/null;",)),
        (r"\h create `table", ()),
        (r"\else", ()),
        (r"\q", ()),
    ],
)
def test_what_is_left_of_arguments(raw: str, arguments: tuple[str, ...]) -> None:
    command = parse(raw)
    assert (command.arguments, command.extra) == (arguments, ())
    assert command.kind is KNOWN[command_name(raw)]


@pytest.mark.parametrize(
    ("raw", "extra"),
    [
        (r"\endif a 'b'", ("a", "b")),
        (r"\i a b", ("b",)),
        (r"\unset a b :t", ("b", "true")),
        (r"\g /dev/null a", ("a",)),
        (r"\c a b c d e f", ("e", "f")),
    ],
)
def test_arguments_that_are_too_many_are_told(raw: str, extra: tuple[str, ...]) -> None:
    assert parse(raw).extra == extra


@pytest.mark.parametrize(
    ("raw", "name"),
    [(r"\i", "i"), (r"\dt+ x", "dt+"), (r"\g;", "g;"), (r"\\", ""), (r"\a\t", "a"), ("\\x\ty", "x"), ("", "")],
)
def test_a_name_ends_at_a_blank_or_a_backslash(raw: str, name: str) -> None:
    assert command_name(raw) == name


@pytest.mark.parametrize(
    ("raw", "message", "offset", "advice"),
    [
        (r"\nonsense", r"there is no psql command \nonsense", 0, "take it out"),
        (r"\q;", r"there is no psql command \q;", 0, "semicolon"),
        ("\\", "there is no psql command \\", 0, "take it out"),
        (r"\! rm -r x", r"does not run the psql command \!", 0, "programs"),
        (r"\dt+ public.*", r"\dt+", 0, "only shows"),
        (r"\getenv x HOME", r"\getenv", 0, "-v name=value"),
        (r"\prompt 'Name: ' x", r"\prompt", 0, "-v name=value"),
        (r"\echo a `date` b", "starts a program", 8, "programs"),
        (r"\pset format `x`", "starts a program", 13, "programs"),
        (r"\g | less", "starts a program", 3, "programs"),
        (r"\gx '|less'", "starts a program", 4, "programs"),
        (r"\g (format=csv) out.csv", "writes a file", 16, "leave the name out"),
        (r"\g (format=csv out.csv", "parenthesis is not closed", 3, "close it"),
        (r"\o :t", "writes a file", 3, "leave the name out"),
        (r"\out |cat", "starts a program", 5, "programs"),
        (r"\set x 'abc", "quote is not closed", 7, "same line"),
        (r'\set x a"bc', "quote is not closed", 8, "same line"),
        (r"\i ", r"\i lacks its argument", 0, "behind it"),
        (r"\ir ;", r"\ir lacks its argument", 0, "behind it"),
        (r"\unset", "lacks its argument", 0, "behind it"),
        (r"\restrict", "lacks its argument", 0, "behind it"),
        (r"\echo a 'b\000c'", "character 0", 8, "take it out"),
        (r"\echo a '\xff'", "no characters in UTF-8", 8, "character itself"),
        (r"\echo '\303''\251'", "no characters in UTF-8", 6, "character itself"),
        ("\\echo \ud800", "no characters in UTF-8", 6, "character itself"),
        (r"\c postgresql://h/db", "connected to", 0, "nothing but the database"),
        (r"\c 'dbname=x sslmode=require'", "connected to", 0, "nothing but the database"),
        (r"\c 'dbname=x ='", "connected to", 0, "nothing but the database"),
        (r"\c -reuse-previous=maybe x", "neither true nor false", 0, "use true"),
    ],
)
def test_what_cannot_be_run_is_told_with_what_to_do(raw: str, message: str, offset: int, advice: str) -> None:
    caught = error(raw)
    assert message in str(caught)
    assert message in caught.message
    assert caught.offset == offset
    assert advice in caught.advice


def test_no_command_is_both_known_and_refused() -> None:
    assert not set(KNOWN) & set(REFUSED)
    assert all(REFUSED.values())
    for name in REFUSED:
        assert error(f"\\{name}").advice == REFUSED[name]


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        (r"\c", Target()),
        (r"\connect -", Target()),
        (r"\connect '-'", Target("-")),
        (r"\connect Db;", Target("Db")),
        (r'\connect "my ""db"" x";', Target('my "db" x')),
        (r'\connect my" d"b', Target("my db")),
        (r"\c - u - 5432", Target(None, "u", None, "5432")),
        (r"\c db u h 1", Target("db", "u", "h", "1")),
        (r"\c -reuse-previous=on db", Target("db")),
        (r"""\connect -reuse-previous=on "dbname='it\'s a=b'" """, Target("it's a=b")),
        (r"\c 'dbname = x user=me host='", Target("x", "me")),
        (r"\c 'host=/run port=1 dbname=a\\ b'", Target("a b", None, "/run", "1")),
    ],
)
def test_where_connect_leads(raw: str, target: Target) -> None:
    assert parse(raw).target == target


@pytest.mark.parametrize(
    ("raw", "copy"),
    [
        (r"\copy t from 'f.csv'", CopyFrom("COPY t FROM STDIN", "f.csv")),
        (r"\copy t from 'f.csv';", CopyFrom("COPY t FROM STDIN", "f.csv")),
        (r"\copy t FROM stdin ;", CopyFrom("COPY t FROM STDIN", None)),
        (r"\copy t from 'stdin'", CopyFrom("COPY t FROM STDIN", "stdin")),
        (r"\copy t from f.csv csv header", CopyFrom("COPY t FROM STDIN csv header", "f.csv")),
        (r"\copy t from f.csv;csv", CopyFrom("COPY t FROM STDIN csv", "f.csv")),
        (
            r"""\copy "S.x" . "t ""q"" " (a, "b c") From 'it''s.csv' with (format csv, delimiter ';') where a > 0""",
            CopyFrom(
                r"""COPY "S.x" . "t ""q"" " (a, "b c") FROM STDIN with (format csv, delimiter ';') where a > 0""",
                "it's.csv",
            ),
        ),
        (r"\copy t(a)from 'f' delimiter E'\t' -- c", CopyFrom(r"COPY t(a) FROM STDIN delimiter E'\t'", "f")),
        (r"\copy :t from ':v'", CopyFrom("COPY :t FROM STDIN", ":v")),
        (r"\copy binary t from 'f'", CopyFrom("COPY binary t FROM STDIN", "f")),
        (r"\copy from from 'f'", CopyFrom("COPY from FROM STDIN", "f")),
    ],
)
def test_copy_becomes_a_statement_and_a_file(raw: str, copy: CopyFrom) -> None:
    assert parse(raw) == Command("copy", Kind.COPY, copy=copy)


@pytest.mark.parametrize(
    ("raw", "message", "offset"),
    [
        (r"\copy", "understood at its end", 5),
        (r"\copy t from", "understood at its end", 12),
        (r"\copy t", "understood at its end", 7),
        (r"\copy a.b.c from 'f'", "understood at \".c from 'f'\"", 9),
        (r"\copy t (a from 'f'", "understood at its end", 19),
        (r"\copy t from 'f", "understood at", 13),
        (r'\copy "t from f', "understood at", 6),
        (r"\copy t into 'f'", "understood at \"into 'f'\"", 8),
        (r"\copy t to 'f'", r"does not run \copy ... to", 8),
        (r"\copy (select 1) to 'f'", r"does not run \copy (query) to", 6),
        (r"\copy t from program 'ls'", "starts a program", 13),
        (r"\copy t from pstdin", "standard input", 13),
        (r"\copy t from 'f' with (a", "not complete", 0),
        (r"\copy t from 'f' csv; drop table t", "not complete", 0),
        (r"\copy t from 'f' \g", "not complete", 0),
    ],
)
def test_what_copy_cannot_be(raw: str, message: str, offset: int) -> None:
    caught = error(raw)
    assert message in str(caught)
    assert caught.offset == offset
    assert caught.advice


# --- \if -----------------------------------------------------------------------------------------------------------


def run(*commands: str) -> str:
    """Return what is run of commands, one letter each."""
    conditions, variables = Conditions(), Variables(VARIABLES)
    ran = ""
    for offset, raw in enumerate(commands):
        if not conditions.take(raw, variables, offset):
            assert conditions.active
            ran += parse_command(raw, variables).arguments[0]
    conditions.finish()
    return ran


@pytest.mark.parametrize(
    ("script", "ran"),
    [
        (r"\echo a", "a"),
        (r"\if 1|\echo a|\endif|\echo b", "ab"),
        (r"\if 0|\echo a|\endif|\echo b", "b"),
        (r"\if 0|\echo a|\else|\echo b|\endif", "b"),
        (r"\if 1|\echo a|\else|\echo b|\endif", "a"),
        (r"\if 0|\echo a|\elif on|\echo b|\elif 1|\echo c|\else|\echo d|\endif", "b"),
        (r"\if 0|\elif no|\echo b|\else|\echo d|\endif", "d"),
        (r"\if 1|\if 0|\echo a|\else|\echo b|\endif|\echo c|\endif", "bc"),
        (r"\if 0|\if 1|\echo a|\elif 1|\echo b|\else|\echo c|\endif|\else|\echo d|\endif", "d"),
        (r"\if :{?nope}|\echo a|\elif :t|\echo b|\endif", "b"),
        # Where psql does not look at arguments, they may be anything.
        (r"\if 1|\elif `false`|\elif huh|\endif|\echo a", "a"),
        (r"\if 0|\if huh|\elif 'x|\endif|\endif|\echo a", "a"),
        (r"\if 0|\! rm|\dt|\i|\set x 'a|\endif|\echo a", "a"),
        (r"\if 0|\endif a b|\echo a", "a"),
    ],
)
def test_what_runs_under_conditions(script: str, ran: str) -> None:
    assert run(*script.split("|")) == ran


@pytest.mark.parametrize(
    ("script", "message", "offset"),
    [
        (r"\else", r"\else has no \if", 0),
        (r"\elif 1", r"\elif has no \if", 0),
        (r"\endif", r"\endif has no \if", 0),
        (r"\if 1|\endif|\endif", r"\endif has no \if", 0),
        (r"\if 1|\else|\else", r"\else cannot stand behind \else", 0),
        (r"\if 0|\else|\elif 1", r"\elif cannot stand behind \else", 0),
        (r"\if 0|\if 1|\else|\else", r"\else cannot stand behind \else", 0),
        (r"\if maybe", r'the expression of \if is "maybe"', 0),
        (r"\if", r'the expression of \if is ""', 0),
        (r"\if 0|\elif :nope", r'the expression of \elif is ":nope"', 0),
        (r"\if `true`", "starts a program", 4),
        (r"\if 0|\nonsense", r"there is no psql command \nonsense", 0),
        (r"\echo a|\if 1", r"this \if has no \endif", 1),
        (r"\if 1|\endif|\if 0|\if 1|\else", r"this \if has no \endif", 3),
    ],
)
def test_what_conditions_cannot_be(script: str, message: str, offset: int) -> None:
    with pytest.raises(CommandError) as caught:
        run(*script.split("|"))
    assert message in str(caught.value)
    assert caught.value.offset == offset
    assert caught.value.advice


def test_an_error_changes_nothing() -> None:
    conditions, variables = Conditions(), Variables()
    with pytest.raises(CommandError):
        conditions.take(r"\if maybe", variables)
    assert conditions.active
    conditions.finish()


# --- whatever comes ------------------------------------------------------------------------------------------------

FRAGMENTS = [
    *("'", '"', "`", ":v", ":'v'", ':"w"', ":{?v}", ":", ";", "\\", "\\x", "\\777", "\\0", "(", ")", " ", "\n", "|"),
    *("-", "a", "b=c", "from", "to", "stdin", ".", ",", "/dev/null", "\u00a0", "\ud800", "\0", "é", "-reuse-previous="),
]
arguments = st.lists(st.sampled_from(FRAGMENTS), max_size=10).map("".join) | st.text(max_size=10)
names = st.sampled_from([*KNOWN, *REFUSED, "", "d", "nonsense"])


@quick
@given(names, arguments)
def test_nothing_but_a_command_error_is_raised(name: str, argument: str) -> None:
    raw = f"\\{name} {argument}"
    try:
        command = parse(raw)
    except CommandError as caught:
        found = caught
    else:
        assert command.kind is KNOWN[name]
        return
    assert 0 <= found.offset <= len(raw)
    assert found.message
    assert found.advice


@quick
@given(st.lists(st.sampled_from(["if 1", "if 0", "if x", "elif 1", "elif 0", "else", "endif", "echo a"]), max_size=12))
def test_conditions_raise_nothing_else_either(commands: list[str]) -> None:
    conditions, variables = Conditions(), Variables()
    for command in commands:
        try:
            taken = conditions.take(f"\\{command}", variables)
        except CommandError:
            continue
        assert taken or conditions.active


@quick
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_quoted_argument_reads_back(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    assert parse(f"\\set x '{quoted}'").arguments == ("x", value)
