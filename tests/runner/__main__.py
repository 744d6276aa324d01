"""Kill many runs of thirty migrations at random moments: `python -m tests.runner --kills 60`."""

import random
from argparse import ArgumentParser

from dbinit.embedded import installed_binaries
from tests.kit.server import Server

from .kills import Killing


def main() -> None:
    """Kill as many as asked for; the first that the next run does not bring to its end is shown."""
    parser = ArgumentParser(prog="python -m tests.runner", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32), help="to see a run again")
    arguments = parser.parse_args()
    say(f"--kills {arguments.kills} --seed {arguments.seed}")
    killed = 0
    with Server(installed_binaries()) as server, Killing.prepared(server, arguments.seed) as killing:
        for _ in range(arguments.kills):
            killed += killing.kill_one()
    say(f"{arguments.kills} runs, of which {killed} were killed on their way: all ended with the same dump")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is a program


if __name__ == "__main__":
    main()
