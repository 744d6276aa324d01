"""Folders of sqlx: `1_name.sql`, or `1_name.up.sql` with `1_name.down.sql`. Pure."""

from collections.abc import Sequence

from .model import Migration, Part, Transaction
from .problems import Problem
from .reading import Named, Reading, read_version
from .text import FileText
from .version import Version

__all__ = ["read_sqlx"]

_MARK = b"-- no-transaction"
_TOO_LARGE = 2**63


def read_sqlx(texts: Sequence[FileText]) -> Reading:
    """Read a folder of sqlx."""
    reading = Reading()
    ups: list[Migration] = []
    downs: list[tuple[Named, Part]] = []
    for text in texts:
        number, separator, rest = text.file.name.partition("_")
        if not separator or not rest.endswith(".sql"):
            continue
        version = _version(text, number, reading)
        if version is None:
            continue
        # At the very beginning of the file, so that a byte order mark hides it.
        transaction = Transaction.NO if text.file.data.startswith(_MARK) else Transaction.YES
        part = text.part(transaction=transaction)
        if rest.endswith(".down.sql"):
            downs.append((Named(text, version, rest.removesuffix(".down.sql")), part))
        else:
            name = rest.removesuffix(".sql").removesuffix(".up")
            ups.append(Migration(text.file, version, name, part, None, text.checksum()))
    reading.pair(ups, downs)
    return reading


def _version(text: FileText, number: str, reading: Reading) -> Version | None:
    version = read_version(text, number.removeprefix("+"), reading.problems)
    if version is None or (len(version) == 1 and version[0] < _TOO_LARGE):
        return version
    reading.problems.append(Problem(text.path, f"{number} is no version of sqlx's, which has 63 bits and no dots"))
    return None
