"""Timing in turn (A B A B ...), medians, ratios pair by pair, and a table of them."""

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

# It reports on its child: a process that is started by a large one counts that one's memory as its own.
_WATCHER = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss


class Row(NamedTuple):
    """A line of the table: the medians of ours and theirs in `unit`, and the median of the ratios pair by pair."""

    what: str
    ours: float
    unit: str
    against: str = ""
    theirs: float | None = None
    ratio: float | None = None
    runs: int = 1


class Run(NamedTuple):
    """What a process took: seconds, and bytes of memory at its peak."""

    seconds: float
    peak: float


def compare(
    what: str,
    against: str,
    pairs: Sequence[tuple[float, float]],
    unit: str = "ms",
    show: Callable[[float], float] = lambda seconds: seconds * 1000,
) -> Row:
    """Summarise pairs of (ours, theirs), in seconds unless `show` turns something else into `unit`."""
    ours, theirs = zip(*[(show(a), show(b)) for a, b in pairs], strict=True)
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return Row(what, statistics.median(ours), unit, against, statistics.median(theirs), ratio, len(pairs))


def time_command(*words: str) -> float:
    """Return the seconds that a Python process takes from start to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=_environment())
    return time.perf_counter() - began


def watch_command(*command: str, folder: Path | None = None) -> Run:
    """Run a process to its end, in a folder or in ours, and return what it took."""
    watched = [sys.executable, "-S", "-c", _WATCHER, *command]
    done = subprocess.run(watched, check=True, capture_output=True, env=_environment(), cwd=folder)
    seconds, peak = done.stdout.split()
    return Run(float(seconds), int(peak) * _PEAK_UNIT)


def time_work(work: Callable[[], object]) -> float:
    """Return the seconds of the processor that `work()` takes, whatever else the machine is doing."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


async def time_call(work: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that `await work()` takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = ["| what | dbinit | against | that | ratio | runs |", "|---|---|---|---|---|---|"]
    for row in rows:
        theirs = f"{row.theirs:.1f} {row.unit}" if row.theirs is not None else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        lines.append(f"| {row.what} | {row.ours:.1f} {row.unit} | {row.against} | {theirs} | {ratio} | {row.runs} |")
    return "\n".join(lines)


def _environment() -> dict[str, str]:
    """Return our own, with byte code, as an installed package has it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
