"""A few of the runs that `python -m tests.runner` kills many of."""

from tests.kit.server import Server

from .kills import Killing


def test_the_next_run_ends_what_a_killed_one_has_begun(server: Server) -> None:
    with Killing.prepared(server, 3) as killing:
        for _ in range(3):
            killing.kill_one()
