"""Runs `python -m dbinit` in processes that are forked off one which has imported everything already.

Importing takes nine tenths of the time of most runs. What is proved by the process itself (signals, kills, what is
imported) is for processes that are started from scratch.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from select import select
from typing import IO, Any, NoReturn, cast

_PRELOADED = (
    "anyio._backends._asyncio",
    "dbinit.cli",
    "dbinit.grammar",
    "dbinit.migrations.native",
    "dbinit.runner.carrying",
    "dbinit.runner.work",
    "dbinit.stepwise",
)
ROOT = Path(__file__).parents[2]


class Zygote:
    """The process to be forked; it ends with us."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", __name__]
        pipe = subprocess.PIPE
        # Without a buffer, as select() does not see an answer that has been read into one.
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, bufsize=0)
        self._requests, self._answers = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)

    def run(self, arguments: list[str], env: Mapping[str, str], cwd: Path, folder: Path, limit: float) -> int:
        """Run dbinit to its end; what it prints is in the files `out` and `err` of a folder.

        Raises:
            subprocess.TimeoutExpired: It took longer than `limit` seconds, and was killed.
        """
        request = {"arguments": arguments, "env": dict(env), "cwd": str(cwd), "folder": str(folder)}
        self._requests.write(json.dumps(request).encode() + b"\n")
        pid = int(self._answer())
        if select([self._answers], [], [], limit)[0]:
            return int(self._answer())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._answer()
        raise subprocess.TimeoutExpired(arguments, limit)

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=10)

    def _answer(self) -> bytes:
        line = self._answers.readline()
        assert line, "the process to be forked has ended"
        return line


@cache
def zygote() -> Zygote:
    """Return the one of this process."""
    started = Zygote()
    atexit.register(started.close)
    return started


def _serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(**request)
        _answer(pid)
        _answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(arguments: list[str], env: dict[str, str], cwd: str, folder: str) -> NoReturn:
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, name in enumerate((os.devnull, f"{folder}/out", f"{folder}/err")):
        os.dup2(os.open(name, os.O_RDWR), number)
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: PTH123, SIM115
    sys.argv = ["dbinit", *arguments]
    code: Any = 1
    try:
        from dbinit.cli import main  # noqa: PLC0415 - only here

        code = main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as Python itself does
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else bool(code))


if __name__ == "__main__":
    for module in _PRELOADED:
        import_module(module)
    gc.freeze()
    _serve()
