"""Reads a file of SQL, once: what is hashed is what runs."""

import hashlib
from pathlib import Path

from .errors import SourceError
from .model import Script

__all__ = ["checksum", "read_script"]

_SET_PATH = "set MIGRATION_PATH (or --path) to the file of SQL to run; it is looked for from the working directory"
_SAVE_AS_UTF8 = "save the file as UTF-8"


def read_script(path: Path) -> Script:
    """Read a file of SQL as UTF-8.

    Raises:
        SourceError: It is missing, unreadable, empty, no file, or no text.
    """
    data = _read_bytes(path)
    if data.startswith(b"PGDMP"):
        raise SourceError(f"{path} is a custom-format dump, no SQL text", advice="restore it with pg_restore")
    text = _decode(path, data)
    if not text.strip():
        raise SourceError(f"{path} is empty", advice=_SET_PATH)
    nul = text.find("\0")
    if nul >= 0:
        raise SourceError(
            f"{path}:{text.count(chr(10), 0, nul) + 1}: there is a NUL byte in it, which PostgreSQL cannot take",
            advice="remove the byte, or save the file as UTF-8 if it is UTF-16",
        )
    return Script(path.name, str(path), text, checksum(text))


def checksum(text: str) -> str:
    """Return the SHA-256 of a script's text; CRLF counts as LF, so that a checkout on Windows is the same script."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"there is no file {path}", advice=_SET_PATH) from None
    except IsADirectoryError:
        raise SourceError(f"{path} is a folder, but a file of SQL is meant", advice=_SET_PATH) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(f"{path} cannot be read: {reason}", advice="check the file and its permissions") from None


def _decode(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(f"{path} is UTF-16, not UTF-8", advice=_SAVE_AS_UTF8)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise SourceError(f"{path}:{line}: byte 0x{byte:02x} there is not UTF-8", advice=_SAVE_AS_UTF8) from None
