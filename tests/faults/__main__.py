"""Bad days in large numbers: `python -m tests.faults --full`, or some of them: `--only cuts --rounds 10 --seed 7`."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from dbinit.embedded import installed_binaries
from tests.kit.memory import use_memory
from tests.kit.pgbouncer import pgbouncer_program
from tests.kit.server import Server

from .campaign import Campaign, Round, Tally, play
from .crashes import CRASHES
from .crowds import CROWDS, POOLED
from .cuts import COMMITS, CUTS
from .guards import GUARDS, what_is_noticed
from .kills import KILLS
from .promotions import PROMOTIONS
from .report import write_report
from .scene import be_quiet
from .stragglers import STRAGGLERS

CAMPAIGNS = (KILLS, CUTS, COMMITS, CRASHES, PROMOTIONS, STRAGGLERS, CROWDS, POOLED)


def main() -> None:
    """Play what is asked for; the first round that goes wrong is shown, with how to see it again."""
    arguments = _arguments()
    use_memory()
    be_quiet()
    if arguments.guards:
        _try_guards()
        return
    chosen = [campaign for campaign in CAMPAIGNS if arguments.only in {None, campaign.name}]
    if POOLED in chosen and pgbouncer_program() is None:
        say("NOT PROVED BEHIND PGBOUNCER: there is none here; on Debian, scripts/pgbouncer fetches it")
        chosen.remove(POOLED)
    tallies = [_play(campaign, arguments) for campaign in chosen]
    if arguments.full:
        write_report(tallies)


def _arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all of them, and write the table in docs/reliability.md")
    parser.add_argument("--guards", action="store_true", help="take each guard away, and see that it is noticed")
    parser.add_argument("--only", choices=[campaign.name for campaign in CAMPAIGNS], help="one kind of bad day")
    parser.add_argument("--rounds", type=int, help="how many of each (default: as many as for the report)")
    parser.add_argument("--seed", type=int, default=1, help="the first round's; the next has the next number")
    arguments = parser.parse_args()
    if arguments.full and (arguments.only or arguments.rounds):
        parser.error("--full is all of them")
    return arguments


def _play(campaign: Campaign, arguments: Namespace) -> Tally:
    rounds = arguments.rounds or campaign.rounds

    def tell(played: Sequence[Round]) -> None:
        if len(played) % max(rounds // 10, 1) == 0:
            say(f"{campaign.name}: {len(played)} of {rounds}, {sum(found.hit for found in played)} hit in mid-run")

    with Server(installed_binaries()) as server:
        tally = play(campaign, server, rounds, arguments.seed, tell)
    say(f"{campaign.name}: {rounds} rounds in {tally.seconds:.0f} s, {tally.hit} hit in mid-run, none went wrong")
    return tally


def _try_guards() -> None:
    with Server(installed_binaries()) as server:
        for guard in GUARDS:
            say(f"without the {guard.name}: {what_is_noticed(guard, server)}")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is a program


if __name__ == "__main__":
    main()
