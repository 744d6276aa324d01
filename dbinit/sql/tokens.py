"""The patterns of the tokens, after PostgreSQL 18: https://www.postgresql.org/docs/18/sql-syntax-lexical.html. Pure."""

import re
from functools import cache

__all__ = [
    "ATOMIC",
    "CLOSINGS",
    "COMMAND",
    "COMMENT_SIGNS",
    "DOLLAR_TAG",
    "EMPTY",
    "FORMS",
    "GAPS",
    "KEYWORD",
    "LENIENT",
    "NAMES",
    "OPENINGS",
    "ROUTINE",
    "SEMICOLONS",
    "STANDARD",
    "VARIABLE",
    "compiled",
    "exact",
    "usual_part",
    "usual_statement",
    "without_variables",
]

# Patterns are kept as text and compiled when first needed, which makes importing this module cheap. None may catch
# a group inside a possessive quantifier: up to Python 3.13 that can end in a SystemError (python/cpython#101955).

# Characters. All above ASCII are letters, no-break spaces too; a complemented class says so, and is the quickest.
_BLANK = r"[ \t-\r]"
_LETTER = r"[^\x00-@\[-^`{-\x7f]"
_ALNUM = r"[^\x00-/:-@\[-^`{-\x7f]"
_NAME = r"[^\x00-#%-/:-@\[-^`{-\x7f]"  # what a name goes on with: letters, digits, the dollar sign
_SYMBOL = r"!#%&*+,<=>?@\[\]^`{|}~\x00-\x08\x0e-\x1f\x7f"  # means nothing here, whatever stands beside it

_WORD = f"{_LETTER}{_NAME}*+"
KEYWORD = f"(?ai:begin|case|end)(?!{_NAME})"
NAMES = f"{_NAME}*+"
ATOMIC = f"(?ai:atomic)(?!{_NAME})"
ROUTINE = rf"(?ai:create{_BLANK}++(?:or{_BLANK}++replace{_BLANK}++)?+(?:function|procedure))(?!{_NAME})"
_ANY_WORD = f"[ACac]{_NAME}*+|[BEXbex](?!'){_NAME}*+"
DOLLAR_TAG = rf"\$(?:{_LETTER}{_ALNUM}*+)?+\$"
VARIABLE = rf""":(?:{_ALNUM}++|'{_ALNUM}++'|"{_ALNUM}++"|\{{\?{_ALNUM}++\}})"""

_COLON = f"::|:=|{VARIABLE}|:"
FORMS = {"'": ":'x'", '"': ':"x"', "{": ":{?x}"}

# Comments nest: one level is read here, and what is deeper by whoever reads on. `re` looks a character up faster in a
# class that is not complemented and all below 256, so such a one goes ahead where most of a text is read.
_LINE_COMMENT = r"--[\x00-\t\v\f\x0e-\xff]*+[^\n\r]*+"
_COMMENT = r"/\*{text}(?:(?:\*(?!/)|/(?!\*){nested}){text})*+\*/".replace("{text}", r"[\x00-)+-.0-\xff]*+[^*/]*+")
_COMMENT = _COMMENT.replace("{nested}", "|" + _COMMENT.replace("{nested}", ""))
_GAP = f"(?:{_BLANK}++|{_LINE_COMMENT}|{_COMMENT})"
GAPS = f"{_GAP}*+"
EMPTY = f"(?:;|{_GAP})*+"

# A string goes on behind its closing quote if a line ends before the next quote, with nothing but blanks and
# `--` comments between. Only what a backslash means depends on it, so plain strings need not look. Likewise a doubled
# quote may be read as the end of one plain string and the beginning of another.
_CONTINUED = rf"(?:[ \t\v\f]|{_LINE_COMMENT})*+[\n\r](?:{_BLANK}|{_LINE_COMMENT}[\n\r])*+'"
_RAW = "[^']*+'"
_DOUBLED = "(?:[^']++|'')*+'"
_ESCAPED = r"(?:[^'\\]++|\\.|'')*+'"

# A number takes the letters and digits behind it along, be they an error or a hexadecimal; so does an exponent. The
# sign of an exponent belongs to it even when no digit follows: `1e--` does not begin a comment.
_DIGITS = "[0-9]++(?:_[0-9]++)*+"
_NUMBER = (
    rf"{_DIGITS}(?:\.(?:{_DIGITS})?+)?+[eE][-+](?:[0-9]++(?:{_WORD})?+)?+"
    rf"|[0-9]++(?:(?:_[0-9]++)*+\.[0-9]*+)?+(?:{_WORD})?+"
)

# Many signs at once, so that a hundred thousand of them take no longer than other text. Between the parentheses stand
# only such strings as cannot disturb counting them, and groups that are closed again.
COMMENT_SIGNS = r"(?:/\*)++|(?:\*/)++"
_HARMLESS = r"""(?:[^"$'()\\/-]++|'[^'()\\]*+')*+"""
OPENINGS = rf"\((?:{_HARMLESS}(?:\({_HARMLESS}\)|\())*+"
CLOSINGS = rf"\)(?:{_HARMLESS}\)){{0,31}}+"
_HARMLESS_BUT_SEMICOLONS = _HARMLESS.replace("[^", "[^;", 1)
SEMICOLONS = f";(?:{_HARMLESS_BUT_SEMICOLONS};)*+"

# Some commands take the rest of the line as it is. The others end at a backslash outside quotes: that of the next
# command, or of `\\`, which only separates.
COMMAND = (
    rf"\\(?:(?:!|copy|ef|ev|h|help|sf\+?|sv\+?)(?={_BLANK}|\\|\Z)|(?:gx?|o|out|w|write)[ \t]++\|)[^\n]*+"
    r"|\\[^\\ \t-\r]*+(?:[^\n\\'\"`]++|'(?:[^\n\\']++|\\[^\n])*+'?+|\"[^\n\"]*+\"?+|`[^\n`]*+`?+)*+"
)

# Of parentheses, in a usual statement, and in a part of a body, which the server writes with many.
_USUAL_DEPTH, _USUAL_DEPTH_IN_BODY = 6, 6
_OTHER_IN_PARENTHESES = r"[\x00-!#%&*-,.0-\[\]-\xff]*+"  # all below 256 that begin no token of interest
# pg_dump's, for bodies with dollar signs in them, and what people write.
_USUAL_TAGS = ("_", "body", "BODY", "do", "DO", "f", "fn", "func", "function", "sql", "trigger", "procedure", "proc")


def _string(body: str) -> str:
    """Return the pattern of a string behind its opening quote, together with what continues it."""
    return f"{body}(?:{_CONTINUED}{body})*+(?!{_CONTINUED})"


# What stands behind the quote of a plain string: with standard_conforming_strings, and without.
STANDARD, LENIENT = _RAW, _string(_ESCAPED)


def _tokens(plain: str) -> str:
    """Return the pattern of the tokens that are the same everywhere, or nearly so, the frequent ones first.

    Words that begin with one of ABCEUX, parentheses, dots, semicolons, backslashes and dollar quotes are not among
    them, nor is anything that is not closed: there a run of these tokens stops, and whoever runs it decides.
    `plain` is STANDARD or LENIENT.
    """
    return "|".join(
        (
            rf"[^\x00-@A-CEUX\[-^`a-ceux{{-\x7f]{_NAME}*+",
            f"[{_SYMBOL}]++",
            f"'{plain}",
            '"[^"]*+"',
            f"[0-9]++(?!{_NAME}|[.])",
            "-(?!-)",
            r"/(?!\*)",
            f"[uU](?!&'){_NAME}*+",
            _COLON,
            _NUMBER,
            rf"\$(?:[0-9]++(?:{_WORD})?+|(?!{DOLLAR_TAG[2:]}))",
            f"[eE]'{_string(_ESCAPED)}",
            f"[bBxX]'{_string(_RAW)}",
            f"[uU]&'{_string(_DOUBLED)}",
        )
    )


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the pattern compiled; it is kept."""
    return re.compile(pattern, re.DOTALL)


def _run(tokens: str) -> re.Pattern[str]:
    """Compile a pattern for all tokens up to a stop: group 1 ends with the last token, the match with the gap."""
    return compiled(f"((?:{_GAP}*+(?:{tokens})++)*+){_GAP}*+")


@cache
def exact(plain: str) -> re.Pattern[str]:
    """Return what reads up to a semicolon, a parenthesis, or a keyword that may bound a function body."""
    tokens = _tokens(plain)
    words = "|".join(
        (
            rf"\.(?:{_GAP}*+(?={KEYWORD}){_WORD})?+",
            rf"[Aa](?:[Ss]{_GAP}++(?={KEYWORD}){_WORD}|{_NAME}*+)",
            f"(?!{KEYWORD})(?:[BEXbex](?!')|[Cc]){_NAME}*+",
        )
    )
    closed = rf"\((?:{tokens}|{_ANY_WORD}|[;.]|{_GAP})*+\)"
    return _run(rf"{tokens}|{closed}|{words}")


@cache
def without_variables(plain: str) -> re.Pattern[str]:
    """Return what reads anywhere, up to a variable."""
    return _run(f"(?!{VARIABLE})(?:{_tokens(plain)}|{_ANY_WORD}|[;.()])")


@cache
def usual_statement() -> re.Pattern[str]:
    """Return what takes a usual statement: group 1 is the statement, behind it the semicolon if all went well.

    It is for standard_conforming_strings.
    """
    # All characters below 256 that begin no token of interest.
    outer, nested = r"[\x00-!#%&*-,.0-:<-\[\]-\xff]*+", _usual_parentheses(_USUAL_DEPTH)
    void = rf"[; \t-\r]*+(?:(?:{_LINE_COMMENT}|{_COMMENT})[; \t-\r]*+)*+"
    return compiled(f"{void}({_usual_tokens(outer, nested)})(?:;|)")


@cache
def usual_part() -> re.Pattern[str]:
    """Return what takes a usual part of a routine with a body of SQL: up to a semicolon or a keyword of blocks.

    Group 1 is the part; the last group is named after what stands behind it, and is 1 if that is something else. It
    is for standard_conforming_strings.
    """
    # A keyword is noticed by a letter of it that is rare. Where it may be but a name (x.end, AS end), the run stops.
    words = "|".join(
        (
            "",
            rf"[dD](?:(?<![nN][dD])|(?<![eE][nN][dD])|(?={_NAME}))",
            rf"[cC](?!(?ai:ase)(?!{_NAME}))",
            rf"[bB](?!(?ai:egin)(?!{_NAME}))",
            rf"[aA](?:(?![sS])|(?=[sS]{_NAME})|[sS](?!{GAPS}{KEYWORD}))",
            rf"\.(?!{GAPS}{KEYWORD})",
            f":(?!{KEYWORD})",
        )
    )
    other, nested = r"[\x00-!#%&*-,0-9<-@E-\[\]-`e-\xff]*+", _usual_parentheses(_USUAL_DEPTH_IN_BODY)
    alone = {word: f"(?<!{_NAME}(?ai:{word}))(?!{_NAME})" for word in ("begin", "case", "end")}
    stops = "|".join(
        (
            "(?P<semicolon>;)",
            f"(?P<end>(?<=[eE][nN])[dD]{alone['end']})",
            f"(?P<case>(?ai:case){alone['case']})",
            f"(?P<begin>(?ai:begin){alone['begin']}{_GAP}++{ATOMIC})",
        )
    )
    return compiled(f"({_usual_tokens(other, nested + words)})(?:{stops}|)")


def _usual_parentheses(depth: int) -> str:
    """Return the pattern of parentheses with usual tokens in them, as one more alternative; "" if `depth` is 0."""
    nested = ""
    for _ in range(depth):
        nested = rf"|\({_usual_tokens(_OTHER_IN_PARENTHESES, nested)}\)"
    return nested


def _tagged() -> str:
    """Return the pattern of what stands behind the first dollar sign of a quote with one of the usual tags.

    To take any tag would need a group to go back to.
    """
    return "|".join(rf"{tag}\$(?:[^$]++|\$(?!{tag}\$))*+\${tag}\$" for tag in _USUAL_TAGS)


def _usual_tokens(other: str, nested: str) -> str:
    """Return the pattern of a run of tokens that tells them apart by the one or two characters before them.

    Words and numbers are not read as such, which saves most of the work. So a quote behind an E begins a string with
    escapes if what stands before that E cannot belong to the same word or number, and is a plain one if it surely
    does; `$` begins a dollar quote or a parameter if it cannot belong to a name, and `--` a comment if its first dash
    cannot be the sign of an exponent. Where there is doubt, the run stops.
    """
    tokens = "|".join(
        (
            f"'(?<![eE]'){_RAW}{nested}",
            f"-(?!-)|(?<![0-9.][eE]){_LINE_COMMENT}",
            '"[^"]*+"',
            rf"/(?!\*)|{_COMMENT}",
            rf"'(?<={_ALNUM}[eE]'){_RAW}",
            rf"'(?<=[eE]')(?<![$.:][eE]'){_ESCAPED}(?!{_BLANK}*+(?:'|--))",
            rf"\$(?<!{_NAME}\$)(?:\$(?:[^$]++|\$(?!\$))*+\$\$|[0-9]++|{_tagged()})",
            r"[^\x00-\xff]++",
        )
    )
    return f"{other}(?:(?:{tokens}){other})*+"
