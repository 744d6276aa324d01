"""Folders of dbmate: `20240131120000_name.sql` with `-- migrate:up` and `-- migrate:down`. Pure."""

import re
from collections.abc import Iterator, Sequence
from itertools import dropwhile, pairwise

from .model import Migration, Part, Transaction
from .problems import Problem
from .reading import Reading, read_version
from .text import FileText, Span

__all__ = ["read_dbmate"]

_NAME = re.compile(r"(?P<version>[0-9]+)(?P<name>[^\n]*)\.sql", re.ASCII)
_BLANK = r"[\t\n\f\r ]"
_MARK = re.compile(rf"^--{_BLANK}*migrate:(?P<word>up|down)(?={_BLANK}*$|{_BLANK}+[^\t\n\f\r ])", re.MULTILINE)
_OPTIONS = re.compile(r"[^\n]*")
_NO_STATEMENT = re.compile(rf"(?:{_BLANK}*(?:--[^\n]*)?(?:\n|\Z))*+")


def read_dbmate(texts: Sequence[FileText]) -> Reading:
    """Read a folder of dbmate."""
    reading = Reading()
    found = [_migration(text, reading) for text in texts]
    migrations = [migration for migration in found if migration]
    reading.pair(migrations, [])
    # dbmate sorts by name; so that a folder runs here as it runs there, both orders have to be the same.
    for first, second in pairwise(reading.migrations):
        if first.version and second.version and first.version > second.version:
            what = f"dbmate runs it behind {first.up.path}, whose number is higher; give all numbers the same length"
            reading.problems.append(Problem(second.up.path, what))
    return reading


def _migration(text: FileText, reading: Reading) -> Migration | None:
    match = _NAME.fullmatch(text.file.name)
    version = read_version(text, match["version"], reading.problems) if match else None
    if match is None or version is None:
        return None
    ups, downs = _blocks(text)
    up = text.part(*ups, transaction=_transaction(text, ups))
    name = match["name"].removeprefix("_")
    return Migration(text.file, version, name, up, _down(text, downs), text.checksum(*ups))


def _blocks(text: FileText) -> tuple[list[Span], list[Span]]:
    """Return where the blocks are, each with its mark; mistakes go to the file's problems."""
    found = [(match["word"], match.start()) for match in _MARK.finditer(text.text)]
    # A down block above the first up block is a comment among those that may stand there.
    marks = list(dropwhile(lambda mark: mark[0] == "down", found))
    words = [word for word, _ in marks]
    if words != ["up", "down"] * (len(words) // 2) or not words:
        what = "dbmate wants -- migrate:up and -- migrate:down in it, in turns"
        offset = next((at for place, (word, at) in enumerate(marks) if word != ("up", "down")[place % 2]), None)
        text.problems.append(Problem(text.path, what) if offset is None else text.problem(offset, what))
    elif _statement_before(text, marks[0][1]):
        text.problems.append(Problem(text.path, "there is SQL above -- migrate:up, which dbmate refuses"))
    ends = [*(at for _, at in marks), len(text.text)]
    spans = [Span(start, end) for start, end in pairwise(ends)]
    return spans[::2], spans[1::2]


def _statement_before(text: FileText, offset: int) -> bool:
    nothing = _NO_STATEMENT.match(text.text, 0, offset)
    return nothing is None or nothing.end() < offset


def _transaction(text: FileText, blocks: Sequence[Span]) -> Transaction:
    """Blocks with and without a transaction in one file run without: in one transaction they could not."""
    lines = (_OPTIONS.match(text.text, block.start) for block in blocks)
    # Of an option that is given twice, the last one counts.
    options = [dict(_pairs(line[0])) for line in lines if line]
    without = any(option.get("transaction") == "false" for option in options)
    return Transaction.NO if without else Transaction.YES


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    for word in line.split():
        key, colon, value = word.partition(":")
        if colon and ":" not in value:
            yield key, value


def _down(text: FileText, blocks: Sequence[Span]) -> Part | None:
    transaction = _transaction(text, blocks)
    if len(blocks) <= 1:
        return text.part(*blocks, transaction=transaction) if blocks else None
    # The last one first, as dbmate does it, so that the lines cannot be those of the file.
    pieces = [text.text[block.start : block.end] for block in reversed(blocks)]
    return Part(f"{text.path} (its down blocks, the last one first)", "\n".join(pieces), transaction)
