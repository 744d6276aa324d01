r"""Cuts a text into SQL statements and backslash commands, by psql's rules.

A text is read in two ways that agree. `usual_statement()` is a pattern that takes a whole statement at once; all its
quantifiers are possessive, so it runs in C and never goes back; `usual_part()` does the same for the parts of a
routine whose body is SQL. What they do not take to a clean semicolon (a dollar sign inside a name, deep parentheses, a
column named `end`, an unclosed quote) is read again from its beginning by `Lexer._statement()`, token by token, which
is exact. All of it takes time in proportion to the text, whatever it holds.

Where psql, which reads line by line, loses its way, the meaning of the SQL is followed instead: `x.end`, `AS end`
and a `begin` without ATOMIC neither open nor close a function body, CREATE SCHEMA may hold one, and what continues
an `E'...'` string on the next line has escapes too.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from .tokens import (
    ATOMIC,
    CLOSINGS,
    COMMAND,
    COMMENT_SIGNS,
    DOLLAR_TAG,
    EMPTY,
    FORMS,
    GAPS,
    KEYWORD,
    LENIENT,
    NAMES,
    OPENINGS,
    ROUTINE,
    SEMICOLONS,
    STANDARD,
    VARIABLE,
    compiled,
    exact,
    usual_part,
    usual_statement,
    without_variables,
)

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


_LONG = 100_000  # characters: a statement that is not copied to look for a word in it

# What asks for a closer look when a semicolon stands behind it: a blank, or the end of a comment.
_BEFORE_SEMICOLON = " \t\n\v\f\r/"

# The first words of statements that may hold a function body, apart from OR REPLACE, and what all of them begin with.
_ROUTINES = (["create", "function"], ["create", "procedure"], ["create", "schema"])
_INITIALS = ("Cc", "FfPpOoSs", "Rr", "FfPp")


def _end(pattern: str, text: str, position: int) -> int:
    """Return where `pattern`, one that matches everywhere, has matched to."""
    match = compiled(pattern).match(text, position)
    return match.end() if match else position


def _skip(text: str, position: int, gaps: str = GAPS) -> int:
    """Return where the `gaps` at `position` end, comments of any depth included."""
    while True:
        position = _end(gaps, text, position)
        if not text.startswith("/*", position):
            return position
        position = _comment_end(text, position)


def _comment_end(text: str, start: int) -> int:
    """Return where the comment that opens at `start` ends, however deep it nests."""
    depth = 0
    for signs in compiled(COMMENT_SIGNS).finditer(text, start):
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
        end = _end(NAMES, text, start)
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

    U+FEFF is a letter wherever it stands: the byte order mark of a file is no part of its text.
    """

    def __init__(self, text: str, *, standard_conforming_strings: bool = True) -> None:
        self._text = text
        self.position = 0
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

    def mark(self) -> dict[str, object]:
        """Return where reading is, for `reset()`."""
        return vars(self).copy()

    def reset(self, mark: dict[str, object]) -> None:
        """Go back to where reading was, as if nothing had been read since."""
        vars(self).update(mark)

    def move(self, text: str, dropped: int) -> None:
        """Go on in `text`: what is read now, without its first `dropped` characters, and with more at its end."""
        self._text = text
        self.position -= dropped
        self._opened = max(self._opened - dropped, 0)
        self._begun = max(self._begun - dropped, 0)

    def next_start(self) -> int:
        """Return where the next piece begins, or where the text ends.

        Raises:
            UnterminatedError: The text ends within a comment.
        """
        if _is_command(self._text, self.position):
            return self.position
        return _skip(self._text, self.position, GAPS if self._goes_on else EMPTY)

    def __iter__(self) -> Iterator[Piece]:
        """Yield what `read()` would return, up to the end."""
        text, new = self._text, tuple.__new__  # Piece() takes three times as long
        while True:
            start = self.position
            usual = self.standard_conforming_strings and not self._goes_on
            for match in usual_statement().finditer(text, start) if usual else ():
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
            piece = (usual and self._routine(start)) or self._read(start)
            if not piece:
                return
            yield piece

    def _routine(self, start: int) -> Piece | None:
        """Return CREATE FUNCTION or PROCEDURE with a body of SQL, if there is one at `start` and it is a usual one."""
        text = self._text
        if not compiled(ROUTINE).match(text, start):
            return None
        blocks = 0
        for part in usual_part().finditer(text, start):
            match part.lastgroup:
                case "semicolon" if not blocks:
                    if end := _trimmed(text, start, part.end(1)):
                        self.position = part.end()
                        return Piece("sql", start, end, self.position, ";")
                    return None
                case "begin":
                    blocks += 1
                case "case" if blocks:
                    blocks += 1
                case "end" if blocks:
                    blocks -= 1
                case None:
                    return None
        return None

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
            start = _skip(text, start, GAPS if self._goes_on else EMPTY)
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
        position = _end(COMMAND, text, start)
        end = start + len(text[start:position].rstrip(" \t\n\v\f\r"))
        self.position = position + (2 if text.startswith("\\\\", position) else 0)
        return Piece("command", start, end, self.position, "")

    def _statement(self, position: int) -> tuple[int, int]:
        """Read a statement; return where its last token ends, and where what stopped it stands."""
        text, end = self._text, position
        tokens = exact(STANDARD if self.standard_conforming_strings else LENIENT)
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
            return _end(SEMICOLONS if self._depth else ";", text, position)
        if stop == "\\":
            if text[position + 1] == ";" and not self._blocks:  # another statement begins there
                self._may_have_body = _may_have_body(text, position + 2)
            return position + 2
        if stop == '"':
            raise UnterminatedError("quoted identifier", position)
        if word := compiled(KEYWORD).match(text, position):
            self._bound(word[0].lower(), position)
            return word.end()
        raise UnterminatedError("quoted string", position)

    def _open(self, position: int) -> int:
        text = self._text
        end = _end(OPENINGS, text, position)
        if not self._depth:
            self._opened = position
        self._depth += text.count("(", position, end) - text.count(")", position, end)
        return end

    def _close(self, position: int) -> int:
        text = self._text
        if not self._depth:
            return _end(r"\)++", text, position)
        end = _end(CLOSINGS, text, position)
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
            if compiled(ATOMIC).match(self._text, following):
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
    tokens = without_variables(STANDARD if standard_conforming_strings else LENIENT)
    position, end = start, len(text) if end is None else end
    while match := tokens.match(text, position, end):
        position = match.end()
        if position >= end:
            return
        if text.startswith("/*", position):
            position = _comment_end(text, position)
        elif compiled(DOLLAR_TAG).match(text, position):
            position = _dollar_end(text, position)
        elif variable := compiled(VARIABLE).match(text, position, end):
            position = variable.end()
            form = FORMS.get(variable[0][1], ":x")
            yield Reference(form, variable[0].strip(":'\"{?}"), *variable.span())
        elif text[position] == "\\":
            position += 2
            yield Reference(text[position - 2 : position], "", position - 2, position)
        else:
            raise UnterminatedError("quoted string", position)
