r"""psql's backslash commands: which of them dbinit follows, what their arguments are, and `\if`. Pure.

Arguments are read as psql does: https://www.postgresql.org/docs/18/app-psql.html#APP-PSQL-META-COMMANDS
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from .lexer import UnterminatedError, split
from .variables import CommandError, Variables, parse_boolean

__all__ = [
    "KNOWN",
    "REFUSED",
    "Command",
    "CommandError",
    "Conditions",
    "CopyFrom",
    "Kind",
    "Target",
    "command_name",
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

_PROGRAM = "no script may start programs; do what it does outside, before or after"
_PROMPT = "nobody is there to answer; pass the value as a variable (-v name=value)"
_EDITOR = "nobody is there to edit; write the statement into the script"
_SHOWS = "it only shows something to a person; take it out"
_PARAMETERS = "write the values into the statement, as :'name' with variables"
_PIPELINE = "statements are sent together anyway; take it out"
_LARGE = "use the server's functions: lo_from_bytea(), lo_get(), lo_unlink()"

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "!": _PROGRAM,
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


class CopyFrom(NamedTuple):
    r"""A `\copy ... from`: the statement to send, and the file with the data, None if they follow in the script."""

    statement: str
    path: str | None


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


# Patterns are kept as text and compiled when first needed: most scripts have no commands, and none has all of them.
_COMMAND_NAME = r"\\([^\\ \t-\r]*+)"
_BLANKS = r"[ \t-\r]*+"
_VARIABLE = r"[^\x00-/:-@\[-^`{-\x7f]++"
_PART = (
    rf"""(?s)'(?P<quoted>(?:[^'\\]++|''|\\.)*+)'|(?P<identifier>"[^"]*+")"""
    rf"""|(?P<reference>:(?:{_VARIABLE}|'{_VARIABLE}'|"{_VARIABLE}"|\{{\?{_VARIABLE}\}}))"""
    r"""|(?P<plain>[^'"`:\\ \t-\r]++|:)"""
)
_FORMS = {"'": ":'x'", '"': ':"x"', "{": ":{?x}"}
_ESCAPE = r"(?s)''|\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))"
_CONTROLS = {"n": "\n", "t": "\t", "b": "\b", "r": "\r", "f": "\f"}


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
        return Command(name, rule.kind, copy=_copy(raw))
    if name in ("h", "help"):
        return Command(name, rule.kind)  # takes the line as it is
    arguments = _Arguments(raw, len(name) + 1, variables)
    return _READERS.get(rule.kind, _plain)(name, rule, arguments)


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


class _Argument(NamedTuple):
    """An argument with its quotes resolved; `quoted` if any part of it was quoted or a variable."""

    text: str
    quoted: bool
    start: int


class _Arguments:
    """Reads arguments, one after the other."""

    def __init__(self, raw: str, position: int, variables: Variables) -> None:
        self._raw = raw
        self._position = position
        self._variables = variables

    def next(self, *, semicolons: bool = False) -> _Argument | None:
        """Return the next argument, or None when there is no more; drop `semicolons` at its end that are not quoted."""
        self._position = start = _blanks(self._raw, self._position)
        parts: list[str] = []
        plain, quoted = 0, False  # characters at the end that are not quoted; whether any is
        while match := re.compile(_PART).match(self._raw, self._position):
            self._position = match.end()
            parts.append(self._part(match))
            # An expanded :{?x} counts as not quoted, which makes no difference: it ends with a letter.
            plain = plain + len(parts[-1]) if match["plain"] else 0
            quoted = quoted or not match["plain"]
        self._check()
        text = _decoded("".join(parts), start)
        if semicolons and plain:
            text = text[:-plain] + text[-plain:].rstrip(";")
        return _Argument(text, quoted, start) if text or quoted else None

    def __iter__(self) -> Iterator[_Argument]:
        while argument := self.next():
            yield argument

    def _part(self, match: re.Match[str]) -> str:
        if reference := match["reference"]:
            form = _FORMS.get(reference[1], ":x")
            value = self._variables.replacement(form, reference.strip(":'\"{?}"))
            return reference if value is None else value
        if match["quoted"] is None:
            return match[0]
        return re.sub(_ESCAPE, _escaped, match["quoted"])

    def _check(self) -> None:
        """Tell what stopped an argument, if that is not its end."""
        stop = self._raw[self._position : self._position + 1]
        if stop == "`":
            raise CommandError("`...` in the arguments of a command starts a program", self._position, advice=_PROGRAM)
        if stop and stop in "'\"":
            advice = "close it in the same line"
            raise CommandError("this quote is not closed", self._position, advice=advice)


def _blanks(text: str, position: int) -> int:
    match = re.compile(_BLANKS).match(text, position)
    return match.end() if match else position


def _escaped(match: re.Match[str]) -> str:
    """Return the character that an escape stands for, or the byte, as `surrogateescape` has it."""
    octal, hexadecimal, character = match.groups()
    if character is not None:
        return _CONTROLS.get(character, character)
    if octal is None and hexadecimal is None:
        return "'"
    byte = int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)
    return bytes([byte]).decode("utf-8", "surrogateescape")


def _decoded(text: str, start: int) -> str:
    """Make characters of the bytes in an argument."""
    if "\0" in text:
        raise CommandError("this has the character 0, which PostgreSQL cannot store", start, advice="take it out")
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        advice = "write the character itself instead of its bytes"
        raise CommandError("these bytes are no characters in UTF-8", start, advice=advice) from None


# --- the commands --------------------------------------------------------------------------------------------------


def _plain(name: str, rule: _Rule, arguments: _Arguments) -> Command:
    given: list[str] = []
    while len(given) < rule.most and (argument := arguments.next(semicolons=rule.semicolons)):
        given.append(argument.text)
    if len(given) < rule.least:
        raise CommandError(f"\\{name} lacks its argument", advice=f"write what \\{name} is for behind it")
    return Command(name, rule.kind, tuple(given), _rest(arguments))


def _rest(arguments: _Arguments) -> tuple[str, ...]:
    return tuple(argument.text for argument in arguments)


def _set(name: str, rule: _Rule, arguments: _Arguments) -> Command:
    given = _rest(arguments)
    return Command(name, rule.kind, (given[0], "".join(given[1:])) if given else ())


def _expression(name: str, rule: _Rule, arguments: _Arguments) -> Command:
    return Command(name, rule.kind, (" ".join(_rest(arguments)),))


def _echo(name: str, rule: _Rule, arguments: _Arguments) -> Command:
    given = list(arguments)
    if given and given[0].text == "-n" and not given[0].quoted:
        del given[0]  # no line end behind the text: the log has none anyway
    return Command(name, rule.kind, (" ".join(argument.text for argument in given),))


def _go(name: str, rule: _Rule, arguments: _Arguments) -> Command:
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


def _ignored(name: str, rule: _Rule, arguments: _Arguments) -> Command:
    given = list(arguments)
    if name in ("o", "out") and given:
        # Whether a semicolon belongs to the name makes no difference: it is refused.
        _check_output(given[0])
    return Command(name, rule.kind, tuple(argument.text for argument in given))


def _check_output(target: _Argument | None) -> None:
    """Refuse to write a result somewhere."""
    if not target or target.text in ("/dev/null", "/dev/null;"):
        return
    if target.text.startswith("|"):
        raise CommandError("this starts a program", target.start, advice=_PROGRAM)
    raise CommandError("this writes a file", target.start, advice="no script may write files; leave the name out")


def _connect(name: str, rule: _Rule, arguments: _Arguments) -> Command:
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

# --- \copy ---------------------------------------------------------------------------------------------------------

_COPY_PART = r"""[ \t-\r]*+(?P<part>"(?:[^"]|"")*+"|[.,()]|[^ \t-\r".,()]++)"""
_COPY_FILE = r"[ \t-\r]*+(?:'(?P<quoted>(?:[^']|'')*+)'|(?P<word>[^ \t-\r;']++))"
_COPY_SYNTAX = "write \\copy table (columns) from 'file' with (options), in one line"


def _copy(raw: str) -> CopyFrom:
    r"""Read a `\copy`, which knows no variables."""
    begin = _blanks(raw, len("\\copy"))
    word, start, end = _copy_direction(raw, begin)
    if word != "from":
        advice = "no script may write files; take it out, or use \\copy ... from"
        raise CommandError("dbinit does not run \\copy ... to", start, advice=advice)
    file = re.compile(_COPY_FILE).match(raw, end)
    if not file:
        raise _copy_error(raw, end)
    path = _copy_path(file)
    rest = raw[file.end() :].strip(" \t\n\v\f\r;")
    statement = f"COPY {raw[begin:start].rstrip()} FROM STDIN {rest}".rstrip()
    return CopyFrom(_single(statement), path)


def _copy_path(file: re.Match[str]) -> str | None:
    if file["quoted"] is not None:
        return file["quoted"].replace("''", "'")
    word = file["word"].lower()
    if word in ("stdin", "stdout"):
        return None
    if word in ("pstdin", "pstdout"):
        advice = "use stdin and let the data follow in the script, or name a file"
        raise CommandError("dbinit has no standard input for \\copy", file.start("word"), advice=advice)
    if word == "program":
        raise CommandError("\\copy ... from program starts a program", file.start("word"), advice=_PROGRAM)
    return file["word"]


def _copy_direction(raw: str, position: int) -> tuple[str, int, int]:
    """Pass over table and columns, and return the word behind them, where it starts and where it ends."""
    parts = _copy_parts(raw, position)
    part, start, end = next(parts)
    if part == "binary":
        part, start, end = next(parts)
    if part == "(":
        advice = "no script may write files; take it out, or use \\copy ... from"
        raise CommandError("dbinit does not run \\copy (query) to", start, advice=advice)
    part, start, end = next(parts)
    if part == ".":
        next(parts)
        part, start, end = next(parts)
    if part == "(":
        while part != ")":
            part, start, end = next(parts)
        part, start, end = next(parts)
    if part not in ("from", "to"):
        raise _copy_error(raw, start)
    return part, start, end


def _copy_parts(raw: str, position: int) -> Iterator[tuple[str, int, int]]:
    while match := re.compile(_COPY_PART).match(raw, position):
        position = match.end()
        yield match["part"].lower(), match.start("part"), position
    raise _copy_error(raw, position)


def _copy_error(raw: str, position: int) -> CommandError:
    position = _blanks(raw, position)
    where = f'"{raw[position : position + 20]}"' if position < len(raw) else "its end"
    return CommandError(f"\\copy cannot be understood at {where}", position, advice=_COPY_SYNTAX)


def _single(statement: str) -> str:
    """Return a statement without comments behind it; refuse options that end it and begin another."""
    try:
        pieces = list(split(statement))
    except UnterminatedError:
        pieces = []
    if [piece.kind for piece in pieces] != ["sql"]:
        raise CommandError(
            "the options of this \\copy are not complete, or there is more than one", advice=_COPY_SYNTAX
        )
    return statement[: pieces[0].end]


# --- \if -----------------------------------------------------------------------------------------------------------


class _Branch(NamedTuple):
    r"""A branch of an `\if` that stands at `offset`."""

    active: bool
    settled: bool  # no further branch is to be taken
    last: bool  # behind \else
    offset: int


class Conditions:
    r"""The `\if`s that are open. In psql each file has its own: what a file opens it must close."""

    def __init__(self) -> None:
        self._branches: list[_Branch] = []

    @property
    def active(self) -> bool:
        """Tell whether what is read is to be run."""
        return not self._branches or self._branches[-1].active

    def take(self, raw: str, variables: Variables, offset: int = 0) -> bool:
        r"""Follow a command if it is a conditional one, or pass it over in a branch that is not active.

        Arguments are looked at only where psql does so: not in a branch that is passed over.

        Args:
            raw: The command from its backslash on, as the lexer cuts it out.
            variables: What references in its arguments stand for.
            offset: Where in the file it stands, for `finish()`.

        Returns:
            False if the command has to be run.

        Raises:
            CommandError: There is no `\if` it could belong to, its expression is no Boolean, or psql has no such
                command. Nothing has changed then.
        """
        name = command_name(raw)
        match KNOWN.get(name):
            case Kind.IF:
                active = self.active and _evaluate(raw, variables)
                self._branches.append(_Branch(active, active or not self.active, last=False, offset=offset))
            case Kind.ELIF:
                branch = self._innermost(name)
                active = not branch.settled and _evaluate(raw, variables)
                self._branches[-1] = branch._replace(active=active, settled=branch.settled or active)
            case Kind.ELSE:
                branch = self._innermost(name)
                self._branches[-1] = branch._replace(active=not branch.settled, settled=True, last=True)
            case Kind.ENDIF:
                self._innermost(name)
                self._branches.pop()
            case None if not self.active and not _reason(name):
                raise _refusal(name)
            case _:
                return not self.active
        return True

    def finish(self) -> None:
        r"""Check, at the end of a file, that every `\if` has its `\endif`.

        Raises:
            CommandError: One has not; `offset` is the one `take()` was called with for it.
        """
        if self._branches:
            raise CommandError(
                "this \\if has no \\endif", self._branches[-1].offset, advice="close it in the same file"
            )

    def _innermost(self, name: str) -> _Branch:
        """Return the branch that an `elif`, `else` or `endif` ends."""
        if not self._branches:
            raise CommandError(f"\\{name} has no \\if before it", advice="begin with \\if, in the same file")
        if self._branches[-1].last and name != "endif":
            raise CommandError(f"\\{name} cannot stand behind \\else", advice="let \\else be the last branch")
        return self._branches[-1]


def _evaluate(raw: str, variables: Variables) -> bool:
    command = parse_command(raw, variables)
    return parse_boolean(command.arguments[0], f"the expression of \\{command.name}")
