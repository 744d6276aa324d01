"""How fast a script is cut into statements, against other splitters, and what that depends on."""

import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pglast
import postgast
import sqlglot
import sqlparse

from benchmarks.corpus import definitions_dump, rows_dump, shipped
from benchmarks.measure import Row, compare, time_work, watch_command
from dbinit.sql.lexer import UnterminatedError, split
from tests.kit.adverse import adverse
from tests.kit.server import Server

_MB = 1 << 20
_SHOWN = 5  # of the adverse texts, the slowest

Split = Callable[[str], object]

# The scanners find semicolons outside quotes; the parsers know function bodies too, but refuse psql's commands.
_SCANNERS: dict[str, Split] = {
    "pglast.split, scanner": lambda text: pglast.split(text, with_parser=False, only_slices=True),
    "postgast.split, scanner": lambda text: postgast.split(text, method="scanner"),
}
_PARSERS: dict[str, Split] = {
    "pglast.split, parser": lambda text: pglast.split(text, only_slices=True),
    "postgast.split, parser": postgast.split,
}
_SLOW: dict[str, Split] = {
    "sqlglot.tokenize": lambda text: sqlglot.tokenize(text, read="postgres"),
    "sqlparse.split": sqlparse.split,
}
_FIRST_READ = """
import sys
from pathlib import Path
from dbinit.source import read_script
from dbinit.sql.context import Context
from dbinit.sql.survey import survey
survey(read_script(Path(sys.argv[1]), {}), Context())
"""


def rows(server: Server) -> list[Row]:
    """Measure; the server makes the dumps."""
    dump = rows_dump(server, 90_000)
    objects = definitions_dump(server, 16 * _MB)
    files = shipped(server.binaries)
    return [
        *_against(_SCANNERS, "PostgreSQL's own files", files, 9),
        *_against(_SLOW, "PostgreSQL's own files", files, 1),
        *_against(_SCANNERS | _PARSERS, "16 MB of INSERT", [dump], 5),
        *_against(_SLOW, "1 MB of INSERT", [_beginning(dump, "INSERT")], 1),
        *_against(_SCANNERS | _PARSERS, "16 MB of definitions", [objects], 5),
        *_against(_SLOW, "1 MB of definitions", [_beginning(objects, "\n--\n-- Name:")], 1),
        *_linearity(dump),
        _one_statement(server),
        *_adverse(files),
        *_memory(dump),
    ]


def _beginning(text: str, mark: str) -> str:
    """Return 1 MB of a text at most, up to a line that begins with `mark`."""
    return text[: text.rindex(f"\n{mark}", 0, _MB) + 1]


def _ours(text: str) -> object:
    with suppress(UnterminatedError):
        return list(split(text))
    return None


def _against(peers: dict[str, Split], what: str, texts: Sequence[str], runs: int) -> list[Row]:
    return [_speeds(f"split {what}", (_ours, texts), (name, peer, texts), runs) for name, peer in peers.items()]


def _speeds(what: str, ours: tuple[Split, Sequence[str]], peer: tuple[str, Split, Sequence[str]], runs: int) -> Row:
    """Compare two splitters by their speeds, on the same texts or on others."""
    name, theirs, their_texts = peer
    pairs = [(_speed(*ours), _speed(theirs, their_texts)) for _ in range(runs)]
    return compare(what, name, pairs, "MB/s", lambda speed: speed)


def _speed(split_text: Split, texts: Sequence[str]) -> float:
    """Return the characters that are split in a microsecond."""

    def split_all() -> None:
        for text in texts:
            split_text(text)

    return sum(map(len, texts)) / time_work(split_all) / 1e6


def _linearity(dump: str) -> list[Row]:
    """Compare the speed on large texts with that on a small one."""
    small = ("the first 1 MB of it", _passed, [_beginning(dump, "INSERT")])
    large = {"split 16 MB of INSERT, kept nowhere": dump, "split 64 MB of INSERT, kept nowhere": dump * 4}
    return [_speeds(what, (_passed, [text]), small, 5) for what, text in large.items()]


def _one_statement(server: Server) -> Row:
    """Compare the speed on one large statement with that on one of a sixteenth."""
    large, small = (rows_dump(server, rows, "--rows-per-insert=1000000") for rows in (115_000, 7_200))
    return _speeds("split one INSERT of 16 MB", (_ours, [large]), ("one of 1 MB", _ours, [small]), 5)


def _passed(text: str) -> None:
    """Split a text without keeping the pieces: those in memory cost the collector of garbage more and more."""
    deque(split(text), maxlen=0)


def _adverse(files: Sequence[str]) -> list[Row]:
    """Compare the speed on the worst of texts with that on usual ones."""
    usual = ("PostgreSQL's own files", _ours, files)
    found = [_speeds(f"split 1 MB of {name}", (_ours, [text]), usual, 1) for name, text in adverse(_MB)]
    return sorted(found, key=lambda row: row.ratio or 0)[:_SHOWN]


def _memory(dump: str) -> list[Row]:
    """Compare the memory that the first read of a script takes with the size of the script."""
    texts = {"16 MB of INSERT": dump, "16 MB of INSERT with emoji": dump.replace('/a/7"', '\N{GRINNING FACE}"')}
    with tempfile.TemporaryDirectory() as name:
        tiny = Path(name) / "tiny.sql"
        tiny.write_text("SELECT 1")
        return [_first_read(what, Path(name) / "large.sql", text, tiny) for what, text in texts.items()]


def _first_read(what: str, file: Path, text: str, tiny: Path) -> Row:
    file.write_text(text)
    command = [sys.executable, "-c", _FIRST_READ]
    least = watch_command(*command, str(tiny)).peak
    pairs = [(watch_command(*command, str(file)).peak - least, file.stat().st_size) for _ in range(3)]
    return compare(f"memory to read {what}", "its size", pairs, "MB", lambda size: size / _MB)
