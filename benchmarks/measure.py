"""Timing in turn (A B A B ...), medians, ratios pair by pair, and a table of them."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """A line of the table: medians in milliseconds, and the median of the ratios pair by pair."""

    what: str
    ours: float
    against: str
    theirs: float | None
    ratio: float | None
    runs: int


def compare(what: str, against: str, pairs: Sequence[tuple[float, float]]) -> Row:
    """Summarise pairs of (ours, theirs), in seconds."""
    ours, theirs = zip(*pairs, strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    return Row(what, statistics.median(ours) * 1000, against, statistics.median(theirs) * 1000, ratio, len(pairs))


def time_command(*words: str) -> float:
    """Return the seconds that a Python process takes from start to end."""
    began = time.perf_counter()
    # With byte code, as an installed package has it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    return time.perf_counter() - began


async def time_call(work: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that `await work()` takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = ["| what | ms | against | ms | ratio | runs |", "|---|---|---|---|---|---|"]
    for row in rows:
        theirs = f"{row.theirs:.1f}" if row.theirs is not None else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        lines.append(f"| {row.what} | {row.ours:.1f} | {row.against} | {theirs} | {ratio} | {row.runs} |")
    return "\n".join(lines)
