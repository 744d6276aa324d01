"""Reads files of SQL as bytes in chunks: what is hashed is what runs.

A small file is read once and kept. A large one is read again when it is run, and each piece of it is compared with what
was hashed before it is handed on. The files that a script names are found within its own folder, and are read in the
same way.
"""

import hashlib
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from .errors import SourceError
from .model import Script, Use

__all__ = ["STANDARD_INPUT", "checksum", "open_script", "read_script", "takes_long"]

STANDARD_INPUT = "-"
"""The path that means standard input."""

_CHUNK = 1 << 18
_TELLING = 8  # bytes at its beginning tell what a file is
_KEPT = 4 << 20  # bytes
_LARGE = 1 << 20  # bytes
_PIPE_LIMIT = 5  # seconds
_MARK = b"\xef\xbb\xbf"
_SET_PATH = (
    "set MIGRATION_PATH (or --path) to the file of SQL, or to the folder of migrations; it is looked for from the"
    " working directory"
)
_NAME_FILE = "name a file of SQL, seen from the working directory, or - for standard input; of a folder, name its files"
_SET_ROOT = "set DBINIT_INCLUDE_ROOT (or --include-root) to the folder that it may read from"
_CORRECT_PATH = "correct the path: \\i looks from the working directory, \\ir from where the script lies"
_SAVE_AS_UTF8 = "save the file as UTF-8"
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# A command that names another file. As it is looked for in each chunk, the few bytes before that are kept.
_NAMES_FILES = rb"\\(?:i|ir|include|include_relative|copy)[ \t'\"]"
_LONGEST_NAME = 20

Open = Callable[[], IO[bytes]]


def takes_long(path: Path) -> bool:
    """Tell whether reading takes long enough to be noticed: a large file, or what somebody has still to write."""
    if str(path) == STANDARD_INPUT or stat.S_ISFIFO(_mode(path)):
        return True
    return os.path.isfile(path) and path.stat().st_size > _LARGE  # noqa: PTH113 - Path's own may raise


def read_script(path: Path, variables: Mapping[str, str], root: Path | None = None) -> Script:
    """Read a file of SQL, `.sql` or `.sql.gz`, or standard input (`-`), and those that it includes.

    Args:
        path: The file.
        variables: The script's variables: they may decide what it includes.
        root: The folder outside of which no file may be included. Default: the one that the file lies in.

    Raises:
        SourceError: It, or one that it includes, is missing, unreadable, empty, no file, or no text.
        ScriptError: It names other files, and something in it cannot be read or run.
    """
    files = _Files(path, root)
    script = files.main()
    if files.names_others:
        from .sql.context import Context  # noqa: PLC0415 - most scripts are whole, and need none of it
        from .sql.survey import survey  # noqa: PLC0415

        survey(script, Context(variables))
    return script._replace(checksum=files.seal())


def open_script(path: Path, root: Path | None = None) -> Script:
    """Read a file that somebody has named, but none that it includes: they are looked for once they are asked for.

    Args:
        path: As for `read_script()`.
        root: As for `read_script()`.

    Raises:
        SourceError: It is missing, unreadable, empty, no file, or no text.
    """
    try:
        return _Files(path, root).main()
    except SourceError as error:
        if error.advice == _SET_PATH:  # no setting names it
            error.advice = _NAME_FILE
        raise


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a script; CRLF counts as LF, so that a checkout on Windows is the same script."""
    digest = _Digest()
    digest.add(content)
    return digest.end()


class _Files:
    """A script and the files that it names, each read once."""

    def __init__(self, path: Path, root: Path | None) -> None:
        self._path = path
        self._root = root
        self._found: dict[str, Script] = {}
        self._named: dict[str, Script] = {}
        self._sealed = False
        self._place = ""
        self.names_others = False
        """Whether a script that was read names others."""

    def main(self) -> Script:
        """Read the script itself."""
        if str(self._path) == STANDARD_INPUT:
            with _standard_input() as stream:
                return self._read(self._path, STANDARD_INPUT, _spooled(stream), Use.SCRIPT)
        if stat.S_ISFIFO(_mode(self._path)):
            with _pipe(self._path) as pipe:
                return self._read(self._path, str(self._path), _spooled(pipe), Use.SCRIPT)
        self._place = os.path.realpath(self._path)
        return self._read(
            self._path,
            self._place,
            partial(_open, self._path, compressed=_is_compressed(self._path, Use.SCRIPT)),
            Use.SCRIPT,
        )

    def seal(self) -> str:
        """Return the checksum of all that was read; what was not part of it then is not read any more.

        Raises:
            SourceError: The link that leads to the script, as in a ConfigMap, has been set to another file meanwhile.
        """
        if self._place and os.path.realpath(self._path) != self._place:
            raise SourceError.changed(self._path)
        self._sealed = True
        main, *others = (script.checksum for script in self._found.values())
        return hashlib.sha256("".join([main, *others]).encode()).hexdigest() if others else main

    def find(self, folder: Path, path: str, use: Use, /) -> Script:
        """Return a file that the script in `folder` names."""
        wanted = Path(os.path.expanduser(path))  # noqa: PTH111 - as psql, which leaves a user it does not know as it is
        wanted = folder / wanted if use is Use.BESIDE else wanted
        # What a name leads to is looked up once: a link may be set to another file meanwhile.
        if (name := str(wanted)) not in self._named:
            self._named[name] = self._look_up(wanted, use)
        return self._named[name]

    def _look_up(self, wanted: Path, use: Use) -> Script:
        key = os.path.realpath(wanted)
        if found := self._found.get(key):
            return found
        root = Path(os.path.realpath(self._root or self._home))
        if not Path(key).is_relative_to(root):
            raise SourceError(f"{wanted} is not in the folder {root}", advice=_SET_ROOT)
        if not os.path.exists(key):  # noqa: PTH110 - Path's own may raise
            raise SourceError(f"there is no file {wanted}", advice=_CORRECT_PATH)
        if self._sealed:
            raise SourceError(f"{wanted} was not found when the script was checked", advice="start again")
        return self._read(wanted, key, partial(_open, Path(key), compressed=_is_compressed(wanted, use)), use)

    @property
    def _home(self) -> Path:
        """The folder that the script lies in, not that which a symbolic link leads to: ConfigMaps are full of them."""
        return Path() if str(self._path) == STANDARD_INPUT else self._path.parent

    def _read(self, path: Path, key: str, opened: Open, use: Use) -> Script:
        content = _Content(path, opened)
        if content.blank and use is not Use.DATA:
            raise SourceError(f"{path} is empty", advice=_SET_PATH)
        self.names_others |= content.names_others
        name = os.fsencode(path.name).decode(errors="replace")  # the history is UTF-8, a file's name may be anything
        folder = Path() if key == STANDARD_INPUT else path.parent
        script = Script(name, str(path), content.checksum, content.chunks, partial(self.find, folder), key)
        self._found[key] = script
        return script


class _Content:
    """What is in a file, read once for its checksum and what else there is to know of it."""

    def __init__(self, path: Path, opened: Open) -> None:
        self._path = path
        self._opened = opened
        self._kept: list[bytes] | None = []
        self._stamp: tuple[int, int] | None = None
        self._marks: list[bytes] = []
        self.names_others = False
        digest, size, before = _Digest(), 0, b""
        for chunk in _chunks(path, opened, self._check):
            digest.add(chunk)
            self._marks.append(digest.so_far)
            self.names_others = self.names_others or _names_files(before + chunk)
            before = chunk[-_LONGEST_NAME:]
            size += len(chunk)
            if self._kept is not None:
                self._kept.append(chunk)
            if size > _KEPT:
                self._kept = None
        self.blank = digest.blank
        self.checksum = digest.end()

    def chunks(self) -> Iterator[bytes]:
        """Yield what was read.

        Raises:
            SourceError: The file has been changed since.
        """
        if self._kept is not None:
            yield from self._kept
            return
        digest, marks = _Digest(), iter(self._marks)
        for chunk in _chunks(self._path, self._opened, self._check):
            digest.add(chunk)
            if digest.so_far != next(marks, None):
                raise SourceError.changed(self._path)
            yield chunk
        if digest.end() != self.checksum:
            raise SourceError.changed(self._path)

    def _check(self, file: IO[bytes]) -> None:
        """Refuse the file if somebody has written to it since the first reading began."""
        stamp = _stamp(file)
        self._stamp = self._stamp or stamp
        if stamp != self._stamp:
            raise SourceError.changed(self._path)


def _names_files(chunk: bytes) -> bool:
    # The two that are looked for first are all but absent from what does not match.
    return (b"\\i" in chunk or b"\\copy" in chunk) and re.search(_NAMES_FILES, chunk) is not None


class _Digest:
    """The checksum of a file that comes in chunks, and whether there is anything in it."""

    def __init__(self) -> None:
        self.blank = True
        self._hash = hashlib.sha256()
        self._held = b""

    def add(self, chunk: bytes) -> None:
        self.blank = self.blank and not chunk.strip()
        if b"\r" in chunk or self._held:
            chunk = self._held + chunk
            self._held = b"\r" if chunk.endswith(b"\r") else b""  # perhaps the first half of a CRLF
            chunk = chunk.removesuffix(self._held).replace(b"\r\n", b"\n")
        self._hash.update(chunk)

    @property
    def so_far(self) -> bytes:
        """What tells this beginning from others; a CR at its end is left to what follows."""
        return self._hash.digest()

    def end(self) -> str:
        self._hash.update(self._held)
        return self._hash.hexdigest()


def _chunks(path: Path, opened: Open, check: Callable[[IO[bytes]], None]) -> Iterator[bytes]:
    """Yield what is in a file, without a byte order mark; `check` looks at it before and behind.

    Raises:
        SourceError: It cannot be read, is in another format, or was written to meanwhile.
    """
    try:
        with closing(opened()) as file:
            check(file)
            data = file.read(_CHUNK)
            while len(data) < _TELLING and (more := file.read(_CHUNK)):
                data += more
            _refuse_other_formats(path, data)
            data = data.removeprefix(_MARK) or file.read(_CHUNK)
            while data:
                yield data
                data = file.read(_CHUNK)
            check(file)
    except FileNotFoundError:
        raise SourceError(f"there is no file {path}", advice=_SET_PATH) from None
    except IsADirectoryError:
        raise SourceError(f"{path} is a folder, but a file of SQL is meant", advice=_SET_PATH) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SourceError(f"{path} cannot be read: {reason}", advice="check the file and its permissions") from None


def _stamp(file: IO[bytes]) -> tuple[int, int] | None:
    """Return what becomes another when somebody writes to a file; None for one that is our own."""
    if isinstance(file, _Unclosed):
        return None
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _refuse_other_formats(path: Path, data: bytes) -> None:
    if data.startswith(b"PGDMP"):
        raise SourceError(f"{path} is a custom-format dump, no SQL text", advice="restore it with pg_restore")
    for mark, name in _OTHER_ENCODINGS.items():
        if data.startswith(mark):
            raise SourceError(f"{path} is {name}, not UTF-8", advice=_SAVE_AS_UTF8)


def _mode(path: Path) -> int:
    """Return what kind of file it is; 0 where that cannot be known, which is told when it is opened."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _is_compressed(path: Path, use: Use) -> bool:
    return path.suffix == ".gz" and use is not Use.DATA


def _open(path: Path, *, compressed: bool) -> IO[bytes]:
    if not path.is_dir() and stat.S_ISCHR(path.stat().st_mode):
        raise SourceError(f"{path} is a device, but a file of SQL is meant", advice=_SET_PATH)
    if not compressed:
        return path.open("rb")
    import gzip  # noqa: PLC0415 - seldom needed

    return gzip.open(path)  # type: ignore[return-value]


@contextmanager
def _standard_input() -> Iterator[IO[bytes]]:
    """Open standard input without its buffer: the lock of that would be held by a thread that waits at the very end."""
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
            raise SourceError(f"{path} is a pipe, and nobody has written to it for {_PIPE_LIMIT} s", advice=_SET_PATH)
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
