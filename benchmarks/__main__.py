"""Run benchmarks and print their figures as a Markdown table."""

import argparse
from importlib import import_module

from benchmarks.measure import Row, table
from dbinit.embedded import installed_binaries
from tests.kit.server import Server

_SECTIONS = (
    "startup",
    "splitting",
    "applying",
    "migrating",
    "ending",
)  # modules, imported when needed: some need what they are against


def main() -> None:
    """Measure what is asked for, each section on a server of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=f"what to measure: {', '.join(_SECTIONS)}")
    parser.add_argument("--large", action="store_true", help="measure only the restore of a dump of 1 GB")
    given = parser.parse_args()
    if unknown := set(given.sections) - set(_SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    parts = [("applying", "large")] if given.large else [(name, "rows") for name in given.sections or _SECTIONS]
    rows: list[Row] = []
    for section, measure in parts:
        with Server(installed_binaries()) as server:
            rows += getattr(import_module(f"benchmarks.{section}"), measure)(server)
    print(table(rows))


main()
