"""What psql sends: the real psql in front of a server that records each message, and answers that all went well."""

import re
import socketserver
import subprocess
import tempfile
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import IO, NamedTuple, Self

from tests.kit.gaps import gap_end
from tests.kit.process import environment

_RESET = "\\set ON_ERROR_STOP off\n\\unset x\n\\unset y\n\\unset z\n"
_LIMIT = 30.0  # seconds for one script

_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|--[^\r\n]*|/\*.*?\*/""", re.DOTALL)
_COPY_IN = re.compile(r"COPY\s+(?!\()[^;]*\sFROM\s+STD(?:IN|OUT)\b", re.IGNORECASE)
_STRINGS = re.compile(
    r"(?:SET\s+(?:SESSION\s+)?|RESET\s+)standard_conforming_strings(?:\s*(?:=|TO)\s*'?(?P<value>\w+))?|RESET\s+ALL\b",
    re.IGNORECASE,
)


class Message(NamedTuple):
    """A message as it was sent, and the data of the COPY in it, None without one."""

    text: str
    data: str | None = None


class Oracle:
    """One psql that reads scripts, one after the other, each as a file of its own; use it as a context manager.

    What a script leaves open, psql sends when the file ends, so it never reaches into the next. Each begins with
    `standard_conforming_strings` on, and without the variables `x`, `y` and `z`.

    Args:
        binaries: The folder psql lies in.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._mark = f"SELECT '{uuid.uuid4()}';"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dbinit-oracle-")))
            self._recorder = stack.enter_context(_Recorder(self._folder / ".s.PGSQL.5432", self._mark))
            self._errors = stack.enter_context((self._folder / "errors").open("w+b"))
            self._psql = self._start()
            stack.callback(self._stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def sent(self, text: str) -> list[Message]:
        """Return the messages that psql sends for a script."""
        script = self._folder / "script.sql"
        script.write_bytes(text.encode())
        stdin = self._psql.stdin
        assert stdin
        stdin.write(f"{_RESET}\\i '{script}'\n{self._mark}\n".encode())
        stdin.flush()
        return self._recorded(text)

    def _recorded(self, text: str) -> list[Message]:
        """Wait for what is recorded of a script."""
        deadline = monotonic() + _LIMIT
        while monotonic() < deadline and self._psql.poll() is None:
            with suppress(Empty):
                return self._recorder.scripts.get(timeout=0.2)
        complaints = self.complaints()
        self._psql.kill()
        self.__exit__()
        self.__enter__()
        raise AssertionError(f"psql stopped at this script:\n{text!r}\n{complaints}")

    def complaints(self) -> str:
        """Return what psql has printed to standard error, the end of it."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-1000:]

    def _start(self) -> "subprocess.Popen[bytes]":
        where = f"host={self._folder} port=5432 user=nobody dbname=nothing sslmode=disable gssencmode=disable"
        return subprocess.Popen(
            [self._binaries / "psql", "--no-psqlrc", "--quiet", where],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )

    def _stop(self) -> None:
        """Let psql come to its end, or put one to it."""
        try:
            self._psql.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            self._psql.kill()
            self._psql.communicate()


class _Recorder(socketserver.ThreadingUnixStreamServer):
    """Takes sessions on a socket, and puts what a script has sent into `scripts` when the mark behind it comes."""

    def __init__(self, socket: Path, mark: str) -> None:
        super().__init__(str(socket), _Session)
        self.scripts: SimpleQueue[list[Message]] = SimpleQueue()
        self._mark = mark
        self._messages: list[Message] = []
        self.standard_strings = "on"

    def __enter__(self) -> Self:
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def record(self, text: str, data: str | None = None) -> None:
        if text == self._mark:
            self.scripts.put(self._messages)
            self._messages = []
            self.standard_strings = "on"
            return
        self._messages.append(Message(text, data))
        if found := _STRINGS.match(text, gap_end(text)):
            self.standard_strings = "off" if (found["value"] or "on").lower() in {"off", "false", "no"} else "on"


class _Session(socketserver.StreamRequestHandler):
    """One session, by https://www.postgresql.org/docs/18/protocol-flow.html: no more of it than psql uses.

    psql asks for the state of the transaction only in modes that no script here turns on, so it is always "idle".
    """

    server: _Recorder
    rfile: IO[bytes]  # type: ignore[assignment]

    def handle(self) -> None:
        self.rfile.read(int.from_bytes(self.rfile.read(4)) - 4)
        self._said = ""
        self._answer(
            _message(b"R", bytes(4)), _parameter("server_version", "18.6"), _parameter("client_encoding", "UTF8")
        )
        while True:
            kind, body = self._receive()
            if kind in {b"X", b""}:
                return
            assert kind == b"Q", kind
            self._query(body[:-1].decode())

    def _query(self, text: str) -> None:
        start = gap_end(text)
        if text[start : start + 4].upper() == "COPY" and _COPY_IN.match(_QUOTED.sub(_plain, text[start:])):
            self.wfile.write(_message(b"G", bytes(3)))
            self.server.record(text, self._data())
        else:
            self.server.record(text)
        self._answer(_message(b"C", b"OK\0"))

    def _data(self) -> str:
        parts: list[bytes] = []
        while True:
            kind, body = self._receive()
            if kind == b"c":
                return b"".join(parts).decode()
            assert kind == b"d", kind
            parts.append(body)

    def _receive(self) -> tuple[bytes, bytes]:
        head = self.rfile.read(5)
        return head[:1], self.rfile.read(int.from_bytes(head[1:]) - 4) if head else b""

    def _answer(self, *messages: bytes) -> None:
        """Answer, tell the setting if it is not the one last told, and be ready for the next query."""
        told = self._said
        self._said = self.server.standard_strings
        change = _parameter("standard_conforming_strings", self._said) if self._said != told else b""
        self.wfile.write(b"".join((*messages, change, _message(b"Z", b"I"))))


def _plain(quoted: re.Match[str]) -> str:
    return " q " if quoted[0][0] in "'\"" else " "


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


def _parameter(name: str, value: str) -> bytes:
    return _message(b"S", f"{name}\0{value}\0".encode())
