"""Real processes under test: what they print is kept, and none is left behind."""

import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import NamedTuple

from tests.kit.patience import eventually
from tests.kit.zygote import zygote

ROOT = Path(__file__).parents[2]
UNNOTICED = """
import sys
import dbinit.timeouts

dbinit.timeouts.notice_end = lambda *, local=True: "NULL"
from dbinit.cli import main
sys.exit(main())
"""
"""A dbinit whose end the server does not notice while it works on a statement."""


class Process:
    """A process with its output, standard output and error apart, in files."""

    def __init__(self, popen: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.popen = popen
        self.folder = folder

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text(errors="replace")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text(errors="replace")

    def wait(self, limit: float = 40.0) -> int:
        """Return the exit code; a signal's is negative."""
        return self.popen.wait(limit)

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait_for(self, text: str, limit: float = 40.0) -> None:
        """Wait until the process has printed `text`."""
        eventually(
            lambda: text in self.err or text in self.out, limit, lambda: f"{text!r} not in:\n{self.err}{self.out}"
        )


@contextmanager
def running(
    *command: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, stdin: int = subprocess.DEVNULL
) -> Iterator[Process]:
    """Run a command with no setting of dbinit's but what is given; kill it and its children at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            popen = subprocess.Popen(
                command,
                env=environment(env),
                cwd=cwd,
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        try:
            yield Process(popen, folder)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)
            popen.wait(10)


@contextmanager
def dbinit(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, stdin: int = subprocess.DEVNULL
) -> Iterator[Process]:
    """Run `python -m dbinit`."""
    with running(sys.executable, "-m", "dbinit", *arguments, env=env, cwd=cwd, stdin=stdin) as process:
        yield process


class Finished(NamedTuple):
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.err + self.out


def finished(process: Process, limit: float = 30.0) -> Finished:
    """Wait for the end of a process, which never is a traceback."""
    return _checked(process.wait(limit), process.folder)


def _checked(code: int, folder: Path) -> Finished:
    end = Finished(code, *((folder / name).read_text(errors="replace") for name in ("out", "err")))
    assert "Traceback" not in end.said, end.said
    return end


def run_dbinit(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, limit: float = 30.0
) -> Finished:
    """Run `python -m dbinit` to its end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("out", "err"):
            (folder / file).touch()
        code = zygote().run(list(arguments), environment(env), cwd, folder, limit)
        return _checked(code, folder)


# Root may read everything, unless that is taken away.
_POWERLESS = () if os.geteuid() else ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")


def run_powerless(*arguments: str, env: Mapping[str, str]) -> Finished:
    """Run `python -m dbinit` as somebody who may read only what permissions allow."""
    with running(*_POWERLESS, sys.executable, "-m", "dbinit", *arguments, env=env) as process:
        return finished(process)


def run_on_terminal(*command: str, env: Mapping[str, str], limit: float = 30.0) -> tuple[int, str]:
    """Run a command whose output is a terminal; return its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    with ExitStack() as stack:
        stack.callback(os.close, ours)
        popen = stack.enter_context(
            subprocess.Popen(
                command,
                env={**environment(env), "TERM": "xterm", "COLUMNS": "100"},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
            )
        )
        watchdog = Timer(limit, popen.kill)
        stack.callback(watchdog.cancel)
        watchdog.start()
        os.close(theirs)
        got = b"".join(iter(lambda: _read_terminal(ours), b""))
        return popen.wait(limit), got.decode()


def _read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux's way to say that nobody has the other end open any more
        return b""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without any setting of the database's, plus `extra`."""
    ours = ("DATABASE_", "DB_", "DBINIT_", "MIGRATION_", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(extra or {})}
