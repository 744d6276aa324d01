r"""psql's backslash commands: which of them dbinit follows, what their arguments are, and `\if`. Pure.

Arguments are read as psql does: https://www.postgresql.org/docs/18/app-psql.html#APP-PSQL-META-COMMANDS
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from .arguments import NO_PROGRAMS, Argument, Arguments
from .copying import CopyFrom, parse_copy
from .variables import CommandError, Variables, parse_boolean

__all__ = [
    "KNOWN",
    "REFUSED",
    "Command",
    "CommandError",
    "Kind",
    "Target",
    "command_name",
    "misspelt",
    "parse_command",
]


class Kind(StrEnum):
    """What a command does; several names may stand for the same."""

    INCLUDE = "include"
    INCLUDE_RELATIVE = "include relative"
    SET = "set"
    UNSET = "unset"
    IF = "if"
    ELIF = "elif"
    ELSE = "else"
    ENDIF = "endif"
    GO = "go"
    GSET = "gset"
    GEXEC = "gexec"
    ECHO = "echo"
    WARN = "warn"
    COPY = "copy"
    CONNECT = "connect"
    RESTRICT = "restrict"
    UNRESTRICT = "unrestrict"
    ENCODING = "encoding"
    RESET = "reset"
    QUIT = "quit"
    IGNORED = "ignored"


class _Rule(NamedTuple):
    """How many arguments a command has, and whether semicolons at the end of one are dropped."""

    kind: Kind
    least: int = 0
    most: int = 0
    semicolons: bool = False


_MANY = 1_000_000

_RULES = {
    **dict.fromkeys(("i", "include"), _Rule(Kind.INCLUDE, 1, 1, semicolons=True)),
    **dict.fromkeys(("ir", "include_relative"), _Rule(Kind.INCLUDE_RELATIVE, 1, 1, semicolons=True)),
    "set": _Rule(Kind.SET, 0, _MANY),
    "unset": _Rule(Kind.UNSET, 1, 1),
    "if": _Rule(Kind.IF, 0, _MANY),
    "elif": _Rule(Kind.ELIF, 0, _MANY),
    "else": _Rule(Kind.ELSE),
    "endif": _Rule(Kind.ENDIF),
    **dict.fromkeys(("g", "gx"), _Rule(Kind.GO, 0, _MANY)),
    "gset": _Rule(Kind.GSET, 0, 1),
    "gexec": _Rule(Kind.GEXEC),
    **dict.fromkeys(("echo", "qecho"), _Rule(Kind.ECHO, 0, _MANY)),
    "warn": _Rule(Kind.WARN, 0, _MANY),
    "copy": _Rule(Kind.COPY),
    **dict.fromkeys(("c", "connect"), _Rule(Kind.CONNECT, 0, 5, semicolons=True)),
    "restrict": _Rule(Kind.RESTRICT, 1, 1, semicolons=True),
    "unrestrict": _Rule(Kind.UNRESTRICT, 1, 1, semicolons=True),
    "encoding": _Rule(Kind.ENCODING, 0, 1, semicolons=True),
    **dict.fromkeys(("r", "reset"), _Rule(Kind.RESET)),
    **dict.fromkeys(("q", "quit"), _Rule(Kind.QUIT)),
    # How results look, and what psql tells about itself.
    **dict.fromkeys(
        ("a", "C", "f", "H", "html", "pset", "t", "T", "timing", "x", "o", "out", "p", "print", "conninfo"),
        _Rule(Kind.IGNORED, 0, _MANY),
    ),
    **dict.fromkeys(("copyright", "errverbose", "h", "help", "?"), _Rule(Kind.IGNORED, 0, _MANY)),
}

_PROMPT = "nobody is there to answer; pass the value as a variable (-v name=value)"
_EDITOR = "nobody is there to edit; write the statement into the script"
_SHOWS = "it only shows something to a person; take it out"
_PARAMETERS = "write the values into the statement, as :'name' with variables"
_PIPELINE = "statements are sent together anyway; take it out"
_LARGE = "use the server's functions: lo_from_bytea(), lo_get(), lo_unlink()"

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "!": NO_PROGRAMS,
        "setenv": "variables of the environment are for programs, and no script may start one; use \\set",
        "getenv": "a script may not read the environment; pass what it needs as a variable (-v name=value)",
        "cd": "paths belong to the script's own folder; name the folder with each file, or use \\ir",
        "prompt": _PROMPT,
        "password": "nobody is there to type it; use ALTER ROLE ... PASSWORD :'name' with a variable",
        "watch": "a script has to come to its end; run the statement once",
        **dict.fromkeys(("e", "edit", "ef", "ev"), _EDITOR),
        **dict.fromkeys(("w", "write", "s"), "no script may write files; take it out"),
        **dict.fromkeys(("crosstabview", "gdesc", "z", "zS", "sf", "sf+", "sv", "sv+"), _SHOWS),
        **dict.fromkeys(("l", "l+", "lx", "lx+", "list", "list+", "listx", "listx+", "lo_list", "lo_list+"), _SHOWS),
        **dict.fromkeys(("lo_import", "lo_export", "lo_unlink"), _LARGE),
        **dict.fromkeys(("bind", "bind_named", "parse", "close", "close_prepared"), _PARAMETERS),
        **dict.fromkeys(("startpipeline", "endpipeline", "syncpipeline", "sendpipeline"), _PIPELINE),
        **dict.fromkeys(("flush", "flushrequest", "getresults"), _PIPELINE),
    }
)
"""Commands that psql has and dbinit refuses, with what to do instead. Besides, all that begin with `d`."""

KNOWN: Mapping[str, Kind] = MappingProxyType({name: rule.kind for name, rule in _RULES.items()})
"""Commands that dbinit follows, or knows to have no effect on a database."""


class Target(NamedTuple):
    r"""Where a `\connect` leads; what is None or not said stays as it is."""

    database: str | None = None
    user: str | None = None
    host: str | None = None
    port: str | None = None


class Command(NamedTuple):
    r"""A command that dbinit follows or ignores.

    `arguments` by kind: SET has none, or a name and a value; IF and ELIF have one, the expression; ECHO and WARN one,
    the text; the others have as many as were given. `extra` are those that are too many: psql ignores them with a
    warning. `copy` is there for COPY, `target` for CONNECT.
    """

    name: str
    kind: Kind
    arguments: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    copy: CopyFrom | None = None
    target: Target | None = None


_COMMAND_NAME = r"\\([^\\ \t-\r]*+)"  # kept as text, and compiled when first needed


def command_name(raw: str) -> str:
    """Return the name of a command, without the backslash; it ends at a blank or another backslash."""
    match = re.match(_COMMAND_NAME, raw)
    return match[1] if match else ""


def parse_command(raw: str, variables: Variables) -> Command:
    """Read a command and its arguments.

    Args:
        raw: The command from its backslash on, as the lexer cuts it out.
        variables: What references in its arguments stand for.

    Raises:
        CommandError: There is no such command, dbinit refuses it, or its arguments are not what it needs.
    """
    name = command_name(raw)
    rule = _RULES.get(name)
    if not rule:
        raise _refusal(name)
    if rule.kind is Kind.COPY:
        return Command(name, rule.kind, copy=parse_copy(raw))
    if name in ("h", "help"):
        return Command(name, rule.kind)  # takes the line as it is
    arguments = Arguments(raw, len(name) + 1, variables)
    return _READERS.get(rule.kind, _plain)(name, rule, arguments)


def misspelt(name: str) -> CommandError | None:
    """Return the error for a command that psql does not have; None if it has it, be it one that dbinit refuses."""
    return None if name in _RULES or _reason(name) else _refusal(name)


def _refusal(name: str) -> CommandError:
    if reason := _reason(name):
        return CommandError(f"dbinit does not run the psql command \\{name}", advice=reason)
    advice = "take it out"
    if name.rstrip(";") in _RULES:
        advice = "commands are not ended by a semicolon, but by the end of the line; take it out"
    return CommandError(f"there is no psql command \\{name}", advice=advice)


def _reason(name: str) -> str:
    """Return why a command of psql's is refused; empty if it is not, or psql does not have it."""
    return REFUSED.get(name, _SHOWS if name.startswith("d") else "")


def _plain(name: str, rule: _Rule, arguments: Arguments) -> Command:
    given: list[str] = []
    while len(given) < rule.most and (argument := arguments.next(semicolons=rule.semicolons)):
        given.append(argument.text)
    if len(given) < rule.least:
        raise CommandError(f"\\{name} lacks its argument", advice=f"write what \\{name} is for behind it")
    return Command(name, rule.kind, tuple(given), _rest(arguments))


def _rest(arguments: Arguments) -> tuple[str, ...]:
    return tuple(argument.text for argument in arguments)


def _set(name: str, rule: _Rule, arguments: Arguments) -> Command:
    given = _rest(arguments)
    return Command(name, rule.kind, (given[0], "".join(given[1:])) if given else ())


def _expression(name: str, rule: _Rule, arguments: Arguments) -> Command:
    return Command(name, rule.kind, (" ".join(_rest(arguments)),))


def _echo(name: str, rule: _Rule, arguments: Arguments) -> Command:
    given = list(arguments)
    if given and given[0].text == "-n" and not given[0].quoted:
        del given[0]  # no line end behind the text: the log has none anyway
    return Command(name, rule.kind, (" ".join(argument.text for argument in given),))


def _go(name: str, rule: _Rule, arguments: Arguments) -> Command:
    target = arguments.next()
    if target and target.text.startswith("("):
        opened = target
        while target and not target.text.endswith(")"):
            target = arguments.next()
        if not target:
            raise CommandError("this parenthesis is not closed", opened.start, advice="close it in the same line")
        target = arguments.next()
    _check_output(target)
    return Command(name, rule.kind, (), _rest(arguments))


def _ignored(name: str, rule: _Rule, arguments: Arguments) -> Command:
    given = list(arguments)
    if name in ("o", "out") and given:
        # Whether a semicolon belongs to the name makes no difference: it is refused.
        _check_output(given[0])
    return Command(name, rule.kind, tuple(argument.text for argument in given))


def _check_output(target: Argument | None) -> None:
    """Refuse to write a result somewhere."""
    if not target or target.text in ("/dev/null", "/dev/null;"):
        return
    if target.text.startswith("|"):
        raise CommandError("this starts a program", target.start, advice=NO_PROGRAMS)
    raise CommandError("this writes a file", target.start, advice="no script may write files; leave the name out")


def _connect(name: str, rule: _Rule, arguments: Arguments) -> Command:
    given: list[str] = []
    while len(given) < rule.most and (argument := arguments.next(semicolons=True)):
        same = not argument.quoted and argument.text == "-"
        given.append("" if same else _dequoted(argument.text))
    if given and given[0].startswith("-reuse-previous="):
        parse_boolean(given.pop(0).partition("=")[2], "-reuse-previous")
    extra = (*given[4:], *_rest(arguments))
    if not given or not _is_connection_string(given[0]):
        return Command(name, rule.kind, tuple(given[:4]), extra, target=Target(*(text or None for text in given[:4])))
    return Command(name, rule.kind, (given[0],), (*given[1:4], *extra), target=_parameters(given[0]))


def _dequoted(text: str) -> str:
    """Resolve the quotes of an identifier, which may begin and end anywhere in it."""
    return re.sub(r'"((?:[^"]|"")*+)"?', lambda match: match[1].replace('""', '"'), text)


def _is_connection_string(text: str) -> bool:
    return "=" in text or text.startswith(("postgresql://", "postgres://"))


_PARAMETER = r"(?s)\s*([^\s=]++)\s*+=\s*+(?:'((?:[^'\\]++|\\.)*+)'|((?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*+)?)"
_PARAMETERS_OF_TARGET = {"dbname": "database", "user": "user", "host": "host", "port": "port"}


def _parameters(text: str) -> Target:
    """Read a connection string of names and values."""
    found: dict[str, str] = {}
    position, end = 0, len(text.rstrip())
    while position < end:
        match = re.compile(_PARAMETER).match(text, position)
        if not match or match[1] not in _PARAMETERS_OF_TARGET:
            message = "\\connect can only lead to the database that dbinit is connected to"
            raise CommandError(message, advice="name nothing but the database, or take the command out")
        value = re.sub(r"(?s)\\(.)", r"\1", match[2] or match[3] or "")
        found[_PARAMETERS_OF_TARGET[match[1]]] = value
        position = match.end()
    return Target(**{key: value or None for key, value in found.items()})


_READERS = {
    Kind.SET: _set,
    Kind.IF: _expression,
    Kind.ELIF: _expression,
    Kind.ECHO: _echo,
    Kind.WARN: _echo,
    Kind.GO: _go,
    Kind.CONNECT: _connect,
    Kind.IGNORED: _ignored,
}
