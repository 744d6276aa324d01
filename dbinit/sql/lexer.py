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
_ATOMIC = f"(?ai:atomic)(?!{_NAME})"
_DOLLAR_TAG = rf"\$(?:{_LETTER}{_ALNUM}*+)?+\$"
_VARIABLE = rf""":(?:{_ALNUM}++|'{_ALNUM}++'|"{_ALNUM}++"|\{{\?{_ALNUM}++\}})"""

_COLON = f"::|:=|{_VARIABLE}|:"
_FORMS = {"'": ":'x'", '"': ':"x"', "{": ":{?x}"}

# Comments nest: one level is read here, and what is deeper by _comment_end().
_LINE_COMMENT = r"--[^\n\r]*+"
_COMMENT = r"/\*(?:[^*/]++|\*(?!/)|/(?!\*)%s)*+\*/"
_COMMENT %= "|" + _COMMENT % ""
_GAP = f"(?:{_BLANK}++|{_LINE_COMMENT}|{_COMMENT})"
_GAPS = f"{_GAP}*+"
_EMPTY = f"(?:;|{_GAP})*+"

# A string goes on behind its closing quote if a line ends before the next quote, with nothing but blanks and
# `--` comments between. Only what a backslash means depends on it, so plain strings need not look.
_CONTINUED = rf"(?:[ \t\v\f]|{_LINE_COMMENT})*+[\n\r](?:{_BLANK}|{_LINE_COMMENT}[\n\r])*+'"
_RAW = "[^']*+'"
_ESCAPED = r"(?:[^'\\]++|\\.|'')*+'"

_INTEGER = "[0-9](?:_?[0-9])*+"
_NUMBER = (
    r"(?:0(?:[xX](?:_?[0-9A-Fa-f])++|[oO](?:_?[0-7])++|[bB](?:_?[01])++)"
    rf"|{_INTEGER}(?:\.(?!\.)(?:{_INTEGER})?+)?+(?:[eE][-+]?+{_INTEGER})?+)"
)

# Many signs at once, so that a hundred thousand of them take no longer than other text. Closing parentheses come
# few at a time, for those taken in vain are read again.
_COMMENT_SIGNS = r"(?:/\*)++|(?:\*/)++"
_OPENINGS = r"""\((?:[^"$'()\\/-]*+\()*+"""
_CLOSINGS = r"""\)(?:[^"$'()\\/-]*+\)){0,31}+"""

# Some commands take the rest of the line as it is. The others end at a backslash outside quotes: that of the next
# command, or of `\\`, which only separates.
_COMMAND = (
    r"\\(?:(?:!|copy|ef|ev|h|help|sf\+?|sv\+?)(?=[\s\\]|\Z)|(?:gx?|o|out|w|write)[ \t]++\|)[^\n]*+"
    r"|\\[^\s\\]*+(?:[^\n\\'\"`]++|'(?:[^\n\\']++|\\[^\n])*+'?+|\"[^\n\"]*+\"?+|`[^\n`]*+`?+)*+"
)

_USUAL_DEPTH = 6  # of parentheses, in a usual statement

_ROUTINES = (["create", "function"], ["create", "procedure"], ["create", "schema"])


def _string(body: str) -> str:
    """Return the pattern of a string behind its opening quote, together with what continues it."""
    return f"{body}(?:{_CONTINUED}{body})*+(?!{_CONTINUED})"


# What stands behind the quote of a plain string: with standard_conforming_strings, and without.
_STANDARD, _LENIENT = _RAW, _string(_ESCAPED)


def _tokens(symbols: str, plain: str) -> str:
    """Return the pattern of the tokens that are the same everywhere.

    Parentheses, colons, backslashes and dollar quotes are not among them, nor is anything that is not closed: there
    a run of tokens stops, and whoever runs it decides. `plain` is _STANDARD or _LENIENT.
    """
    return "|".join(
        (
            f"(?!(?:[bBeExX]|[uU]&)'){_WORD}",
            f"[{symbols}]++",
            f"'{plain}",
            '"[^"]*+"',
            f"{_NUMBER}(?:{_WORD})?+",
            rf"\$(?:[0-9]++(?:{_WORD})?+|(?!(?:{_LETTER}{_ALNUM}*+)?+\$))",
            f"[eE]'{_string(_ESCAPED)}",
            f"(?:[bBxX]|[uU]&)'{_string(_RAW)}",
            "-(?!-)",
            r"/(?!\*)",
        )
    )


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def _run(tokens: str) -> re.Pattern[str]:
    """Compile a pattern for all tokens up to a stop: group 1 ends with the last token, the match with the gap."""
    return _compile(f"((?:{_GAP}*+(?:{tokens})++)*+){_GAP}*+")


@cache
def _outside(plain: str) -> re.Pattern[str]:
    """Return what reads outside parentheses, up to a semicolon or a keyword that may bound a function body."""
    label = rf"(?:\.{_GAP}*+|(?ai:as){_GAP}++)(?={_KEYWORD}){_WORD}"
    nested = rf"\((?:{_tokens(_SYMBOL + '.;', plain)}|{_COLON}|{_GAP})*+\)"
    return _run(rf"{label}|(?!{_KEYWORD})(?:{_tokens(_SYMBOL, plain)})|{nested}|[.)]|{_COLON}")


@cache
def _inside(plain: str) -> re.Pattern[str]:
    """Return what reads inside parentheses, where semicolons and keywords are nothing special."""
    flat = f"{_tokens(_SYMBOL + '.;', plain)}|{_COLON}"
    return _run(rf"{flat}|\((?:{flat}|{_GAP})*+\)")


@cache
def _without_variables(plain: str) -> re.Pattern[str]:
    """Return what reads anywhere, up to a variable."""
    return _run(rf"{_tokens(_SYMBOL + '.;()', plain)}|::|:=|(?!{_VARIABLE}):")


@cache
def _usual() -> re.Pattern[str]:
    """Return what takes a usual statement: group 1 is the statement, and behind it the semicolon if all is well.

    It is for standard_conforming_strings. Blanks or a comment before the semicolon are not usual: group 1 would have
    them at its end.
    """
    nested = ""
    for _ in range(_USUAL_DEPTH):
        nested = rf"|\({_usual_tokens('', nested)}\)"
    return _compile(f"{_EMPTY}({_usual_tokens(';', nested)})(?:;(?<!{_BLANK};)(?<!/;)|)")


def _usual_tokens(stop: str, nested: str) -> str:
    """Return the pattern of a run of tokens that tells them apart by the one or two characters before them.

    Words and numbers are not read as such, which saves most of the work. So a quote behind an E begins a string with
    escapes if what stands before that E cannot belong to the same word or number, and is a plain one if it surely
    does; `$` begins a dollar quote or a parameter if it cannot belong to a name. Where there is doubt, the run stops.
    """
    other = rf"""[^'"$()/\\{stop}-]*+"""
    tokens = "|".join(
        (
            f"'(?<![eE]'){_RAW}{nested}",
            r"-(?:-[^\n\r]*+)?+",
            '"[^"]*+"',
            r"/(?!\*)",
            _COMMENT,
            rf"'(?<={_ALNUM}[eE]'){_RAW}",
            rf"'(?<=[eE]')(?<!{_NAME}[eE]')(?<![.:][eE]'){_ESCAPED}(?!{_BLANK}*+(?:'|--))",
            rf"\$(?<!{_NAME}\$)(?:\$(?:[^$]++|\$(?!\$))*+\$\$|[0-9]++)(?!{_NAME})",
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
    tag = text[start : _end(_DOLLAR_TAG, text, start)]
    end = text.find(tag, start + len(tag))
    if end < 0:
        raise UnterminatedError(f"dollar-quoted string {tag}", start)
    return end + len(tag)


def _is_command(text: str, position: int) -> bool:
    r"""Tell whether a command begins at `position`; `\;` and `\:` are none."""
    return text.startswith("\\", position) and not text.startswith((";", ":"), position + 1)


def _may_have_body(text: str, start: int) -> bool:
    """Tell whether a statement is CREATE [OR REPLACE] FUNCTION or PROCEDURE, or CREATE SCHEMA."""
    words: list[str] = []
    while len(words) < 4 and (word := _compile(_WORD).match(text, _skip(text, start))):
        words.append(word[0].lower())
        start = word.end()
    if words[1:3] == ["or", "replace"]:
        del words[1:3]
    return words[:2] in _ROUTINES


class Lexer:
    """Reads a text piece by piece.

    Between two calls of `read()`, `position` may be moved (behind data that is no SQL, say), and
    `standard_conforming_strings` may be set as that setting of the session changes.

    A byte order mark at the beginning of the text is passed over.
    """

    def __init__(self, text: str, *, standard_conforming_strings: bool = True) -> None:
        self._text = text
        self.position = 1 if text.startswith("\ufeff") else 0
        self.standard_conforming_strings = standard_conforming_strings
        self.reset()

    def reset(self) -> None:
        r"""Forget the statement that a command has interrupted, for the command has sent it or thrown it away.

        Without this, what follows the command goes on with that statement, in its parentheses and all: right for
        `\echo` and `\set`, wrong for `\g`, `\gset` and `\r`.
        """
        self._interrupted = False
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
        return next(self._usual_pieces(), None) or self.read_exactly()

    def read_exactly(self) -> Piece | None:
        """Do what `read()` does, token by token even where the statement is a usual one."""
        text = self._text
        start = _skip(text, self.position, _GAPS if self._interrupted else _EMPTY)
        if _is_command(text, start):
            return self._command(start)
        if start == len(text) and not self._interrupted:
            self.position = start
            return None
        if not self._interrupted:
            self._may_have_body = _may_have_body(text, start)
        end, position = self._statement(start)
        stop = text[position : position + 1]
        self._interrupted = stop == "\\"
        if not self._interrupted:
            position += len(stop)
            self.reset()
        self.position = position
        return Piece("sql", start, end, position, stop)

    def _usual_pieces(self) -> Iterator[Piece]:
        """Yield usual statements up to one that is not."""
        if self._interrupted or not self.standard_conforming_strings:
            return
        text, new = self._text, tuple.__new__  # Piece() itself takes three times as long
        for match in _usual().finditer(text, self.position):
            start, end = match.span(1)
            following = match.end()
            # A semicolon inside of a function body is none that ends a statement; this is the cheapest sign of one.
            if following == end or (text[start] in "cC" and "atomic" in text[start:end].lower()):
                return
            self.position = following
            yield new(Piece, ("sql", start, end, following, ";"))

    def _command(self, start: int) -> Piece:
        text = self._text
        position = _end(_COMMAND, text, start)
        end = start + len(text[start:position].rstrip(" \t\n\v\f\r"))
        self.position = position + (2 if text.startswith("\\\\", position) else 0)
        return Piece("command", start, end, self.position, "")

    def _statement(self, position: int) -> tuple[int, int]:
        """Read a statement; return where its last token ends, and where what stopped it stands."""
        text, end = self._text, position
        plain = _STANDARD if self.standard_conforming_strings else _LENIENT
        while True:
            tokens = (_inside if self._depth else _outside)(plain).match(text, position)
            if tokens and tokens.end() > position:
                end, position = max(end, tokens.end(1)), tokens.end()
            if text.startswith("/*", position):
                position = _comment_end(text, position)
            elif self._stops(position):
                return end, position
            else:
                end = position = self._pass(position)

    def _stops(self, position: int) -> bool:
        """Tell whether the statement stops at `position`, where a run of tokens has."""
        text = self._text
        if position < len(text):
            return (text[position] == ";" and not self._blocks) or _is_command(text, position)
        if self._depth:
            raise UnterminatedError("parenthesis", self._opened)
        if self._blocks:
            raise UnterminatedError("BEGIN ATOMIC body", self._begun)
        return True

    def _pass(self, position: int) -> int:
        """Take what a run of tokens stopped at, and return where it ends."""
        text = self._text
        match text[position]:
            case "(":
                return self._open(position)
            case ")":
                return self._close(position)
            case "$":
                return _dollar_end(text, position)
            case ";":
                return position + 1
            case "\\":
                if text[position + 1] == ";":  # to psql, another statement begins there
                    self._may_have_body = _may_have_body(text, position + 2)
                return position + 2
            case '"':
                raise UnterminatedError("quoted identifier", position)
        if word := _compile(_KEYWORD).match(text, position):
            self._bound(word[0].lower(), position)
            return word.end()
        raise UnterminatedError("quoted string", position)

    def _open(self, position: int) -> int:
        end = _end(_OPENINGS, self._text, position)
        if not self._depth:
            self._opened = position
        self._depth += self._text.count("(", position, end)
        return end

    def _close(self, position: int) -> int:
        end = _end(_CLOSINGS, self._text, position)
        closed = self._text.count(")", position, end)
        if closed >= self._depth:  # what stands behind the last one that counts is outside
            closed, end = 1, position + 1
        self._depth -= closed
        return end

    def _bound(self, keyword: str, position: int) -> None:
        """Count what opens or closes a function body, or a CASE in it."""
        if keyword != "begin":
            if self._blocks:
                self._blocks += 1 if keyword == "case" else -1
        elif self._may_have_body:
            following = _skip(self._text, position + len(keyword))
            if _compile(_ATOMIC).match(self._text, following):
                self._begun = self._begun if self._blocks else position
                self._blocks += 1

    def rest(self) -> Iterator[Piece]:
        """Yield all that is left; every command ends the statement it stands in. The quickest way to read.

        Raises:
            UnterminatedError: As `read()` does.
        """
        while True:
            yield from self._usual_pieces()
            piece = self.read_exactly()
            if not piece:
                return
            if piece.kind == "command":
                self.reset()
            yield piece


def split(text: str, *, standard_conforming_strings: bool = True) -> Iterator[Piece]:
    """Yield the statements and commands of a text; every command ends the statement it stands in.

    Raises:
        UnterminatedError: The text ends within a quote, a comment, a parenthesis or a function body.
    """
    return Lexer(text, standard_conforming_strings=standard_conforming_strings).rest()


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
