r"""psql's variables: what `\set` makes, and what stands for them. Pure."""

import re
from collections.abc import Mapping

from dbinit.quoting import quote_literal, quote_name

__all__ = [
    "CommandError",
    "Variables",
    "parse_boolean",
]

# Letters, digits, the underscore, and all above ASCII.
_NAME = r"[^\x00-/:-@\[-^`{-\x7f]++"

# What looks like a reference, be it in a string. A text may be full of casts, and of times: the first are passed over,
# the others need not be looked at while no variable's name begins with a digit. Patterns are compiled when first used.
_QUOTED = rf"""'(?P<literal>{_NAME})'|"(?P<identifier>{_NAME})"|(?P<test>\{{\?{_NAME}\}})"""
_COLONS = r":(?:(?<!::)|(?<=\\::))(?:::)*+"  # an odd number of them, not counting that of `\:`
_ANY = rf"{_COLONS}(?:(?P<plain>{_NAME})|{_QUOTED})"
_USUAL = rf"{_COLONS}(?:(?P<plain>(?![0-9]){_NAME})|{_QUOTED})"

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


class Variables:
    """The variables of a run; psql's own ones are there from the beginning.

    Args:
        initial: What else is there from the beginning (`-v name=value`).

    Raises:
        CommandError: A name or a value in `initial` is invalid.
    """

    def __init__(self, initial: Mapping[str, str] | None = None) -> None:
        self._values = dict(_DEFAULTS)
        self._doubtful: set[str] = set()
        self._doubtful_prefixes: tuple[str, ...] = ()
        self._settled: set[str] = set()  # since there are such prefixes
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
        self._settle(name)
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
            self._settle(name)
        return True

    def doubt(self, name: str) -> None:
        """Take note that a variable's value, and whether it has one, cannot be known."""
        self._doubtful.add(name)

    def doubt_all(self, prefix: str) -> None:
        """Do the same for all variables whose names begin with `prefix`, apart from psql's own."""
        self._doubtful_prefixes += (prefix,)
        self._settled.clear()

    def is_doubtful(self, text: str) -> bool:
        """Tell whether `text` has a reference to a variable of which nothing can be known."""
        if not self._doubtful and not self._doubtful_prefixes:
            return False
        names = (next(filter(None, match.groups())) for match in re.finditer(_ANY, text))
        return any(self._is_doubtful(name.strip("{?}")) for name in names)

    def _is_doubtful(self, name: str) -> bool:
        guessed = name.startswith(self._doubtful_prefixes) and name not in self._settled
        return name in self._doubtful or (guessed and name not in _DEFAULTS)

    def _settle(self, name: str) -> None:
        self._doubtful.discard(name)
        if self._doubtful_prefixes:
            self._settled.add(name)

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
        return quote_literal(value) if form == ":'x'" else quote_name(value)

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
