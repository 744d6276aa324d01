r"""psql's variables: what `\set` makes, and what becomes of `:x`, `:'x'`, `:"x"` and `:{?x}` in a statement. Pure.

A statement is made ready in three steps. `expand()` puts in the values of its variables, before anything is known of
what they hold: a value may end the statement and begin others. So what comes out of it is split again, and last
`unescape()` turns the `\;` and `\:` of each statement into plain characters.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping

from .lexer import Reference, UnterminatedError, references

__all__ = [
    "RESULTS",
    "CommandError",
    "Expanded",
    "Variables",
    "expand",
    "parse_boolean",
    "quote_identifier",
    "quote_literal",
    "unescape",
]

# Letters, digits, the underscore, and all above ASCII.
_NAME = r"[^\x00-/:-@\[-^`{-\x7f]++"

# What looks like a reference, be it in a string. A text may be full of casts, and of times: the first are passed over,
# the others need not be looked at while no variable's name begins with a digit. Patterns are compiled when first used.
_QUOTED = rf"""'(?P<literal>{_NAME})'|"(?P<identifier>{_NAME})"|(?P<test>\{{\?{_NAME}\}})"""
_COLONS = r":(?:(?<!::)|(?<=\\::))(?:::)*+"  # an odd number of them, not counting that of `\:`
_ANY = rf"{_COLONS}(?:(?P<plain>{_NAME})|{_QUOTED})"
_USUAL = rf"{_COLONS}(?:(?P<plain>(?![0-9]){_NAME})|{_QUOTED})"
_ESCAPES = r"\\[;:]"

_MOST_NESTED = 100_000  # references in values
_LONGEST = 100_000_000  # characters of a statement

# psql's own variables. Those that are left out tell of the connection or of a result, and are the caller's to set.
_DEFAULTS = {
    "AUTOCOMMIT": "on",
    "COMP_KEYWORD_CASE": "preserve-upper",
    "ECHO": "none",
    "ECHO_HIDDEN": "off",
    "ERROR": "false",  # a script stops at its first error
    "FETCH_COUNT": "0",
    "HIDE_TABLEAM": "off",
    "HIDE_TOAST_COMPRESSION": "off",
    "HISTCONTROL": "none",
    "HISTSIZE": "500",
    "IGNOREEOF": "0",
    "LAST_ERROR_MESSAGE": "",
    "LAST_ERROR_SQLSTATE": "00000",
    "ON_ERROR_ROLLBACK": "off",
    "ON_ERROR_STOP": "on",
    "QUIET": "off",
    "SHOW_ALL_RESULTS": "on",
    "SHOW_CONTEXT": "errors",
    "SINGLELINE": "off",
    "SINGLESTEP": "off",
    "SQLSTATE": "00000",
    "VERBOSITY": "default",
    "WATCH_INTERVAL": "2",
}
_BOOLEANS = frozenset(
    {
        "AUTOCOMMIT",
        "ECHO_HIDDEN",
        "HIDE_TABLEAM",
        "HIDE_TOAST_COMPRESSION",
        "ON_ERROR_ROLLBACK",
        "ON_ERROR_STOP",
        "QUIET",
        "SHOW_ALL_RESULTS",
        "SINGLELINE",
        "SINGLESTEP",
    }
)
_CHOICES = {
    "COMP_KEYWORD_CASE": ("lower", "upper", "preserve-lower", "preserve-upper"),
    "ECHO": ("none", "errors", "queries", "all"),
    "ECHO_HIDDEN": ("noexec",),  # besides a Boolean
    "HISTCONTROL": ("none", "ignorespace", "ignoredups", "ignoreboth"),
    "ON_ERROR_ROLLBACK": ("interactive",),  # besides a Boolean
    "SHOW_CONTEXT": ("never", "errors", "always"),
    "VERBOSITY": ("default", "verbose", "terse", "sqlstate"),
}
# Those that would change how a script is read or run, and what to do instead.
_FIXED = {
    "AUTOCOMMIT": "write BEGIN and COMMIT into the script where a transaction begins and ends",
    "SINGLELINE": "end the statements with semicolons",
    "SINGLESTEP": "take it out, nobody is there to confirm the statements",
}

RESULTS = frozenset({"LASTOID", "ROW_COUNT"})
"""Variables that psql sets after each statement, from its result."""


class CommandError(Exception):
    """What a script asks for cannot be done: what it is, and `advice` on what to do, which may be empty.

    `offset` counts characters from the beginning of the command or statement that was being read.
    """

    def __init__(self, message: str, offset: int = 0, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.advice = advice


def parse_boolean(value: str, what: str) -> bool:
    """Read a Boolean as psql does: true, false, yes, no, on, off, what these begin with, 1 or 0.

    Args:
        value: The Boolean.
        what: What it is for, in messages.

    Raises:
        CommandError: It is none, or could be either.
    """
    word = value.lower()
    if word and ("true".startswith(word) or "yes".startswith(word) or word in ("on", "1")):
        return True
    if word and ("false".startswith(word) or "no".startswith(word) or word in ("off", "of", "0")):
        return False
    advice = "use true, false, yes, no, on, off, 1 or 0"
    if reference := re.search(_ANY, value):
        name = reference["plain"] or reference["literal"] or reference["identifier"]
        advice = f"set the variable {name} first, or ask with :{{?{name}}} whether it is set"
    raise CommandError(f'{what} is "{value}", which is neither true nor false', advice=advice)


def quote_literal(value: str) -> str:
    """Return a value as an SQL literal that means the same whatever standard_conforming_strings is."""
    quoted = "'" + value.replace("'", "''") + "'"
    # The blank keeps the E apart from a letter that stands before.
    return " E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted


def quote_identifier(value: str) -> str:
    """Return a value as a quoted SQL identifier."""
    return '"' + value.replace('"', '""') + '"'


class Variables:
    """The variables of a run; psql's own ones are there from the beginning.

    Args:
        initial: What else is there from the beginning (`-v name=value`).

    Raises:
        CommandError: A name or a value in `initial` is invalid.
    """

    def __init__(self, initial: Mapping[str, str] | None = None) -> None:
        self._values = dict(_DEFAULTS)
        self._shape = re.compile(_USUAL)
        for name, value in (initial or {}).items():
            self.set(name, value)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def get(self, name: str) -> str | None:
        """Return the value of a variable, or None if it is not set."""
        return self._values.get(name)

    def set(self, name: str, value: str) -> bool:
        """Set a variable; return False if that was ignored, as turning ON_ERROR_STOP off is.

        Raises:
            CommandError: The name is invalid, or a variable of psql's own cannot have that value.
        """
        if not re.fullmatch(_NAME, name):
            advice = "use letters, digits and underscores only"
            raise CommandError(f'"{name}" is no name for a variable', advice=advice)
        if name in _BOOLEANS or name in _CHOICES:
            value = _checked(name, value)
        if name == "ON_ERROR_STOP" and not parse_boolean(value, name):
            return False
        self._values[name] = value
        if name[0] in "0123456789":
            self._shape = re.compile(_ANY)
        return True

    def unset(self, name: str) -> bool:
        """Unset a variable, which need not be set; those of psql's own go back to what they were, or to "off".

        Returns:
            False if that was ignored, as unsetting ON_ERROR_STOP is.

        Raises:
            CommandError: To unset the variable would turn something off that has to be on.
        """
        if name in _BOOLEANS:
            return self.set(name, "off")
        if name in _DEFAULTS:
            self._values[name] = _DEFAULTS[name]
        else:
            self._values.pop(name, None)
        return True

    def is_special(self, name: str) -> bool:
        r"""Tell whether a variable means something to psql when it is set; `\gset` passes such a one over."""
        return name in _DEFAULTS and name not in ("ERROR", "LAST_ERROR_MESSAGE", "LAST_ERROR_SQLSTATE", "SQLSTATE")

    def replacement(self, form: str, name: str) -> str | None:
        """Return what stands for a reference, or None if it stays as it is; `form` is as in `lexer.Reference`."""
        value = self._values.get(name)
        if form == ":{?x}":
            return "FALSE" if value is None else "TRUE"
        if value is None or form == ":x":
            return value
        return quote_literal(value) if form == ":'x'" else quote_identifier(value)

    def find(self, text: str, start: int, end: int) -> int:
        """Return where in `text[start:end]` the first reference to a variable that is set may be, or -1.

        This is quick: strings and comments are not told from the rest. Before that place there is nothing to expand,
        in as many statements as may be, until a variable is set or unset.
        """
        if text.find(":", start, end) >= 0:
            for found in self._shape.finditer(text, start, end):
                plain, literal, identifier, test = found.groups()
                if test or (plain or literal or identifier) in self._values:
                    return found.start()
        return -1


def _checked(name: str, value: str) -> str:
    """Return the value that a variable of psql's own takes."""
    choices = _CHOICES.get(name, ())
    if value.lower() in choices:
        return value
    if name not in _BOOLEANS:
        raise CommandError(f'{name} cannot be "{value}"', advice=f"use one of {', '.join(choices)}")
    value = value or "on"
    on = parse_boolean(value, name)
    if name in _FIXED and on != (_DEFAULTS[name] == "on"):
        raise CommandError(f"{name} is always {_DEFAULTS[name]} in dbinit", advice=_FIXED[name])
    return value


class Expanded:
    """A text with something put in, which knows where each character comes from."""

    def __init__(self, end: int, pieces: list[tuple[str, int, bool]]) -> None:
        """Put a text together.

        Args:
            end: Where the original ends.
            pieces: Texts, with the offset in the original where each comes from, and whether it is the same there.
        """
        self.text = "".join(text for text, _, _ in pieces)
        self._starts: list[int] = []
        self._origins: list[tuple[int, bool]] = []
        length = 0
        for text, origin, same in pieces:
            if text:
                self._starts.append(length)
                self._origins.append((origin, same))
                length += len(text)
        self._starts.append(length)
        self._origins.append((end, True))

    def origin(self, offset: int) -> int:
        """Return where in the original an offset of `text` comes from; in what was put in, where its reference is."""
        index = bisect_right(self._starts, offset) - 1
        origin, same = self._origins[index]
        return origin + offset - self._starts[index] if same else origin


def expand(
    text: str, start: int, end: int, variables: Variables, *, standard_conforming_strings: bool = True
) -> Expanded | None:
    r"""Put the values of variables into `text[start:end]`; return None if there is nothing to put in.

    That may be several statements afterwards, and there may be commands between them. A value that `:x` stands for
    is read again, in it only `:x` itself stays as it is; so do references to what is not set, and `\;` and `\:`.

    Raises:
        CommandError: There would be too much to put in.
    """
    if variables.find(text, start, end) < 0:
        return None
    expansion = _Expansion(variables, start, standard_conforming_strings=standard_conforming_strings)
    pieces = expansion.run(text[start:end])
    return Expanded(end, pieces) if expansion.count else None


def unescape(text: str, start: int, end: int, *, standard_conforming_strings: bool = True) -> Expanded | None:
    r"""Replace `\;` and `\:` in the statement `text[start:end]`; return None if there is none of them.

    Raises:
        UnterminatedError: What is given is not a whole statement.
    """
    if text.find("\\", start, end) < 0 or not re.compile(_ESCAPES).search(text, start, end):
        return None
    found = references(text, start, end, standard_conforming_strings=standard_conforming_strings)
    escapes = [reference for reference in found if not reference.name]
    pieces = []
    for escape in escapes:
        pieces += [(text[start : escape.start], start, True), (escape.form[1], escape.start, False)]
        start = escape.end
    return Expanded(end, [*pieces, (text[start:end], start, True)]) if escapes else None


class _Source:
    """A text that is being read, and how far: the statement, or the value of the variable `name` in it."""

    def __init__(self, text: str, name: str = "") -> None:
        self.text = text
        self.name = name
        self.position = 0
        self.references: Iterator[Reference] | None = None


class _Expansion:
    """Reads a statement as psql does: a value is read to its end, then what stands behind the reference.

    No token reaches over the end of a value, but what is open there (a quote, a comment) goes on behind it.
    """

    def __init__(self, variables: Variables, start: int, *, standard_conforming_strings: bool) -> None:
        self.count = 0  # of what was put in
        self._nested = 0  # of these, in values
        self._variables = variables
        self._start = self._origin = start
        self._standard = standard_conforming_strings
        self._pieces: list[tuple[str, int, bool]] = []
        self._length = 0
        self._sources: list[_Source] = []
        self._open: _Open | None = None

    def run(self, text: str) -> list[tuple[str, int, bool]]:
        self._sources.append(_Source(text))
        while self._sources:
            source = self._sources[-1]
            if self._open:
                end = self._open.end(source.text, source.position)
                self._take(source, len(source.text) if end is None else end)
                source.references = None
                if end is None:
                    self._sources.pop()
                    continue
                self._open = None
            self._read(source)
        return self._pieces

    def _read(self, source: _Source) -> None:
        """Read a source up to the next value that has to be read itself, or to the end."""
        if source.references is None:
            source.references = references(source.text, source.position, standard_conforming_strings=self._standard)
        try:
            for reference in source.references:
                if self._replace(source, reference):
                    return
        except UnterminatedError as error:
            self._open = _Open(source.text, error.offset, standard_conforming_strings=self._standard)
        self._take(source, len(source.text))
        self._sources.pop()

    def _replace(self, source: _Source, reference: Reference) -> bool:
        """Put in what a reference stands for; tell whether that has to be read itself."""
        form, name, start, end = reference
        value = self._variables.replacement(form, name) if name else None
        if value is None or (form == ":x" and any(name == other.name for other in self._sources)):
            return False
        self._take(source, start)
        if source is self._sources[0]:
            self._origin = self._start + start
        source.position = end
        self._guard()
        if form == ":x":
            self._sources.append(_Source(value, name))
            return True
        self._put(value)
        return False

    def _take(self, source: _Source, end: int) -> None:
        """Pass on what stands in a source up to `end`."""
        taken = source.text[source.position : end]
        if source is self._sources[0]:
            self._pieces.append((taken, self._start + source.position, True))
            self._length += len(taken)
        else:
            self._put(taken)
        source.position = end

    def _put(self, text: str) -> None:
        self._pieces.append((text, self._origin, False))
        self._length += len(text)

    def _guard(self) -> None:
        # A dozen variables, each of which names another ten times, are enough to fill any memory.
        self.count += 1
        self._nested += len(self._sources) > 1
        if self._nested > _MOST_NESTED or self._length > _LONGEST:
            advice = "look for variables that name each other over and over"
            raise CommandError("this becomes too long once its variables are expanded", advice=advice)


class _Open:
    """What a source has left open: a string, an identifier or a comment."""

    def __init__(self, text: str, offset: int, *, standard_conforming_strings: bool) -> None:
        opening = text[offset : offset + 2]
        self._depth = 0
        self._closing, passed = "'", ""
        if opening == "/*":
            self._closing, passed = "*/", r"/\*|"
        elif opening[0] == "$":
            self._closing = text[offset : text.index("$", offset + 1) + 1]
        elif opening[0] == '"':
            self._closing = '"'
        elif opening in ("e'", "E'") or (opening[0] == "'" and not standard_conforming_strings):
            passed = r"\\.|''|"
        self._pattern = re.compile(passed + re.escape(self._closing), re.DOTALL)
        if opening == "/*":
            self.end(text, offset)  # for the depth

    def end(self, text: str, position: int) -> int | None:
        """Return where it ends in the text, read from `position` on, or None if it goes on behind."""
        for found in self._pattern.finditer(text, position):
            if found[0] == "/*":
                self._depth += 1
            elif found[0] == self._closing:
                self._depth -= 1
                if self._depth <= 0:
                    return found.end()
        return None
