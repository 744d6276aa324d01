"""The native format: `001_name.sql`, `001_name.down.sql`, `repeatable_name.sql`, and hooks. Pure.

A repeatable migration is called so in plain words: `R__name.sql` would make the folder look like one of Flyway's.
"""

import re
from collections.abc import Iterable

from .annotations import read_annotations
from .model import Hook, Kind, Migration, Part
from .problems import NO_DOWN_STATEMENT, NO_STATEMENT, Problem
from .reading import Named, Reading, read_version
from .text import FileText, holds_sql, line_of

__all__ = ["HOOK_NAMES", "is_native_name", "read_native"]

HOOK_NAMES = {f"{hook.value}.sql": hook for hook in Hook}
_NAME = re.compile(r"(?P<version>[0-9]+)_(?P<name>.+?)(?P<down>\.down)?\.sql", re.ASCII | re.DOTALL)
_REPEATABLE = r"(?s)repeatable_(?P<name>.+)\.sql"
_NAMES = "001_name.sql, 001_name.down.sql, repeatable_name.sql or one of the hooks, " + ", ".join(HOOK_NAMES)


def is_native_name(name: str) -> bool:
    """Tell whether a file's name is one that this format gives a meaning to."""
    return name in HOOK_NAMES or bool(_NAME.fullmatch(name) or re.fullmatch(_REPEATABLE, name))


def read_native(texts: Iterable[FileText]) -> Reading:
    """Read a folder of the native format."""
    reading = Reading()
    ups: list[Migration] = []
    downs: list[tuple[Named, Part]] = []
    for text in texts:
        if not text.file.name.endswith((".sql", ".SQL")):
            continue
        if match := _NAME.fullmatch(text.file.name):
            if version := read_version(text, match["version"], reading.problems):
                named = Named(text, version, match["name"])
                if match["down"]:
                    downs.append((named, _down_file(text)))
                else:
                    ups.append(_migration(named))
        elif match := re.fullmatch(_REPEATABLE, text.file.name):
            reading.migrations.append(_repeatable(text, match["name"]))
        elif hook := HOOK_NAMES.get(text.file.name):
            reading.hooks[hook] = [_hook(text)]
        else:
            reading.problems.append(Problem(text.path, f"this is no name of a migration; name it {_NAMES}"))
    reading.pair(ups, downs)
    return reading


def _migration(named: Named) -> Migration:
    text = named.text
    found = read_annotations(text)
    span = found.up_span
    up = found.up.of_part(text.part(span))
    _refuse_empty(text, up)
    if found.up.compatible_with is not None and found.up.compatible_with >= named.version:
        what = "compatible-with must name an older version than the migration's own"
        text.problems.append(Problem(text.path, what, line_of(text.text, "compatible-with")))
    down = None
    if found.down_at is not None:
        down = found.down.of_part(text.part(found.down_span))
        _refuse_empty(text, down, found.down_at)
    return Migration(
        text.file,
        named.version,
        named.name,
        up,
        down,
        text.checksum(span),
        depends=found.up.depends,
        compatible_with=found.up.compatible_with,
    )


def _down_file(text: FileText) -> Part:
    down = read_annotations(text, is_down=True).down.of_part(text.part())
    _refuse_empty(text, down)
    return down


def _repeatable(text: FileText, name: str) -> Migration:
    part = _lone_part(text, "a repeatable migration")
    return Migration(text.file, None, name, part, None, text.checksum(), Kind.REPEATABLE)


def _hook(text: FileText) -> Part:
    return _lone_part(text, "a hook")


def _lone_part(text: FileText, what: str) -> Part:
    """Return the script of a file that has no version, and so can neither be depended on nor taken back."""
    found = read_annotations(text)
    if found.down_at is not None:
        text.problems.append(text.problem(found.down_at, f"{what} has no down part"))
    if found.up.depends is not None or found.up.compatible_with is not None:
        line = line_of(text.text, "(?:depends|compatible-with)")
        text.problems.append(Problem(text.path, f"{what} can have neither depends nor compatible-with", line))
    part = found.up.of_part(text.part())
    _refuse_empty(text, part)
    return part


def _refuse_empty(text: FileText, part: Part, offset: int = 0) -> None:
    if not text.problems and not holds_sql(part.text):
        text.problems.append(text.problem(offset, NO_DOWN_STATEMENT if offset else NO_STATEMENT))
