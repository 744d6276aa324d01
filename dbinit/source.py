"""Reads files of SQL as bytes in chunks: what is hashed is what runs.

A small file is read once and kept. A large one is read again when it is run, and each piece of it is compared with what
was hashed before it is handed on. The files that a script names are found within its own folder, and are read in the
same way.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO

from .errors import SourceError
from .model import Script, Use
from .opening import SET_PATH, STANDARD_INPUT, Open, is_stream, opener, readable, stamp

__all__ = ["checksum", "open_script", "read_script"]

_CHUNK = 1 << 18
_TELLING = 8  # bytes at its beginning tell what a file is
_KEPT = 4 << 20  # bytes
_MARK = b"\xef\xbb\xbf"
_NAME_FILE = "name a file of SQL, seen from the working directory, or - for standard input; of a folder, name its files"
_SET_ROOT = "set DBINIT_INCLUDE_ROOT (or --include-root) to the folder that it may read from"
_CORRECT_PATH = "correct the path: \\i looks from the working directory, \\ir from where the script lies"
_SAVE_AS_UTF8 = "save the file as UTF-8"
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# A command that names another file. As it is looked for in each chunk, the few bytes before that are kept.
_NAMES_FILES = rb"\\(?:i|ir|include|include_relative|copy)[ \t'\"]"
_LONGEST_NAME = 20


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
        if error.advice == SET_PATH:  # no setting names it
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
        if not is_stream(self._path):
            self._place = os.path.realpath(self._path)
        opened = opener(self._path, compressed=_is_compressed(self._path, Use.SCRIPT))
        return self._read(self._path, self._place or str(self._path), opened, Use.SCRIPT)

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
        return self._read(wanted, key, opener(Path(key), compressed=_is_compressed(wanted, use)), use)

    @property
    def _home(self) -> Path:
        """The folder that the script lies in, not that which a symbolic link leads to: ConfigMaps are full of them."""
        return Path() if str(self._path) == STANDARD_INPUT else self._path.parent

    def _read(self, path: Path, key: str, opened: Open, use: Use) -> Script:
        content = _Content(path, opened)
        if content.blank and use is not Use.DATA:
            raise SourceError(f"{path} is empty", advice=SET_PATH)
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
        found = stamp(file)
        self._stamp = self._stamp or found
        if found != self._stamp:
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
    with readable(path), closing(opened()) as file:
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


def _refuse_other_formats(path: Path, data: bytes) -> None:
    if data.startswith(b"PGDMP"):
        raise SourceError(f"{path} is a custom-format dump, no SQL text", advice="restore it with pg_restore")
    for mark, name in _OTHER_ENCODINGS.items():
        if data.startswith(mark):
            raise SourceError(f"{path} is {name}, not UTF-8", advice=_SAVE_AS_UTF8)


def _is_compressed(path: Path, use: Use) -> bool:
    return path.suffix == ".gz" and use is not Use.DATA
