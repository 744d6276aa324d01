"""Run all benchmarks and print their figures as a Markdown table."""

import asyncio
import tempfile
from pathlib import Path

from benchmarks import startup
from benchmarks.measure import table
from dbinit.embedded import installed_binaries
from tests.kit.server import Server


def main() -> None:
    """Measure on a server of our own, with the schema of the example service."""
    with tempfile.TemporaryDirectory() as name, Server(installed_binaries()) as server:
        script = Path(name) / "init-db.sql"
        script.write_bytes(Path(__file__).parents[1].joinpath("scripts/init-db.sql").read_bytes())
        rows = [
            *startup.imports(),
            asyncio.run(startup.lifespan_to_ready(server.url(), script)),
            startup.one_shot(server.url(), script),
            startup.late_server(server, script),
        ]
    print(table(rows))


main()
