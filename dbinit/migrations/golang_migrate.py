"""Folders of golang-migrate: `1_name.up.sql` and `1_name.down.sql`; other files are passed over, as it does. Pure."""

import re
from collections.abc import Sequence

from .model import Migration, Part
from .reading import Named, Reading, read_version
from .text import FileText

__all__ = ["read_golang_migrate"]

# The name goes as far as it can, and whatever stands behind the direction counts as an extension.
_NAME = re.compile(r"([0-9]+)_([^\n]*)\.(down|up)\.([^\n]*)", re.ASCII)


def read_golang_migrate(texts: Sequence[FileText]) -> Reading:
    """Read a folder of golang-migrate."""
    reading = Reading()
    ups: list[Migration] = []
    downs: list[tuple[Named, Part]] = []
    for text in texts:
        match = _NAME.fullmatch(text.file.name)
        version = read_version(text, match[1], reading.problems) if match else None
        if match is None or version is None:
            continue
        if match[3] == "down":
            downs.append((Named(text, version, match[2]), text.part()))
        else:
            ups.append(Migration(text.file, version, match[2], text.part(), None, text.checksum()))
    reading.pair(ups, downs)
    return reading
