r"""Reads a script as psql does: its statements, in the order and the form in which they will be sent. Pure.

What its commands ask for is done on the way: files are included, variables set, branches passed over. What only a
database knows is left to whoever runs the statements: `\gset` and `\gexec` wait for the result of theirs.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dbinit.errors import SourceError
from dbinit.model import Script, Use

from .assembly import assemble
from .commands import KNOWN, Command, Kind, Target, command_name, parse_command
from .conditions import Conditions
from .context import Context, Note, initial_variables
from .copying import CopyFrom
from .encodings import UTF8, codec_name
from .expansion import expand
from .facts import client_encoding, copy_quote, reads_copy_data, refusal, sets_standard_strings
from .feed import STRANGE, Feed, transcoded
from .lexer import Piece, UnterminatedError
from .patchwork import Patch, Patchwork
from .results import generated, store
from .statement import Result, Statement, Wanted, unrunnable
from .text import SourceText
from .variables import CommandError
from .window import Window

__all__ = ["Reader"]

_UNUSABLE = re.compile(f"\0|{STRANGE}")
_IS_UTF8 = re.compile(r"utf-?8|unicode|default", re.IGNORECASE)
_SAVE_AS_UTF8 = (
    "save the file as UTF-8, or say what it is at its beginning: SET client_encoding = 'LATIN1'; for example"
)
_ANOTHER_DATABASE = "a script is run in the database that dbinit is connected to; connect to the other one instead"
_RESTRICTED = (
    "between \\restrict and \\unrestrict, where the script is data from elsewhere, there may be no other command"
)


class Reader:
    """Reads the statements of a script; iterate over it once.

    Args:
        script: The script.
        context: What is known where it is read.
        on_note: Told of what the script says, before the statement behind that is returned.

    Raises:
        ScriptError: While iterating: something cannot be read or run; or, at once, a variable cannot be set.
        SourceError: While iterating: a file cannot be used.
    """

    def __init__(
        self,
        script: Script,
        context: Context | None = None,
        on_note: Callable[[Note], None] | None = None,
    ) -> None:
        self._script = script
        self._state = _State(context or Context(), on_note)

    @property
    def certain(self) -> bool:
        """Whether it is known that the statement just read is run; it may depend on results."""
        return all(file.conditions.certain for file in self._state.files)

    def __iter__(self) -> Iterator[Statement]:
        yield from _File(self._script, self._state).statements()


class _State:
    """What goes on from file to file."""

    def __init__(self, context: Context, on_note: Callable[[Note], None] | None) -> None:
        self.context = context
        self.on_note = on_note
        self.variables = initial_variables(context)
        self.standard_strings = context.session.standard_strings if context.session else True
        self.encoding = UTF8
        self.restricted = ""
        self.previous: Statement | None = None
        self.files: list[_File] = []  # being read, the outermost first


class _File:
    """One file, which may include others."""

    def __init__(self, script: Script, state: _State, included_at: tuple[SourceText, int] | None = None) -> None:
        self.script = script
        self.conditions = Conditions()
        self._state = state
        feed = Feed(script.chunks(), state.encoding)
        self._window = Window(
            script.path, feed, standard_conforming_strings=state.standard_strings, included_at=included_at
        )
        self._buffer: list[Patch] = []  # a statement that commands have interrupted
        self._resumed = (self._window.source, 0)  # where reading went on behind a command
        self._ifs: list[tuple[SourceText, int]] = []
        self._quit = False

    def statements(self) -> Iterator[Statement]:
        """Yield its statements, and those of the files that it includes."""
        self._state.files.append(self)
        while not self._quit and (piece := self._read()):
            if piece.kind == "command":
                yield from self._obey(piece)
            elif self.conditions.active:
                yield from self._take(piece)
            else:
                self._pass_over(piece)
        yield from self._finish()
        if not self._quit:
            self._check_conditions()
        self._state.files.pop()

    def _read(self) -> Piece | None:
        try:
            return self._window.read()
        except UnterminatedError as error:
            message = f"this {error.what} is opened here and never closed"
            raise unrunnable(self._window.source, error.offset, message, "close it") from None

    def _check_conditions(self) -> None:
        try:
            self.conditions.finish()
        except CommandError as error:
            raise unrunnable(*self._ifs[error.offset], error.message, error.advice) from None

    # --- statements -------------------------------------------------------------------------------------------------

    def _take(self, piece: Piece) -> Iterator[Statement]:
        """Take a statement, or the part of one that stands before a command."""
        source, start, end = self._window.source, piece.start, piece.end
        if piece.stop == "\\":
            self._buffer += self._patches(source, start, piece.next)
        elif self._buffer or not self._is_plain(source.text, start, end):
            self._buffer += self._patches(source, start, end)
            yield from self._finish()
        elif start < end:
            yield from self._send(Statement(source.text[start:end], source, start))

    def _is_plain(self, text: str, start: int, end: int) -> bool:
        if not self._state.context.commands:
            return True
        return self._state.variables.find(text, start, end) < 0 and text.find("\\", start, end) < 0

    def _patches(self, source: SourceText, start: int, end: int) -> Iterator[Patch]:
        """Yield a part of a statement with the values of its variables in it."""
        if self._buffer:
            yield Patch(self._gap(source, start), source, start)
        strings = self._window.standard_conforming_strings
        with _placing(source):
            whole = expand(source.text, start, end, self._state.variables, standard_conforming_strings=strings)
        for text, origin, same in whole.pieces if whole else [(source.text[start:end], start, True)]:
            yield Patch(text, source, origin, same)

    def _finish(self, wanted: Wanted = Wanted.NOTHING, prefix: str = "") -> Iterator[Statement]:
        """Yield what has been put together: one statement, or several that the value of a variable has made of it."""
        patches, self._buffer = self._buffer, []
        if not any(patch.text for patch in patches):
            return
        strings = self._window.standard_conforming_strings
        statements = list(assemble(patches, standard_conforming_strings=strings))
        for statement in statements[:-1]:
            yield from self._send(statement)
        for statement in statements[-1:]:
            yield from self._send(statement, wanted, prefix)

    def _gap(self, source: SourceText, start: int) -> str:
        """Return what psql puts between the parts of a statement that a command has interrupted."""
        there, offset = self._resumed
        gap = source.text[offset:start] if there is source else "\n"
        return "\n" if "\n" in gap else " " if gap else ""

    def _send(self, statement: Statement, wanted: Wanted = Wanted.NOTHING, prefix: str = "") -> Iterator[Statement]:
        """Yield a statement, unless it is only for whoever reads the script."""
        text, source, offset = statement[:3]
        self._state.previous = statement
        _check_characters(statement, self._window.encoding)
        if reason := refusal(text):
            raise unrunnable(source, offset, reason)
        if (on := sets_standard_strings(text)) is not None:
            self._state.standard_strings = on
            self._window.set_standard_conforming_strings(on=on)
        if (encoding := client_encoding(text)) and self._set_encoding(encoding, source, offset):
            return
        if reads_copy_data(text):
            statement = self._with_data(statement)
        elif wanted is not Wanted.NOTHING:
            statement = statement._replace(wanted=wanted, receive=self._receiver(statement, wanted, prefix))
        yield from self._yielded(statement)
        if wanted is Wanted.VARIABLES and not self._state.context.results:
            self._state.variables.doubt_all(prefix)

    def _yielded(self, statement: Statement) -> Iterator[Statement]:
        yield statement
        for _ in statement.data or ():  # what the caller left of it
            pass

    def _with_data(self, statement: Statement) -> Statement:
        """Return a COPY with the data that follow in the script."""
        source = self._window.source
        position = self._window.position
        earlier = source.gap.lines if source.gap.at > position else 0  # data of another COPY on the same line
        line = source.line(position) + 1 + earlier
        data = self._in_utf8(self._window.data(copy_quote(statement.text)), source.path, line)
        return statement._replace(data=data, data_path=source.path, data_line=line)

    def _in_utf8(self, data: Iterator[bytes], path: str, line: int) -> Iterator[bytes]:
        """Return data as they are sent; in UTF-8 it is the server that finds what is none."""
        encoding = self._window.encoding
        return data if encoding == UTF8 else transcoded(data, encoding, path, line)

    def _receiver(self, statement: Statement, wanted: Wanted, prefix: str) -> Callable[[Result], Sequence[Statement]]:
        def receive(result: Result) -> Sequence[Statement]:
            if wanted is Wanted.STATEMENTS:
                return generated(result, statement.source, statement.offset)
            with _placing(statement.source, statement.offset):
                store(result, prefix, self._state.variables)
            return ()

        return receive

    def _set_encoding(self, name: str, source: SourceText, offset: int) -> bool:
        """Read what follows in another encoding; tell whether the server is not to hear of it, for we send UTF-8."""
        codec = codec_name(name)
        if not codec:
            advice = "save the script as UTF-8, and take this out"
            raise unrunnable(source, offset, f"Python does not know the encoding {name}", advice)
        self._state.encoding = codec
        self._window.set_encoding(codec)
        return codec != UTF8 or not _IS_UTF8.fullmatch(name)

    def _pass_over(self, piece: Piece) -> None:
        """Pass over a statement in a branch that is not taken, together with its data."""
        text = self._window.source.text[piece.start : piece.end]
        if piece.stop != "\\" and reads_copy_data(text):
            for _ in self._window.data(copy_quote(text)):
                pass

    # --- commands ---------------------------------------------------------------------------------------------------

    def _obey(self, piece: Piece) -> Iterator[Statement]:
        """Do what a command says; most of them stand between statements, or between the parts of one."""
        source, state = self._window.source, self._state
        if not state.context.commands:
            raise unrunnable(source, piece.start, "psql's commands mean nothing in this file", "take the backslash out")
        raw = source.text[piece.start : piece.end]
        if KNOWN.get(command_name(raw)) is Kind.IF:
            self._ifs.append((source, piece.start))
        with _placing(source, piece.start):
            if self.conditions.take(raw, state.variables, len(self._ifs) - 1):
                self._resume()
                return
            command = parse_command(raw, state.variables)
            self._check_restriction(command)
        if command.copy:  # the arguments of the others are checked where they are read
            _check_characters(Statement(raw, source, piece.start), self._window.encoding)
        if command.kind in _SENDING:
            yield from self._go(command)
        elif command.kind is Kind.RESET:
            self._buffer.clear()
        elif command.kind is Kind.QUIT:
            self._quit = self.conditions.certain
        else:
            yield from self._do(command, source, piece.start)
            self._resume()

    def _resume(self) -> None:
        self._resumed = self._window.source, self._window.position
        self._window.resume()
        # An included file may have changed how the lines behind are read.
        self._window.set_standard_conforming_strings(on=self._state.standard_strings)
        self._window.set_encoding(self._state.encoding)

    def _check_restriction(self, command: Command) -> None:
        state = self._state
        if command.kind is Kind.UNRESTRICT:
            if command.arguments[0] != state.restricted:
                raise CommandError("this key is not the one of the \\restrict before it")
            state.restricted = ""
        elif state.restricted:
            raise CommandError(f"the psql command \\{command.name} is not allowed here", advice=_RESTRICTED)
        elif command.kind is Kind.RESTRICT:
            state.restricted = command.arguments[0]

    def _go(self, command: Command) -> Iterator[Statement]:
        r"""Send the statement that a command ends; without one, that which was sent last again, as psql does."""
        wanted = _SENDING[command.kind]
        prefix = "".join(command.arguments) if wanted is Wanted.VARIABLES else ""
        if any(patch.text.strip() for patch in self._buffer):
            yield from self._finish(wanted, prefix)
        elif previous := self._state.previous:
            self._buffer.clear()
            yield from self._send(previous._replace(data=None), wanted, prefix)

    def _do(self, command: Command, source: SourceText, offset: int) -> Iterator[Statement]:
        variables = self._state.variables
        with _placing(source, offset):
            match command.kind:
                case Kind.SET if command.arguments:
                    name, value = command.arguments
                    if not variables.set(name, value):
                        self._note(f"{name} is always on, as a script stops at its first error", source, offset)
                    self._doubt(name)
                case Kind.UNSET:
                    variables.unset(command.arguments[0])
                    self._doubt(command.arguments[0])
                case Kind.ENCODING if command.arguments:
                    self._set_encoding(command.arguments[0], source, offset)
                case Kind.CONNECT if command.target:
                    self._check_target(command.target)
                case Kind.ECHO | Kind.WARN:
                    warning = command.kind is Kind.WARN
                    self._note(command.arguments[0], source, offset, warning=warning)
        if command.kind in {Kind.INCLUDE, Kind.INCLUDE_RELATIVE}:
            yield from self._include(command, source, offset)
        elif command.copy:
            yield from self._copy(command.copy, source, offset)

    def _doubt(self, name: str) -> None:
        if not self.conditions.certain:
            self._state.variables.doubt(name)

    def _note(self, text: str, source: SourceText, offset: int, *, warning: bool = False) -> None:
        if self._state.on_note:
            self._state.on_note(Note(text, source, offset, warning))

    def _check_target(self, target: Target) -> None:
        session = self._state.context.session
        if session and not session.is_meant_by(target):
            raise CommandError("this leads to another database, user or server", advice=_ANOTHER_DATABASE)

    def _include(self, command: Command, source: SourceText, offset: int) -> Iterator[Statement]:
        use = Use.BESIDE if command.kind is Kind.INCLUDE_RELATIVE else Use.SCRIPT
        script = self._find(command.arguments[0], use, source, offset)
        if not script:
            return
        if script.key in {file.script.key for file in self._state.files}:
            raise unrunnable(source, offset, f"{script.path} includes itself", "take one of the commands out")
        yield from _File(script, self._state, (source, offset)).statements()

    def _copy(self, copy: CopyFrom, source: SourceText, offset: int) -> Iterator[Statement]:
        text = Patchwork([Patch(copy.statement, source, offset, verbatim=False)])
        statement = Statement(copy.statement, source, offset, patchwork=text)
        if copy.path is None:
            statement = self._with_data(statement)
        elif not (file := self._find(copy.path, Use.DATA, source, offset)):
            return
        else:
            data = self._in_utf8(file.chunks(), file.path, 1)
            statement = statement._replace(data=data, data_path=file.path, data_line=1)
        yield from self._yielded(statement)

    def _find(self, path: str, use: Use, source: SourceText, offset: int) -> Script | None:
        """Return a file that a command names; None if it is not there, and perhaps need not be."""
        if not self.script.find:
            raise unrunnable(source, offset, "this script may not name other files", "write into it what they hold")
        try:
            return self.script.find(path, use)
        except SourceError as error:
            if not self.conditions.certain:
                return None
            raise SourceError(f"{error.message}:\n{source.excerpt(offset)}", advice=error.advice) from None


_SENDING = {Kind.GO: Wanted.NOTHING, Kind.GSET: Wanted.VARIABLES, Kind.GEXEC: Wanted.STATEMENTS}


@contextmanager
def _placing(source: SourceText, offset: int = 0) -> Iterator[None]:
    """Say where it is that a script asks for what cannot be done."""
    try:
        yield
    except CommandError as error:
        raise unrunnable(source, offset + error.offset, error.message, error.advice) from None


def _check_characters(statement: Statement, encoding: str) -> None:
    """See to it that a statement is text, as it is said to be."""
    text = statement.text
    if (text.isascii() and "\0" not in text) or not (found := _UNUSABLE.search(text)):
        return
    source, offset = statement.origin(found.start())
    where = f"{source.path}:{source.place(offset).line}"
    if found[0] == "\0":
        advice = "remove the byte, or save the file as UTF-8 if it is UTF-16"
        raise SourceError(f"{where}: there is a NUL byte in it, which PostgreSQL cannot take", advice=advice)
    name = "UTF-8" if encoding == UTF8 else encoding
    raise SourceError(f"{where}: byte 0x{ord(found[0]) - 0xDC00:02x} there is not {name}", advice=_SAVE_AS_UTF8)
