"""What the lexer makes of each kind of token, where things open that do not close, and texts made to be slow."""

import re

import pytest

from dbinit.sql.lexer import Lexer, Reference, UnterminatedError, references, split

# Each text shows in « » the pieces it must be cut into.
CASES = [
    # Nothing to send.
    "",
    " \n\t",
    ";;",
    ";\n ; -- c\n;",
    "-- only\n/* comments */",
    # Semicolons, blanks, comments.
    "«SELECT 1»",
    "«SELECT 1»;",
    "«\ufeffSELECT 1»;«\ufeff»",
    "«SELECT 1» ; ;; «SELECT 2»\n;",
    "«SELECT 1»; --",
    "«SELECT 1» -- c",
    "«SELECT 1» /* c */ -- c\n;",
    "«SELECT 1» -- c\r ;",
    "«SELECT 1 */»;«SELECT 2 - - 3»\n;",
    "-- c;\n«SELECT 1»;\r\n-- c;\r\n«SELECT 2»;\r\n",
    "-- c\r;\r«SELECT 1»",
    "/* a /* b; */ ; */ «SELECT 1»;",
    "«SELECT 1» /*/ ; */;",
    "/*/*/*;*/*/;*/«SELECT/*/*/*;*/*/;**/1»/*/*/*;*/*/;*/;«SELECT 2»",
    "«SELECT 1 @-- c;\n 2»;",
    "«SELECT 1 */* c; */ 2»;",
    "«SELECT 4 / 2 - -1»; «SELECT '/*'»; «SELECT '--'»;",
    # Strings and quoted identifiers.
    "«SELECT ';'';'»; «SELECT 2»;",
    "«SELECT 'a'\n'b;c'»;",
    "«SELECT 'a\\'»; «SELECT 2»;",
    "«SELECT E'\\';'»;",
    "«SELECT e'\\\\'»;«SELECT e'a''\\';'»;",
    "«SELECT 'a'e'\\';'»;",
    "«SELECT xe'\\'»;«SELECT ';'»;",
    "«SELECT 1e'\\'»;«SELECT ';'»;",
    "«SELECT 1.e'\\'»;«SELECT ';'»;",
    "«SELECT :e'\\'»;«SELECT ';'»;",
    "«SELECT a$e'\\'»;«SELECT ';'»;",
    "«SELECT x.e'\\';'»;",
    "«SELECT a::e'\\';'»;",
    "«SELECT $e'\\';'»;",
    "«SELECT $$;$$e'\\';'»;",
    "«SELECT U&'a\\'»;«SELECT ';'»;",
    "«SELECT B'1\\'»;«SELECT X'1\\'»;«SELECT n'1\\'»;",
    "«SELECT E'a'\n'b\\'c;d'»;",
    "«SELECT E'a' -- c\n \n-- c\n'b\\';'»;",
    "«SELECT E'a' 'b\\'»;«SELECT 2»",
    "«SELECT E'a' /*\n*/ 'b\\'»;«SELECT 2»",
    '«SELECT "a;""b;", U&"\\"»;«SELECT 2»',
    # Dollar quotes, parameters, names, numbers.
    "«SELECT $$;$$»;«$a$;$$;$a$»;",
    "«$delim$;$junk$delim$»;",
    "«SELECT $é$;$é$»;",
    "«SELECT $a-b$»;«SELECT $a-b$»;",
    "«SELECT $1»;«SELECT $2»;",
    "«SELECT $1$$;$$»;",
    "«SELECT $1a$$»;«SELECT $$;$$»",
    "«SELECT 1$$;$$»;",
    "«SELECT 1_0$$»;«SELECT 0x1$$»;",
    "«SELECT 1e--c»;\n«SELECT 2»;",
    "«SELECT 1_0.e--c»;\n«SELECT 2»;",
    "«SELECT e--c;\n2»;",
    "«SELECT 1e-1--c;\n2»;",
    "«SELECT 1..e'\\';', 1_0.e'\\'»;«SELECT 2»;",
    "«SELECT a$b$»;«SELECT c$b$»;",
    "«SELECT é$$»;«SELECT ü$$»;",
    "«SELECT\u00a0$$»;«SELECT 語$$»;",
    "«SELECT :a$$;$$»;«SELECT ::a$$»;",
    # Parentheses.
    "«CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2;)»;",
    "«SELECT 1)»; «SELECT 2»;",
    "«SELECT ')', \")\", $$)$$ /* ) */, 1»;",
    "«SELECT (')', \"(\", $$($$ /* ) */ -- )\n ;)»;",
    "«SELECT ((((((((((1;))))))))))»;«SELECT 2»;",
    "«SELECT ((((((((((1;)a)b)c);)$a$)$a$);E'\\''))))»;«SELECT 2»;",
    # Function bodies.
    "«CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END»; «SELECT 3»;",
    "«CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE x WHEN 1 THEN CASE WHEN y THEN 2 END END; END»; «SELECT 3»;",
    '«CREATE FUNCTION f() BEGIN ATOMIC SELECT (("x" END)), (("x" CASE)); END»; «SELECT 3»;',
    "«CREATE FUNCTION f() BEGIN ATOMIC SELECT 1\\; BEGIN ATOMIC SELECT 2; END; END»; «SELECT 3»;",
    "«CREATE FUNCTION f() BEGIN ATOMIC ;;RETURN false;; END»;",
    "«create /*x*/ or -- y\nreplace PROCEDURE p() begin/**/atomic SELECT 1; END»;«SELECT 2»",
    "«CREATE FUNCTION f() BEGIN ATOMIC SELECT x.begin, x . end, 1 AS end, end_, (a END); END»;«SELECT 2»",
    "«CREATE FUNCTION begin() RETURNS int AS 'x'»; «SELECT 2»;",
    "«CREATE FUNCTION begin(begin int) BEGIN ATOMIC SELECT begin; END»; «SELECT 2»;",
    "«CREATE SCHEMA s CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END»; «SELECT 2»;",
    "«CREATE FUNCTION f() AS 'BEGIN ATOMIC'»; «SELECT 1»;",
    "«CREATE TABLE atomic (begin int)»; «SELECT 1»;",
    "«BEGIN»; «SELECT CASE WHEN true THEN 1 END»; «END»;",
    # Backslashes.
    "«SELECT 1\\; SELECT 2»;",
    "«SELECT 1\\; CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END»; «SELECT 2»",
    "«SELECT a[1\\:2]»;",
    "«SELECT 1»; «\\echo hi» \\\\ «SELECT 2»;",
    "«SELECT 1» «\\gset»\n«SELECT 2»;",
    "«SELECT (1» -- c\n «\\g»\n«SELECT 2»;",
    "«\\echo a» «\\echo b» \r\n«\\q»",
    "«\\echo 'a\\\\b\\'' \"\\\\\" `\\\\` ; x» \\\\;«SELECT 1»",
    "«\\echo 'a»\n«SELECT 1»;",
    "«\\copy t from 'a\\\\b' \\x»\n«SELECT 1»;",
    "«\\copyright»\\\\«SELECT 1»;",
    "«\\! ls \\\\ x»\n«\\g |cat \\\\ x»\n",
    "«\\»\\\\«SELECT 1»",
    # NUL is a character like others.
    "«SELECT \x00»;«SELECT '\x00'»;",
]


def cut(text: str, *, standard_conforming_strings: bool = True) -> list[str]:
    pieces = split(text, standard_conforming_strings=standard_conforming_strings)
    return [text[piece.start : piece.end] for piece in pieces]


def check(case: str, *, standard_conforming_strings: bool = True) -> None:
    text = re.sub("[«»]", "", case)
    expected = re.findall("«([^»]*)»", case)
    assert cut(text, standard_conforming_strings=standard_conforming_strings) == expected


@pytest.mark.parametrize("case", CASES)
def test_cases(case: str) -> None:
    check(case)


@pytest.mark.parametrize(
    "case",
    [
        "«SELECT '\\';'»;",
        "«SELECT 'a''\\';'»;",
        "«SELECT ('\\';')»;",
        "«SELECT n'\\';', e'\\';'»;",
        "«SELECT 'a'\n'\\';'»;",
        "«SELECT U&'\\'»;«SELECT b'\\'»;«SELECT X'\\'»;«SELECT 2»;",
        "«SELECT U&'a'\n'\\'»;«SELECT 2»;",
        "«SELECT U&'\\''\\'»;«SELECT b'1''\\';'»;",
        "«SELECT xb'\\';'»;",
    ],
)
def test_cases_without_standard_conforming_strings(case: str) -> None:
    check(case, standard_conforming_strings=False)


@pytest.mark.parametrize(
    ("text", "what", "offset"),
    [
        ("SELECT 1; SELECT 'a;", "quoted string", 17),
        ("SELECT ('a;", "quoted string", 8),
        ("SELECT E'a\\';", "quoted string", 7),
        ("SELECT E'a'\n'b\\';", "quoted string", 7),
        ('SELECT "a;', "quoted identifier", 7),
        ("SELECT $$;$a$;", "dollar-quoted string $$", 7),
        ("SELECT ($a$;$$;", "dollar-quoted string $a$", 8),
        ("SELECT 1; /* a /* b */;", "comment", 10),
        ("SELECT 1 /*;", "comment", 9),
        ("SELECT (1; SELECT 2;\nSELECT 3;", "parenthesis", 7),
        ("SELECT (1), (2 + (3);", "parenthesis", 12),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; SELECT 2;", "BEGIN ATOMIC body", 20),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE; END;", "BEGIN ATOMIC body", 20),
    ],
)
def test_unterminated(text: str, what: str, offset: int) -> None:
    with pytest.raises(UnterminatedError) as caught:
        list(split(text))
    assert (caught.value.what, caught.value.offset) == (what, offset)
    assert str(caught.value) == f"unterminated {what}"


def test_pieces_say_where_they_stand_and_what_ended_them() -> None:
    text = " SELECT 1 ; SELECT 2 \\g x \\\\ SELECT 3 "
    assert [tuple(piece) for piece in split(text)] == [
        ("sql", 1, 9, 11, ";"),
        ("sql", 12, 20, 21, "\\"),
        ("command", 21, 25, 28, ""),
        ("sql", 29, 37, 38, ""),
    ]


def test_a_statement_goes_on_behind_a_command_when_told_to() -> None:
    text = "CREATE FUNCTION f() BEGIN ATOMIC SELECT (1 \\echo a \\echo b\n;2); END; \\echo c\n SELECT 3;"
    lexer, pieces = Lexer(text), []
    while piece := lexer.read():
        pieces.append((text[piece.start : piece.end], piece.stop))
        if piece.kind == "command":
            lexer.resume()
    assert pieces == [
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT (1", "\\"),
        ("\\echo a", ""),
        ("\\echo b", ""),
        (";2); END", ";"),
        ("\\echo c", ""),
        ("SELECT 3", ";"),
    ]


def test_nothing_but_the_end_of_a_statement_may_be_left_behind_a_command() -> None:
    for text, stop in (("SELECT 1 \\echo a\n;", ";"), ("SELECT 1 \\echo a\n", "")):
        lexer = Lexer(text)
        lexer.read()
        lexer.read()
        lexer.resume()
        rest = lexer.read()
        assert rest is not None
        assert (rest.start, rest.end, rest.stop) == (17, 17, stop)
        assert lexer.read() is None


def test_a_lexer_can_be_moved_and_told_of_settings_between_statements() -> None:
    text = "COPY t FROM stdin;\n'data;\n\\.\nSELECT 'a\\'; SELECT 'b\\';'; SELECT 3;"
    lexer = Lexer(text)
    assert lexer.read() == ("sql", 0, 17, 18, ";")
    lexer.position = text.index("\\.") + 2
    second = lexer.read()
    lexer.standard_conforming_strings = False
    third, fourth = lexer.read(), lexer.read()
    assert second is not None
    assert third is not None
    assert fourth is not None
    assert [text[piece.start : piece.end] for piece in (second, third, fourth)] == [
        "SELECT 'a\\'",
        "SELECT 'b\\';'",
        "SELECT 3",
    ]
    assert lexer.read() is None
    assert lexer.position == len(text)


def test_references() -> None:
    text = (
        ";;SELECT :a, :'b', :\"c\", :{?d}, x[1:e], :1 \\; :é, 'x:no'::no, $$:no$$, $t$:no$t$ -- :no\n"
        "/* :no */ /*/*/*:no*/*/*/ \\:no := :no_, :'no' :: :\"no, a:'no \";"
    )
    found = list(references(text, 2, text.index(":= :no_") + 2))
    assert [(one.form, one.name) for one in found] == [
        (":x", "a"),
        (":'x'", "b"),
        (':"x"', "c"),
        (":{?x}", "d"),
        (":x", "e"),
        (":x", "1"),
        ("\\;", ""),
        (":x", "é"),
        ("\\:", ""),
    ]
    assert [text[one.start : one.end] for one in found[:6]] == [":a", ":'b'", ':"c"', ":{?d}", ":e", ":1"]


def test_references_end_with_the_statement_and_see_its_strings() -> None:
    assert list(references("SELECT :abc", 0, 9)) == [Reference(":x", "a", 7, 9)]
    assert list(references(r"'\':a")) == [Reference(":x", "a", 3, 5)]
    assert list(references(r"'\':a'", standard_conforming_strings=False)) == []
    with pytest.raises(UnterminatedError):
        list(references("':a"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("(" * 300_000, "parenthesis"),
        ("(a" * 300_000, "parenthesis"),
        ("(;" * 300_000, "parenthesis"),
        ("('a'" * 100_000, "parenthesis"),
        ("((a)" * 100_000, "parenthesis"),
        ("(" * 100_000 + ");" * 99_999, "parenthesis"),
        ("'" * 300_001, "quoted string"),
        ("'a'" * 100_000 + "'", "quoted string"),
        ('"' * 300_001, "quoted identifier"),
        ("E'" + "\\\\" * 300_000, "quoted string"),
        ("E''\n" * 100_000 + "E'", "quoted string"),
        ("$a$" + "b$a" * 100_000, "dollar-quoted string $a$"),
        ("$$" + "$a$b" * 100_000, "dollar-quoted string $$"),
        ("".join(f"$a{i}$" for i in range(100_000)), "dollar-quoted string $a0$"),
        ("/*" * 300_000, "comment"),
        ("/*/" * 300_000, "comment"),
        ("/* * " * 100_000, "comment"),
        ("/*/*/**/*/" * 50_000, "comment"),
        ("CREATE FUNCTION f() BEGIN ATOMIC " + "CASE " * 100_000, "BEGIN ATOMIC body"),
    ],
)
def test_what_is_left_open_a_hundred_thousand_times_is_no_trouble(text: str, what: str) -> None:
    with pytest.raises(UnterminatedError) as caught:
        list(split(text))
    assert caught.value.what == what


@pytest.mark.parametrize(
    "text",
    [
        "a$b$" * 100_000,
        "$a$b" * 100_000 + "$a$",
        "SELECT " + "1," * 300_000,
        "SELECT a$, " + "((((((((1))))))))," * 20_000,
        ")" * 300_000,
        "(" * 100_000 + ")" * 100_000,
        "/*" * 100_000 + "*/" * 100_000 + "a",
        "--" * 300_000 + "\n-" + " -" * 100_000,
        "CREATE FUNCTION f() BEGIN ATOMIC " + "CASE END " * 50_000 + "END",
    ],
)
def test_a_long_statement_is_no_trouble(text: str) -> None:
    (piece,) = split(text)
    assert piece.end == len(text)
