"""The table of a full run in `docs/reliability.md`."""

from collections.abc import Sequence
from pathlib import Path

from tests.kit.process import ROOT

from .campaign import Tally

__all__ = ["write_report"]

_FILE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
_HEAD = """\
| what happens | rounds | hit in mid-run | went on by itself | wrong | seeds | minutes |
|---|--:|--:|--:|--:|---|--:|
"""


def _table(tallies: Sequence[Tally]) -> str:
    """Return the table."""
    return _HEAD + "".join(_line(tally) for tally in tallies)


def write_report(tallies: Sequence[Tally], file: Path = _FILE) -> None:
    """Put the table between its marks in a file."""
    before, _, rest = file.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, behind = rest.partition(_END)
    file.write_text(f"{before}{_BEGIN}{_table(tallies)}{_END}{behind}", encoding="utf-8")


def _line(tally: Tally) -> str:
    seeds = f"{tally.seed} to {tally.seed + len(tally.rounds) - 1}"
    own = f"{tally.unaided}" if tally.unaided else "-"
    name = f"`{tally.campaign.name}`: {tally.campaign.what}"
    # A round that goes wrong ends the run, and there is no table.
    return f"| {name} | {len(tally.rounds)} | {tally.hit} | {own} | 0 | {seeds} | {tally.seconds / 60:.1f} |\n"
