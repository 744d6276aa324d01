"""Campaigns: rounds of one kind of bad day, each with a seed by which it can be seen again."""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from tests.kit.server import Server

__all__ = ["Campaign", "Round", "Tally", "play"]


class Round(NamedTuple):
    """How one round went; one that must not be is an AssertionError instead.

    Attributes:
        hit: Whether the start was under way when it was disturbed.
        unaided: Whether the start that was disturbed did all there was to do; otherwise the next one did.
    """

    hit: bool
    unaided: bool = False


Play = Callable[[random.Random], Round]
Tell = Callable[[Sequence[Round]], None]


@dataclass(frozen=True)
class Campaign:
    """One kind of bad day.

    Attributes:
        name: By which it is chosen.
        rounds: How many a full run has.
        what: What happens in a round, in a few words.
        prepared: Sets everything up on a server, and gives what plays a round.
    """

    name: str
    rounds: int
    what: str
    prepared: Callable[[Server], AbstractContextManager[Play]]


@dataclass
class Tally:
    """What became of the rounds of a campaign.

    Attributes:
        campaign: Which one.
        seed: The first round's; each further round has the next number.
        rounds: How they went.
        seconds: How long they took.
    """

    campaign: Campaign
    seed: int
    rounds: list[Round] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def hit(self) -> int:
        return sum(found.hit for found in self.rounds)

    @property
    def unaided(self) -> int:
        return sum(found.hit and found.unaided for found in self.rounds)


def play(campaign: Campaign, server: Server, rounds: int, seed: int, tell: Tell = lambda _: None) -> Tally:
    """Play rounds of a campaign.

    Args:
        campaign: Which one.
        server: Where; it is stopped and started as the campaign wants it.
        rounds: How many.
        seed: The first round's number.
        tell: Told of the rounds so far.

    Raises:
        AssertionError: dbinit did what it must not; a note says how to see that again.
    """
    tally = Tally(campaign, seed)
    began = monotonic()
    with campaign.prepared(server) as play_one:
        for number in range(seed, seed + rounds):
            try:
                tally.rounds.append(play_one(random.Random(number)))  # noqa: S311 - no secret
            except BaseException as error:
                error.add_note(
                    f"see it again: python -m tests.faults --only {campaign.name} --rounds 1 --seed {number}"
                )
                raise
            tell(tally.rounds)
    tally.seconds = monotonic() - began
    return tally
