r"""Scripts that nobody would write, from a grammar that loves quotes, dollars, comments, parentheses and backslashes.

It leaves out where psql does not do what the SQL means, as it reads line by line: an escape string that goes on in the
next line, and `begin`, `case` and `end` where they are names. Those have a test of their own.
"""

from collections.abc import Callable, Iterator

__all__ = ["DECISIONS", "script"]

DECISIONS = 400
"""Bytes that a script of the usual size takes."""


class Draw:
    """Makes every choice in a script by the next byte; where there is none left, it takes what comes first.

    So any bytes are a script, and fewer and smaller ones are a simpler script.
    """

    def __init__(self, decisions: bytes) -> None:
        self._decisions: Iterator[int] = iter(decisions)

    def one(self, *options: "str | Rule") -> str:
        """Return one of the options."""
        option = options[next(self._decisions, 0) % len(options)]
        return option if isinstance(option, str) else option(self)

    def some(self, part: "Rule", most: int, least: int = 0) -> str:
        """Return none of a part, or one, or several."""
        count = least + next(self._decisions, 0) % (most - least + 1)
        return "".join(part(self) for _ in range(count))


Rule = Callable[[Draw], str]

# --- what may stand inside of quotes and comments, to mislead ---------------------------------------------------------

_BAIT = [
    *"a1 ;\n'\"$\\()-/*:@.,é\u00a0表😀\r\t\ufeff",
    *("''", '""', "$$", "$a$", "$1", "--", "/*", "*/", ":x", "E'", "U&'"),
    *("\\'", "\\\\", "\\;", "\\.\n", "\n\\echo a\n", "\n\n", "\n \n", "\r\n"),
    *("BEGIN ATOMIC ", " END; ", "CASE ", "COPY t FROM stdin;\n", "SELECT 1;", "\n;\n"),
]


def bait(without: str, *more: str) -> Rule:
    """Return what draws text without some characters, apart from those in `more`."""
    usable = [part for part in _BAIT if not set(part) & set(without)] + 2 * list(more)
    return lambda draw: draw.some(lambda draw: draw.one(*usable), 5)


# --- gaps -------------------------------------------------------------------------------------------------------------

_in_line, _in_comment = bait("\n\r"), bait("*/", "* ", "/ ")


def line_comment(draw: Draw) -> str:
    return "--" + _in_line(draw) + draw.one("\n", "\n", "\r\n", "\r")


def comment(draw: Draw) -> str:
    inner = draw.one("", "/*;*/", comment)
    return f"/*{_in_comment(draw)}{inner}{_in_comment(draw)}" + draw.one("*/", "***/")


def blank(draw: Draw) -> str:
    return draw.one(*" \n \t \f \v\r", "\n\n", "\r\n", " \n\n \n")


def gap(draw: Draw) -> str:
    return draw.one(" ", blank, blank, line_comment, comment, "/***/", lambda draw: gap(draw) + gap(draw), "/*/;*/")


# --- tokens -----------------------------------------------------------------------------------------------------------

_unquoted = bait("'", "''", "''''")
_escaped = bait("'\\", "''", "\\'", "\\\\", "\\\\\\'", "\\n", "\\\n")
_in_dollars, _in_tagged = bait("$", "$ ", "$1 "), bait("$", "$ ", "$$ ", "$b$ ", "$a ")
_in_identifier = bait('"', '""')


def _raw(draw: Draw) -> str:
    return _unquoted(draw) + draw.one("", "", "\\")


def plain_string(draw: Draw) -> str:
    return f"{draw.one('', 'N', 'xe', 'n')}'{_raw(draw)}'"


def escape_string(draw: Draw) -> str:
    # What stands before it keeps a name from taking the E, and what stands behind it, the next one from continuing it.
    return f"{draw.one(' E', ',e', '+E')}'{_escaped(draw)}',"


def prefixed_string(draw: Draw) -> str:
    return f"{draw.one('U&', 'u&', 'B', 'b', 'X', 'x')}'{_raw(draw)}'"


def continued_string(draw: Draw) -> str:
    line_end = draw.one("\n", "\r\n", " \n\n", "-- c'\n", " -- c\r\n", line_comment)
    return draw.one(plain_string, prefixed_string) + line_end + draw.one("", blank) + f"'{_raw(draw)}'"


def dollar_quote(draw: Draw) -> str:
    tag = draw.one("$a$", "$_$", "$é$", "$body$", "$a1$", "$a_é$")
    return draw.one(" $$" + _in_dollars(draw) + "$$", f" {tag}{_in_tagged(draw)}{tag}")


def identifier(draw: Draw) -> str:
    return draw.one('"', 'U&"', 'u&"') + _in_identifier(draw) + '"'


def name(draw: Draw) -> str:
    plain = ("a", "x1", "SELECT", "_", "xe", "n", "u", "b", "from", "cast")
    return draw.one(*plain, "é", "表", "\u00a0", "\ufeff", "a$b", "a$b$c", "é$", "a$$")


def number(draw: Draw) -> str:
    usual = ("1", "1.5", ".5", "1.", "1e5", "1e-5", "0x1F", "1_000", "$1", "$22")
    return draw.one(*usual, "1..2", "1e- ", "1e ", "1.e ", "1$ ", "1a$b", "$1a", "$22$ ", "1x'y'")


def operator(draw: Draw) -> str:
    # None that makes another token of what stands behind it.
    signs = (
        *"+*<>=~!@#%^&|`?[],",
        ": ",
        ".a",
        "- ",
        "/ ",
        "$ ",
        "::",
        ":=",
        "->>",
        "<->",
        "|/",
        "- -",
        "/ *",
        "* /",
        "*/",
    )
    return draw.one(*signs, "@- ", _operator_before_comment)


def _operator_before_comment(draw: Draw) -> str:
    return draw.one(*"+-@*<", "@@", "<-") + draw.one(line_comment, comment)


def reference(draw: Draw) -> str:
    # A colon stays away from names with dollars: psql takes `:a` for a variable, and `$b$` behind it for a quote.
    variables = (":x ", ":y ", ":'x'", ":'y'", ":'z'", ':"x"', ":{?x}", "a[1:x]", "::int")
    return draw.one(*variables, "\\: ", "\\:x ", "\\;", "\\;\\;")


def token(draw: Draw) -> str:
    strings = (plain_string, plain_string, escape_string, prefixed_string, continued_string, dollar_quote)
    return draw.one(name, number, operator, reference, identifier, ")", "1e'\\'", *strings, parentheses)


def parentheses(draw: Draw) -> str:
    return "(" + draw.some(lambda draw: draw.one(token, ";", gap), 4) + ")"


def phrase(draw: Draw) -> str:
    """Return tokens with gaps and without; a word first, as only SQL begins so."""
    word = draw.one("SELECT", "VALUES", "DO", name)
    return word + gap(draw) + draw.some(lambda draw: draw.one(token, token, gap), 8)


# --- statements -------------------------------------------------------------------------------------------------------


def routine(draw: Draw) -> str:
    """Return a routine with a body of statements."""
    words = ["create", *draw.one("FUNCTION", "PROCEDURE", "OR REPLACE FUNCTION", "or replace procedure").split()]
    words += ["f(a", "int", "DEFAULT", "1)", "RETURNS", "int", draw.one("BEGIN", "begin"), "ATOMIC"]
    return "".join(word + gap(draw) for word in words) + draw.some(_line_of_body, 3) + draw.one("END", "end", "End")


def _line_of_body(draw: Draw) -> str:
    return draw.one("SELECT", "RETURN", "") + gap(draw) + draw.some(_part_of_body, 3) + ";" + draw.one("", blank)


def _part_of_body(draw: Draw) -> str:
    decoys = ("(CASE 1 WHEN 1 THEN 2 END)", '"end"', "weekend", "begin_at", " $$END;$$", "'case'", "/*END;*/")
    return draw.one(token, _case, *decoys) + gap(draw)


def _case(draw: Draw) -> str:
    return f"CASE{gap(draw)}WHEN {token(draw)} THEN {draw.one(token, _case)}{gap(draw)}END"


def copy(draw: Draw) -> str:
    """Return one or two COPYs with their data, and other statements on the same line."""
    csv = draw.one("", "csv")
    count = 1 + len(draw.one("", "2"))
    heads = [_copy_in_csv(draw) if csv else _copy_in(draw) for _ in range(count)]
    rest = draw.one("", " ", " SELECT 1;", " -- c", " SELECT 'a'", "\r", " SELECT $$;$$ /* c */;", " SELECT 1")
    data = [draw.some(_row_of_csv if csv else _row, 4) + draw.one("\\.\n", "\\.\n", "\\.\r\n") for _ in heads]
    # Behind the data a statement follows: psql stops reading where an empty one does.
    following = draw.one("SELECT 2;", "COMMIT; ", "\n\nSELECT\n2;")
    before = draw.one("", comment, line_comment, "copy t\nfrom -- c\nstdin;COPY t FROM 'x';\n\\.\n")
    return before + "; ".join(heads) + f";{rest}\n" + "".join(data) + following


def _copy_in(draw: Draw) -> str:
    plain = ("COPY t FROM stdin", "copy public.t (a, b) from stdin", "COPY t FROM stdin ")
    return draw.one(*plain, 'COPY "t;" ("a b") FROM STDIN WITH (FORMAT text)', "COPY t FROM stdin WHERE a > ';'")


def _copy_in_csv(draw: Draw) -> str:
    return draw.one("COPY t FROM stdin CSV", "COPY t FROM stdin (FORMAT csv)", "copy t from stdin with csv header")


def _row(draw: Draw) -> str:
    tricks = ("\\.x", " \\.", "\\. ", "\\\\.", "$$", "", "\\N", "/*", "--", '"', "é\t表", "(", "SELECT 1;", "\\echo")
    return draw.one("1\ta;'", *tricks, "x\r") + "\n"


def _row_of_csv(draw: Draw) -> str:
    return draw.one('1,"a;b"', '2,"x""y"', '3,"two\nlines"', "4,it's", "5,\\", "", ' "6" ') + "\n"


def old_strings(draw: Draw) -> str:
    """Return statements that are read with `standard_conforming_strings` off, from the line behind the SET on."""
    off = draw.one("SET standard_conforming_strings = off", "set session standard_conforming_strings to 'off'")
    on = draw.one("SET standard_conforming_strings TO on", "RESET standard_conforming_strings", "RESET ALL")
    still = draw.one("", " SELECT 'a\\';", " SELECT E'\\'';", "-- c", " /* c */")
    again = draw.one("", " SELECT 'a\\';b';", " SELECT 1;")
    return f"{off};{still}\n{draw.some(_old_statement, 3)}{on};{again}\n"


def _old_statement(draw: Draw) -> str:
    return f"SELECT{gap(draw)}{draw.some(_old_part, 4)};{blank(draw)}"


def _old_part(draw: Draw) -> str:
    plain = f"'{_escaped(draw)}'"
    token = draw.one(plain, escape_string, f"{plain}\n{plain}", dollar_quote, identifier, number, f"(\n{plain};)")
    return f"{token}{gap(draw)}"


def command(draw: Draw) -> str:
    """Return a command that sends nothing; some end with their line, others before."""
    lines = ("\\C a;b\n", "\\pset null '(null)'\n", "\\timing on\n", "\\C it''s\n", "\\C :x\n", "\\C :'x'\n")
    variables = ("\\set x 1\n", "\\set y 'a b'\n", "\\set x :y 2\n", "\\unset x\n", "\\set z\n")
    return draw.one(
        *lines, *variables, "\\t\\a\n", "\\C 'a;b' \\\\ ", "\\x \\\\ ", "\\C a \\x \\\\ ", "\\a \\\\\n", "\\pset\n"
    )


def usual(draw: Draw) -> str:
    """Return what is found in many scripts."""
    transactions = ("BEGIN;", "COMMIT;", "END;", "begin; ", "END\n;", "ROLLBACK;")
    void = (";", ";;", " ; ", "-- c;'\n", "/* ; */;", "\n\n")
    copies = ("COPY t FROM '/stdin';", "COPY (SELECT 1 FROM stdin) TO '/x';")
    others = ("SELECT CASE WHEN true THEN 1 END;", "SELECT 1) ; ", "DO $$ BEGIN PERFORM 1; END $$;")
    rule = "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2;);"
    function = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2';"
    restricted = "\\restrict k\nSELECT ';';\n\\unrestrict k\n"
    return draw.one(*transactions, *void, *copies, *others, rule, function, restricted)


def statement(draw: Draw) -> str:
    def ended(draw: Draw) -> str:
        return draw.one("", gap) + draw.one(phrase, phrase, routine) + ";"

    # Not behind a comment: psql takes one for the beginning of a statement, and the command for a part of that.
    return draw.one(usual, ended, ended, ended, copy, old_strings, command)


def ending(draw: Draw) -> str:
    """Return what a script ends with: nothing, something that lacks its semicolon, or something that is left open."""
    data = ("COPY t FROM stdin;", "COPY t FROM stdin;\n1\n2", "COPY t FROM stdin;\n\\.\nSELECT")
    return draw.one("", phrase, routine, *data, "\\a", "\\x ", "--", "SELECT 1 -- c;", _open)


def _open(draw: Draw) -> str:
    quotes = (("'", _raw), ("E'", _escaped), ('"', _in_identifier), ("/*", _in_comment), (" $a$", _in_dollars))
    opened = [(lambda draw, sign=sign, inside=inside: sign + inside(draw)) for sign, inside in quotes]
    cut = draw.one(*opened, lambda draw: parentheses(draw)[:-1], lambda draw: f"; {routine(draw)[:-3]}")
    return f"SELECT {cut}"


def well_formed(draw: Draw) -> str:
    """Return statements that end where they should, and something at the end that need not."""
    mark = draw.one("", "\ufeff")
    end = draw.one("\n", "\n", "\n", "\r\n")
    text = draw.some(lambda draw: statement(draw) + draw.one("\n", "", " ", blank), 5) + ending(draw)
    return mark + text.replace("\r\n", "\n").replace("\n", end)


def soup(draw: Draw) -> str:
    """Return what need not end anywhere.

    There is no escape string and no word of a routine in it, which might come to stand where psql does not follow.
    """
    signs = (*"'\"$();-/*:@.x1 \n\r,", "''", "$$", "$a$", "$é$", "$1", "--", "/*", "*/", "/**/", "\\;", "::", ":x")
    words = ("U&'", 'u&"', "B'", "X'", "N'", "é", "1e-", "1e'", "1.", "0x1", "a$b", "1$", "'a'\n'b'", "\n\n")
    phrases = ("SELECT 1;", "((", "))", "(1;2)", ";\n", "-- c\n", "$$;$$")
    return draw.some(lambda draw: draw.one(*signs, *words, *phrases), 30)


def script(decisions: bytes) -> str:
    """Return the script that the decisions stand for."""
    draw = Draw(decisions)
    return draw.one(well_formed, well_formed, well_formed, soup)
