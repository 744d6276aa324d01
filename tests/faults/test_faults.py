"""A few rounds of each kind of bad day, of which `python -m tests.faults --full` plays many."""

from functools import partial

from tests.kit.pgbouncer import skip_without_pgbouncer
from tests.kit.server import Server

from .campaign import Campaign, play
from .crashes import CRASHES
from .crowds import crowd_of_tasks, gathering
from .cuts import COMMITS, CUTS
from .kills import KILLS
from .promotions import PROMOTIONS
from .stragglers import STRAGGLERS


def test_kills(server: Server) -> None:
    assert play(KILLS, server, 3, seed=18).hit


def test_cuts(server: Server) -> None:
    assert play(CUTS, server, 4, seed=4).hit > 2


def test_lost_answers_to_commits(server: Server) -> None:
    assert play(COMMITS, server, 2, seed=9).hit


def test_crashes(own_server: Server) -> None:
    assert play(CRASHES, own_server, 2, seed=42).hit


def test_a_promotion(server: Server) -> None:
    assert play(PROMOTIONS, server, 1, seed=69).hit


def test_a_straggler(server: Server) -> None:
    play(STRAGGLERS, server, 1, seed=1)


def test_a_crowd(server: Server) -> None:
    crowd = Campaign("tasks", 1, "", partial(gathering, crowd=crowd_of_tasks, size=20))
    play(crowd, server, 1, seed=1)


def test_a_crowd_behind_pgbouncer(server: Server) -> None:
    skip_without_pgbouncer()
    crowd = Campaign("tasks", 2, "", partial(gathering, crowd=crowd_of_tasks, size=10, pooled=True))
    play(crowd, server, 2, seed=4)
