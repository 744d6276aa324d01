"""Where something is measured: near the server, or far from it, where round trips are counted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.measure import Row, compare
from tests.kit.latency import LatencyProxy
from tests.kit.server import Server

_DELAY = 0.01  # seconds, in each round trip to the server far away


class Cost(NamedTuple):
    """What something took: seconds and, where they are counted, round trips."""

    seconds: float
    round_trips: int


class Place(NamedTuple):
    """A server, and what stands before it.

    Attributes:
        server: The server.
        proxy: What stands before it; None without.
    """

    server: Server
    proxy: LatencyProxy | None = None

    def url(self, database: str) -> str:
        """Return the URL of a database, by way of the proxy."""
        url = self.server.url(database)
        return url.replace(f":{self.server.port}/", f":{self.proxy.port}/") if self.proxy else url

    def cost(self, work: Callable[[], float]) -> Cost:
        """Return what `work()`, which returns its seconds, takes."""
        before = self.proxy.round_trips if self.proxy else 0
        seconds = work()
        return Cost(seconds, self.proxy.round_trips - before if self.proxy else 0)

    def compare(self, what: str, against: str, pairs: Sequence[tuple[Cost, Cost]]) -> Iterator[Row]:
        """Compare the times, and the round trips where they are counted."""
        yield compare(what, against, [(ours.seconds, theirs.seconds) for ours, theirs in pairs])
        if self.proxy:
            trips = [(float(ours.round_trips), float(theirs.round_trips)) for ours, theirs in pairs]
            yield compare(what, against, trips, "round trips", lambda trips: trips)


@contextmanager
def far_away(server: Server) -> Iterator[Place]:
    """Put 10 ms between us and a server."""
    with LatencyProxy(server.port, _DELAY) as proxy:
        yield Place(server, proxy)
