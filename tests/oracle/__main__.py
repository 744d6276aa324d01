"""Send many scripts of the grammar through psql and through dbinit: `python -m tests.oracle --scripts 20000`."""

import random
import time
from argparse import ArgumentParser

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dbinit.embedded import installed_binaries
from tests.kit.oracle import Oracle
from tests.oracle.agreement import check
from tests.oracle.grammar import DECISIONS, script


def main() -> None:
    """Run as many scripts as asked for, other ones each time; the first difference is shrunk and shown."""
    parser = ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--scripts", type=int, default=20_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32), help="to see a run again")
    arguments = parser.parse_args()
    say(f"--scripts {arguments.scripts} --seed {arguments.seed}")
    began, characters = time.monotonic(), compare(arguments.scripts, arguments.seed)
    say(f"no difference in {characters:,} characters, {time.monotonic() - began:.0f} s")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is a program


def compare(scripts: int, number: int) -> int:
    """Return how many characters the scripts had."""
    characters = 0
    with Oracle(installed_binaries()) as oracle:

        @seed(number)
        @settings(max_examples=scripts, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.binary(min_size=DECISIONS, max_size=DECISIONS).map(script), st.integers(1, 60))
        def agree(text: str, chunk: int) -> None:
            nonlocal characters
            characters += len(text)
            check(oracle, text, chunk)

        agree()
    return characters


if __name__ == "__main__":
    main()
