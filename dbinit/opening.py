"""Opens what a script is read from: a file, compressed or not, standard input, or a pipe.

What can be read only once is kept in a file of its own, so that all of it can be opened again.
"""

import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from .errors import SourceError

__all__ = ["SET_PATH", "STANDARD_INPUT", "Open", "is_stream", "opener", "readable", "stamp", "takes_long"]

STANDARD_INPUT = "-"
"""The path that means standard input."""
SET_PATH = (
    "set MIGRATION_PATH (or --path) to the file of SQL, or to the folder of migrations; it is looked for from the"
    " working directory"
)

_CHUNK = 1 << 18
_LARGE = 1 << 20  # bytes
_PIPE_LIMIT = 5  # seconds

Open = Callable[[], IO[bytes]]


def is_stream(path: Path) -> bool:
    """Tell whether something can be read only once."""
    return str(path) == STANDARD_INPUT or stat.S_ISFIFO(_mode(path))


def takes_long(path: Path) -> bool:
    """Tell whether reading takes long enough to be noticed: a large file, or what somebody has still to write."""
    if is_stream(path):
        return True
    return os.path.isfile(path) and path.stat().st_size > _LARGE  # noqa: PTH113 - Path's own may raise


def opener(path: Path, *, compressed: bool) -> Open:
    """Return what opens a file from its beginning; a stream is read to its end first, however it is named.

    Args:
        path: The file.
        compressed: Whether it is, by gzip.

    Raises:
        SourceError: A stream cannot be read, or nobody has written to it in time.
    """
    if not is_stream(path):
        return partial(_open, path, compressed=compressed)
    with readable(path), _standard_input() if str(path) == STANDARD_INPUT else _pipe(path) as stream:
        return _spooled(stream)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Report what keeps a file from being read.

    Raises:
        SourceError: Something does.
    """
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"there is no file {path}", advice=SET_PATH) from None
    except IsADirectoryError:
        raise SourceError(f"{path} is a folder, but a file of SQL is meant", advice=SET_PATH) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SourceError(f"{path} cannot be read: {reason}", advice="check the file and its permissions") from None


def stamp(file: IO[bytes]) -> tuple[int, int] | None:
    """Return what becomes another when somebody writes to a file; None for one that is our own."""
    if isinstance(file, _Unclosed):
        return None
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _mode(path: Path) -> int:
    """Return what kind of file it is; 0 where that cannot be known, which is told when it is opened."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _open(path: Path, *, compressed: bool) -> IO[bytes]:
    if not path.is_dir() and stat.S_ISCHR(path.stat().st_mode):
        raise SourceError(f"{path} is a device, but a file of SQL is meant", advice=SET_PATH)
    if not compressed:
        return path.open("rb")
    import gzip  # noqa: PLC0415 - seldom needed

    return gzip.open(path)  # type: ignore[return-value]


@contextmanager
def _standard_input() -> Iterator[IO[bytes]]:
    """Open standard input without its buffer: the lock of that would be held by a thread that waits at the very end."""
    if sys.stdin is None:  # closed where a process is started without one
        raise SourceError("standard input is closed", advice=SET_PATH)
    descriptor = None
    with suppress(OSError):  # of what somebody has put into its place
        descriptor = sys.stdin.fileno()
    if descriptor is None:
        yield sys.stdin.buffer
        return
    with open(descriptor, "rb", buffering=0, closefd=False) as stream:
        yield stream


@contextmanager
def _pipe(path: Path) -> Iterator[IO[bytes]]:
    """Open a pipe with a name; opening it in the usual way would wait for a writer for ever.

    Raises:
        SourceError: Nobody has written to it in time.
    """
    import select  # noqa: PLC0415 - seldom needed

    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as pipe:  # noqa: PTH123 - a descriptor
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        if not waiting.poll(_PIPE_LIMIT * 1000):
            raise SourceError(f"{path} is a pipe, and nobody has written to it for {_PIPE_LIMIT} s", advice=SET_PATH)
        os.set_blocking(descriptor, True)
        yield pipe


def _spooled(stream: IO[bytes]) -> Open:
    """Keep what can be read only once in a file of its own, which goes with the script."""
    import tempfile  # noqa: PLC0415 - seldom needed
    import weakref  # noqa: PLC0415 - seldom needed

    spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the script
    while data := stream.read(_CHUNK):
        spool.write(data)

    def reopen() -> IO[bytes]:
        spool.seek(0)
        return _Unclosed(spool)  # type: ignore[return-value]

    weakref.finalize(reopen, spool.close)
    return reopen


class _Unclosed:
    """A file that outlives its reader."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read = file.read

    def close(self) -> None:
        """Keep it open for the next reader."""
