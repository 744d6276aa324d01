r"""Cuts a text into SQL statements and backslash commands, by psql's rules.

A text is read in two ways that agree. `_usual()` is a pattern that takes a whole statement at once; all its
quantifiers are possessive, so it runs in C and never goes back. What it does not take to a clean semicolon (a
dollar sign inside a name, deep parentheses, a function body, an unclosed quote) is read again from its beginning by
`Lexer._statement()`, token by token, which is exact. Both take time in proportion to the text, whatever it holds.

Where psql, which reads line by line, loses its way, the meaning of the SQL is followed instead: `x.end`, `AS end`
and a `begin` without ATOMIC neither open nor close a function body, CREATE SCHEMA may hold one, and what continues
an `E'...'` string on the next line has escapes too.

The tokens are those of PostgreSQL 18: https://www.postgresql.org/docs/18/sql-syntax-lexical.html
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Literal, NamedTuple

__all__ = ["Lexer", "Piece", "Reference", "UnterminatedError", "references", "split"]


class Piece(NamedTuple):
    r"""A statement or a command, as offsets into the text it was read from.

    `text[start:end]` is a statement without the semicolon, blanks and comments around it, or a command from its
    backslash to its last character that is not blank. Reading goes on at `next`.

    `stop` says what ended a statement: ";", "\\" (the command that stands at `next`) or "" (the text was over).
    For a command it is always "". What is left of a statement behind a command may be empty (`start == end`): then
    `stop` is all there is to know.
    """

    kind: Literal["sql", "command"]
    start: int
    end: int
    next: int
    stop: str


class Reference(NamedTuple):
    r"""A place in a statement that psql puts something else in.

    `form` is how it is written: `:x`, `:'x'`, `:"x"` or `:{?x}` for the variable `name`; or `\;` or `\:`, which
    stand for the character behind the backslash and have no name.
    """

    form: str
    name: str
    start: int
    end: int


class UnterminatedError(Exception):
    """The text ended inside of something: `what` it is, and the `offset` where it opened."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(f"unterminated {what}")
        self.what = what
        self.offset = offset


# Patterns are kept as text and compiled when first needed, which makes importing this module cheap. None may catch
# a group inside a possessive quantifier: up to Python 3.13 that can end in a SystemError (python/cpython#101955).

# Characters. All above ASCII are letters, no-break spaces too; a complemented class says so, and is the quickest.
_BLANK = r"[ \t-\r]"
_LETTER = r"[^\x00-@\[-^`{-\x7f]"
_ALNUM = r"[^\x00-/:-@\[-^`{-\x7f]"
_NAME = r"[^\x00-#%-/:-@\[-^`{-\x7f]"  # what a name goes on with: letters, digits, the dollar sign
_SYMBOL = r"!#%&*+,<=>?@\[\]^`{|}~\x00-\x08\x0e-\x1f\x7f"  # means nothing here, whatever stands beside it

_WORD = f"{_LETTER}{_NAME}*+"
_KEYWORD = f"(?ai:begin|case|end)(?!{_NAME})"
_NAMES = f"{_NAME}*+"
_ATOMIC = f"(?ai:atomic)(?!{_NAME})"
_ANY_WORD = f"[ACac]{_NAME}*+|[BEXbex](?!'){_NAME}*+"
_DOLLAR_TAG = rf"\$(?:{_LETTER}{_ALNUM}*+)?+\$"
_VARIABLE = rf""":(?:{_ALNUM}++|'{_ALNUM}++'|"{_ALNUM}++"|\{{\?{_ALNUM}++\}})"""

_COLON = f"::|:=|{_VARIABLE}|:"
_FORMS = {"'": ":'x'", '"': ':"x"', "{": ":{?x}"}

# Comments nest: one level is read here, and what is deeper by _comment_end(). `re` looks a character up faster in a
# class that is not complemented and all below 256, so such a one goes ahead where most of a text is read.
_LINE_COMMENT = r"--[\x00-\t\v\f\x0e-\xff]*+[^\n\r]*+"
_COMMENT = r"/\*{text}(?:(?:\*(?!/)|/(?!\*){nested}){text})*+\*/".replace("{text}", r"[\x00-)+-.0-\xff]*+[^*/]*+")
_COMMENT = _COMMENT.replace("{nested}", "|" + _COMMENT.replace("{nested}", ""))
_GAP = f"(?:{_BLANK}++|{_LINE_COMMENT}|{_COMMENT})"
_GAPS = f"{_GAP}*+"
_EMPTY = f"(?:;|{_GAP})*+"

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
_COMMENT_SIGNS = r"(?:/\*)++|(?:\*/)++"
_HARMLESS = r"""(?:[^"$'()\\/-]++|'[^'()\\]*+')*+"""
_OPENINGS = rf"\((?:{_HARMLESS}(?:\({_HARMLESS}\)|\())*+"
_CLOSINGS = rf"\)(?:{_HARMLESS}\)){{0,31}}+"
_SEMICOLONS = f";(?:{_HARMLESS};)*+"

# Some commands take the rest of the line as it is. The others end at a backslash outside quotes: that of the next
# command, or of `\\`, which only separates.
_COMMAND = (
    rf"\\(?:(?:!|copy|ef|ev|h|help|sf\+?|sv\+?)(?={_BLANK}|\\|\Z)|(?:gx?|o|out|w|write)[ \t]++\|)[^\n]*+"
    r"|\\[^\\ \t-\r]*+(?:[^\n\\'\"`]++|'(?:[^\n\\']++|\\[^\n])*+'?+|\"[^\n\"]*+\"?+|`[^\n`]*+`?+)*+"
)

_USUAL_DEPTH = 6  # of parentheses, in a usual statement
_LONG = 100_000  # characters: a statement that is not copied to look for a word in it

# What asks for a closer look when a semicolon stands behind it: a blank, or the end of a comment.
_BEFORE_SEMICOLON = " \t\n\v\f\r/"

# The first words of statements that may hold a function body, apart from OR REPLACE, and what all of them begin with.
_ROUTINES = (["create", "function"], ["create", "procedure"], ["create", "schema"])
_INITIALS = ("Cc", "FfPpOoSs", "Rr", "FfPp")


def _string(body: str) -> str:
    """Return the pattern of a string behind its opening quote, together with what continues it."""
    return f"{body}(?:{_CONTINUED}{body})*+(?!{_CONTINUED})"


# What stands behind the quote of a plain string: with standard_conforming_strings, and without.
_STANDARD, _LENIENT = _RAW, _string(_ESCAPED)


def _tokens(plain: str) -> str:
    """Return the pattern of the tokens that are the same everywhere, or nearly so, the frequent ones first.

    Words that begin with one of ABCEUX, parentheses, dots, semicolons, backslashes and dollar quotes are not among
    them, nor is anything that is not closed: there a run of these tokens stops, and whoever runs it decides.
    `plain` is _STANDARD or _LENIENT.
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
            rf"\$(?:[0-9]++(?:{_WORD})?+|(?!{_DOLLAR_TAG[2:]}))",
            f"[eE]'{_string(_ESCAPED)}",
            f"[bBxX]'{_string(_RAW)}",
            f"[uU]&'{_string(_DOUBLED)}",
        )
    )


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def _run(tokens: str) -> re.Pattern[str]:
    """Compile a pattern for all tokens up to a stop: group 1 ends with the last token, the match with the gap."""
    return _compile(f"((?:{_GAP}*+(?:{tokens})++)*+){_GAP}*+")


@cache
def _exact(plain: str) -> re.Pattern[str]:
    """Return what reads up to a semicolon, a parenthesis, or a keyword that may bound a function body."""
    tokens = _tokens(plain)
    words = "|".join(
        (
            rf"\.(?:{_GAP}*+(?={_KEYWORD}){_WORD})?+",
            rf"[Aa](?:[Ss]{_GAP}++(?={_KEYWORD}){_WORD}|{_NAME}*+)",
            f"(?!{_KEYWORD})(?:[BEXbex](?!')|[Cc]){_NAME}*+",
        )
    )
    closed = rf"\((?:{tokens}|{_ANY_WORD}|[;.]|{_GAP})*+\)"
    return _run(rf"{tokens}|{closed}|{words}")


@cache
def _without_variables(plain: str) -> re.Pattern[str]:
    """Return what reads anywhere, up to a variable."""
    return _run(f"(?!{_VARIABLE})(?:{_tokens(plain)}|{_ANY_WORD}|[;.()])")


@cache
def _usual() -> re.Pattern[str]:
    """Return what takes a usual statement: group 1 is the statement, behind it the semicolon if all went well.

    It is for standard_conforming_strings.
    """
    # All characters below 256 that begin no token of interest: inside parentheses, and outside.
    inner, outer = r"[\x00-!#%&*-,.0-\[\]-\xff]*+", r"[\x00-!#%&*-,.0-:<-\[\]-\xff]*+"
    nested = ""
    for _ in range(_USUAL_DEPTH):
        nested = rf"|\({_usual_tokens(inner, nested)}\)"
    void = rf"[; \t-\r]*+(?:(?:{_LINE_COMMENT}|{_COMMENT})[; \t-\r]*+)*+"
    return _compile(f"{void}({_usual_tokens(outer, nested)})(?:;|)")


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
            rf"\$(?<!{_NAME}\$)(?:\$(?:[^$]++|\$(?!\$))*+\$\$|[0-9]++)",
            r"[^\x00-\xff]++",
        )
    )
    return f"{other}(?:(?:{tokens}){other})*+"


def _end(pattern: str, text: str, position: int) -> int:
    """Return where `pattern`, one that matches everywhere, has matched to."""
    match = _compile(pattern).match(text, position)
    return match.end() if match else position


def _skip(text: str, position: int, gaps: str = _GAPS) -> int:
    """Return where the `gaps` at `position` end, comments of any depth included."""
    while True:
        position = _end(gaps, text, position)
        if not text.startswith("/*", position):
            return position
        position = _comment_end(text, position)


def _comment_end(text: str, start: int) -> int:
    """Return where the comment that opens at `start` ends, however deep it nests."""
    depth = 0
    for signs in _compile(_COMMENT_SIGNS).finditer(text, start):
        first, last = signs.span()
        count = (last - first) // 2
        if text[first] == "/":
            depth += count
        elif count < depth:
            depth -= count
        else:
            return first + 2 * depth
    raise UnterminatedError("comment", start)


def _dollar_end(text: str, start: int) -> int:
    """Return where the dollar-quoted string that opens at `start` ends."""
    tag = text[start : text.index("$", start + 1) + 1]
    end = text.find(tag, start + len(tag))
    if end < 0:
        raise UnterminatedError(f"dollar-quoted string {tag}", start)
    return end + len(tag)


def _trimmed(text: str, start: int, end: int) -> int:
    """Return where a statement ends that has blanks at its end, or 0 if there may be a comment too."""
    while text[end - 1] in " \t\n\v\f\r":
        end -= 1
    line = max(start, text.rfind("\n", start, end))
    return 0 if text[end - 1] == "/" or text.find("--", line, end) >= 0 else end


def _is_command(text: str, position: int) -> bool:
    r"""Tell whether a command begins at `position`; `\;` and `\:` are none."""
    return text.startswith("\\", position) and not text.startswith((";", ":"), position + 1)


def _may_have_body(text: str, start: int) -> bool:
    """Tell whether a statement is CREATE [OR REPLACE] FUNCTION or PROCEDURE, or CREATE SCHEMA."""
    words: list[str] = []
    for initials in _INITIALS:
        start = _skip(text, start)
        if text[start : start + 1] not in initials:
            break
        end = _end(_NAMES, text, start)
        words.append(text[start:end].lower())
        start = end
    if words[1:3] == ["or", "replace"]:
        del words[1:3]
    return words[:2] in _ROUTINES


class Lexer:
    """Reads a text piece by piece.

    Between two calls of `read()`, `position` may be moved (behind data that is no SQL, say), and
    `standard_conforming_strings` may be set as that setting of the session changes. To iterate over a lexer is the
    quickest way to read all that is left; then neither may be touched.

    A byte order mark at the beginning of the text is passed over.
    """

    def __init__(self, text: str, *, standard_conforming_strings: bool = True) -> None:
        self._text = text
        self.position = 1 if text.startswith("\ufeff") else 0
        self.standard_conforming_strings = standard_conforming_strings
        # Of the statement that is being read, or was when a command interrupted it.
        self._interrupted = False  # and nothing but commands has been read since
        self._goes_on = False  # with what is read next
        self._may_have_body = False
        self._depth = 0  # of open parentheses
        self._blocks = 0  # open in a function body: the body itself, and each CASE
        self._opened = 0  # where the outermost parenthesis did
        self._begun = 0  # where the body did

    def read(self) -> Piece | None:
        """Return the next statement or command, or None when there is no more.

        Raises:
            UnterminatedError: The text ends within a quote, a comment, a parenthesis or a function body.
        """
        return next(iter(self), None)

    def next_start(self) -> int:
        """Return where the next piece begins, or where the text ends.

        Raises:
            UnterminatedError: The text ends within a comment.
        """
        if _is_command(self._text, self.position):
            return self.position
        return _skip(self._text, self.position, _GAPS if self._goes_on else _EMPTY)

    def __iter__(self) -> Iterator[Piece]:
        """Yield what `read()` would return, up to the end."""
        text, new = self._text, tuple.__new__  # Piece() takes three times as long
        while True:
            start = self.position
            usual = self.standard_conforming_strings and not self._goes_on
            for match in _usual().finditer(text, start) if usual else ():
                start, end = match.span(1)
                following = match.end()
                if following == end:
                    break
                # A semicolon in a function body does not end the statement; the word is the cheapest sign of one.
                if text[start] in "cC" and (end - start > _LONG or "atomic" in text[start:end].lower()):
                    break
                if text[end - 1] in _BEFORE_SEMICOLON and not (end := _trimmed(text, start, end)):
                    break
                self.position = following
                yield new(Piece, ("sql", start, end, following, ";"))
            piece = self._read(start)
            if not piece:
                return
            yield piece

    def resume(self) -> None:
        r"""Go on with the statement that the command just read stands in.

        Otherwise the command has ended it: right for `\g`, `\gset` and `\r`, but not for `\echo` and `\set`. What is
        read next is then the rest of that statement, in its parentheses and all; it may be another command too.
        """
        self._goes_on = self._interrupted

    def _read(self, start: int) -> Piece | None:
        """Do what `read()` does, exactly and whatever comes, from `start` on."""
        text = self._text
        if start < len(text) and text[start] != "\\":
            start = _skip(text, start, _GAPS if self._goes_on else _EMPTY)
        if _is_command(text, start):
            self._interrupted, self._goes_on = self._goes_on, False
            return self._command(start)
        if not self._goes_on:
            if start == len(text):
                self.position = start
                return None
            self._depth = self._blocks = 0
            self._may_have_body = _may_have_body(text, start)
        end, position = self._statement(start)
        stop = text[position : position + 1]
        self._goes_on = stop == "\\"
        self.position = position + (stop == ";")
        return Piece("sql", start, end, self.position, stop)

    def _command(self, start: int) -> Piece:
        text = self._text
        position = _end(_COMMAND, text, start)
        end = start + len(text[start:position].rstrip(" \t\n\v\f\r"))
        self.position = position + (2 if text.startswith("\\\\", position) else 0)
        return Piece("command", start, end, self.position, "")

    def _statement(self, position: int) -> tuple[int, int]:
        """Read a statement; return where its last token ends, and where what stopped it stands."""
        text, end = self._text, position
        tokens = _exact(_STANDARD if self.standard_conforming_strings else _LENIENT)
        while match := tokens.match(text, position):
            end = match.end(1) if match.end(1) > position else end
            position = match.end()
            stop = text[position : position + 1]
            if stop == "/":
                position = _comment_end(text, position)
            elif self._ends(stop, position):
                break
            else:
                end = position = self._pass(stop, position)
        return end, position

    def _ends(self, stop: str, position: int) -> bool:
        """Tell whether the statement ends with what a run of tokens has stopped at."""
        if stop == ";":
            return not self._depth and not self._blocks
        if stop:
            return stop == "\\" and _is_command(self._text, position)
        if self._depth:
            raise UnterminatedError("parenthesis", self._opened)
        if self._blocks:
            raise UnterminatedError("BEGIN ATOMIC body", self._begun)
        return True

    def _pass(self, stop: str, position: int) -> int:
        """Take what a run of tokens has stopped at, and return where it ends."""
        text = self._text
        if stop == "(":
            return self._open(position)
        if stop == ")":
            return self._close(position)
        if stop == "$":
            return _dollar_end(text, position)
        if stop == ";":
            return _end(_SEMICOLONS if self._depth else ";", text, position)
        if stop == "\\":
            if text[position + 1] == ";" and not self._blocks:  # another statement begins there
                self._may_have_body = _may_have_body(text, position + 2)
            return position + 2
        if stop == '"':
            raise UnterminatedError("quoted identifier", position)
        if word := _compile(_KEYWORD).match(text, position):
            self._bound(word[0].lower(), position)
            return word.end()
        raise UnterminatedError("quoted string", position)

    def _open(self, position: int) -> int:
        text = self._text
        end = _end(_OPENINGS, text, position)
        if not self._depth:
            self._opened = position
        self._depth += text.count("(", position, end) - text.count(")", position, end)
        return end

    def _close(self, position: int) -> int:
        text = self._text
        if not self._depth:
            return _end(r"\)++", text, position)
        end = _end(_CLOSINGS, text, position)
        while self._depth and position < end:
            position = text.index(")", position, end) + 1
            self._depth -= 1
        return position

    def _bound(self, keyword: str, position: int) -> None:
        """Count what opens or closes a function body, or a CASE in it."""
        if self._depth:
            return
        if keyword != "begin":
            if self._blocks:
                self._blocks += 1 if keyword == "case" else -1
        elif self._may_have_body:
            following = _skip(self._text, position + len(keyword))
            if _compile(_ATOMIC).match(self._text, following):
                self._begun = self._begun if self._blocks else position
                self._blocks += 1


def split(text: str, *, standard_conforming_strings: bool = True) -> Iterator[Piece]:
    """Yield the statements and commands of a text; every command ends the statement it stands in.

    Raises:
        UnterminatedError: The text ends within a quote, a comment, a parenthesis or a function body.
    """
    return iter(Lexer(text, standard_conforming_strings=standard_conforming_strings))


def references(
    text: str, start: int = 0, end: int | None = None, *, standard_conforming_strings: bool = True
) -> Iterator[Reference]:
    """Yield what psql would replace in the statement `text[start:end]`, in order, whether a variable is set or not.

    Raises:
        UnterminatedError: What is given is not a whole statement.
    """
    tokens = _without_variables(_STANDARD if standard_conforming_strings else _LENIENT)
    position, end = start, len(text) if end is None else end
    while match := tokens.match(text, position, end):
        position = match.end()
        if position >= end:
            return
        if text.startswith("/*", position):
            position = _comment_end(text, position)
        elif _compile(_DOLLAR_TAG).match(text, position):
            position = _dollar_end(text, position)
        elif variable := _compile(_VARIABLE).match(text, position, end):
            position = variable.end()
            form = _FORMS.get(variable[0][1], ":x")
            yield Reference(form, variable[0].strip(":'\"{?}"), *variable.span())
        elif text[position] == "\\":
            position += 2
            yield Reference(text[position - 2 : position], "", position - 2, position)
        else:
            raise UnterminatedError("quoted string", position)
