"""Reads files of SQL as text in chunks: what is hashed is what runs.

A small file is read once and kept. A large one is read again when it is run; its checksum is then taken again.
"""

import codecs
import hashlib
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO

from .errors import SourceError
from .model import Script

__all__ = ["STANDARD_INPUT", "checksum", "is_large", "read_script"]

STANDARD_INPUT = "-"
"""The path that means standard input."""

_CHUNK = 1 << 18
_KEPT = 32 << 20  # characters
_LARGE = 1 << 20  # bytes
_SET_PATH = "set MIGRATION_PATH (or --path) to the file of SQL to run; it is looked for from the working directory"
_SAVE_AS_UTF8 = "save the file as UTF-8"
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

Open = Callable[[], IO[bytes]]


def is_large(path: Path) -> bool:
    """Tell whether reading a file takes long enough to be noticed."""
    return path.is_file() and path.stat().st_size > _LARGE


def read_script(path: Path) -> Script:
    """Read a file of SQL, `.sql` or `.sql.gz`, or standard input (`-`), as UTF-8.

    Raises:
        SourceError: It is missing, unreadable, empty, no file, or no text.
    """
    opened = _standard_input() if str(path) == STANDARD_INPUT else partial(_open, path)
    kept: list[str] | None = []
    digest = _Digest()
    size = 0
    for chunk in _chunks(path, opened):
        digest.add(chunk)
        size += len(chunk)
        if kept is not None:
            kept.append(chunk)
        if size > _KEPT:
            kept = None
    if digest.blank:
        raise SourceError(f"{path} is empty", advice=_SET_PATH)
    checked = digest.end()
    again = partial(iter, kept) if kept is not None else partial(_chunks_again, path, opened, checked)
    name = os.fsencode(path.name).decode(errors="replace")  # the history is UTF-8, a file's name may be anything
    return Script(name, str(path), checked, again)


def checksum(text: str) -> str:
    """Return the SHA-256 of a script's text; CRLF counts as LF, so that a checkout on Windows is the same script."""
    digest = _Digest()
    digest.add(text)
    return digest.end()


class _Digest:
    """The checksum of a text that comes in chunks, and whether there is anything in it."""

    def __init__(self) -> None:
        self.blank = True
        self._hash = hashlib.sha256()
        self._held = ""

    def add(self, chunk: str) -> None:
        self.blank = self.blank and not chunk.strip()
        chunk = self._held + chunk
        self._held = "\r" if chunk.endswith("\r") else ""  # perhaps the first half of a CRLF
        self._hash.update(chunk.removesuffix(self._held).replace("\r\n", "\n").encode())

    def end(self) -> str:
        self._hash.update(self._held.encode())
        return self._hash.hexdigest()


def _chunks_again(path: Path, opened: Open, expected: str) -> Iterator[str]:
    digest = _Digest()
    for chunk in _chunks(path, opened):
        digest.add(chunk)
        yield chunk
    if digest.end() != expected:
        raise SourceError(f"{path} was changed while it was read", advice="start again")


def _chunks(path: Path, opened: Open) -> Iterator[str]:
    """Yield the text, without a byte order mark.

    Raises:
        SourceError: It cannot be read, or is no text.
    """
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    line = 1
    try:
        with closing(opened()) as file:
            data = file.read(_CHUNK)
            _refuse_other_formats(path, data)
            while True:
                last = not data
                text = decode(data, last)
                nul = text.find("\0")
                if nul >= 0:
                    raise SourceError(
                        f"{path}:{line + text.count(chr(10), 0, nul)}: there is a NUL byte in it,"
                        " which PostgreSQL cannot take",
                        advice="remove the byte, or save the file as UTF-8 if it is UTF-16",
                    )
                if text:
                    yield text
                    line += text.count("\n")
                if last:
                    return
                data = file.read(_CHUNK)
    except UnicodeDecodeError as error:
        at = line + error.object.count(b"\n", 0, error.start)
        byte = error.object[error.start]
        raise SourceError(f"{path}:{at}: byte 0x{byte:02x} there is not UTF-8", advice=_SAVE_AS_UTF8) from None
    except FileNotFoundError:
        raise SourceError(f"there is no file {path}", advice=_SET_PATH) from None
    except IsADirectoryError:
        raise SourceError(f"{path} is a folder, but a file of SQL is meant", advice=_SET_PATH) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SourceError(f"{path} cannot be read: {reason}", advice="check the file and its permissions") from None


def _refuse_other_formats(path: Path, data: bytes) -> None:
    if data.startswith(b"PGDMP"):
        raise SourceError(f"{path} is a custom-format dump, no SQL text", advice="restore it with pg_restore")
    for mark, name in _OTHER_ENCODINGS.items():
        if data.startswith(mark):
            raise SourceError(f"{path} is {name}, not UTF-8", advice=_SAVE_AS_UTF8)


def _open(path: Path) -> IO[bytes]:
    if not path.is_dir() and stat.S_ISCHR(path.stat().st_mode):
        raise SourceError(f"{path} is a device, but a file of SQL is meant", advice=_SET_PATH)
    if path.suffix != ".gz":
        return path.open("rb")
    import gzip  # noqa: PLC0415 - seldom needed

    return gzip.open(path)  # type: ignore[return-value]


def _standard_input() -> Open:
    """Spool standard input, which can be read only once, into a file of its own that goes with the script."""
    import tempfile  # noqa: PLC0415 - seldom needed
    import weakref  # noqa: PLC0415 - seldom needed

    spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the script
    while data := sys.stdin.buffer.read(_CHUNK):
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
