from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from dbinit import ConnectionLostError, InitOptions, ServerUnreachableError
from dbinit.errors import DemotedError
from dbinit.losses import Losses
from dbinit.url import parse_url

OPTIONS = InitOptions(database_url="postgresql://host/x", retry_attempts=4, retry_delay=timedelta())


class Work:
    """Raises one error after the other, and then returns; before each, the history is what it is told."""

    def __init__(self, losses: Losses, *ends: Exception, histories: Iterator[object] | None = None) -> None:
        self._losses = losses
        self._ends = list(ends)
        self._histories = histories

    async def __call__(self) -> str:
        if self._histories:
            self._losses.seen(next(self._histories))
        if self._ends:
            raise self._ends.pop(0)
        return "done"


def lost(outcome: str = "not known") -> ConnectionLostError:
    return ConnectionLostError("it broke", outcome=outcome)


async def test_work_is_begun_again_and_each_loss_is_told() -> None:
    told: list[int] = []
    losses = Losses(OPTIONS, lambda: told.append(1))

    assert await losses.outlast(Work(losses, lost(), lost())) == "done"
    assert len(told) == 2


async def test_three_losses_in_a_row_are_the_end() -> None:
    losses = Losses(OPTIONS, lambda: None)
    with pytest.raises(ConnectionLostError, match="the last of 3 times in a row"):
        await losses.outlast(Work(losses, lost(), lost(), lost(), histories=iter([0, 0, 0])))


async def test_where_the_history_cannot_be_read_the_deadline_of_connecting_counts() -> None:
    losses = Losses(OPTIONS, lambda: None)
    assert await losses.outlast(Work(losses, *(lost() for _ in range(9)))) == "done"

    losses = Losses(replace(OPTIONS, connect_deadline=timedelta(milliseconds=10)), lambda: None)
    with pytest.raises(ConnectionLostError, match="it has been so for 10ms"):
        await losses.outlast(Work(losses, *(lost() for _ in range(20_000))))


async def test_losses_are_counted_anew_where_the_history_has_come_further() -> None:
    losses = Losses(OPTIONS, lambda: None)
    work = Work(losses, *(lost() for _ in range(6)), histories=iter([0, 0, 1, 1, 2, 2, 2]))

    assert await losses.outlast(work) == "done"


async def test_with_a_deadline_that_one_counts() -> None:
    losses = Losses(OPTIONS, lambda: None)
    assert await losses.outlast(Work(losses, *(lost() for _ in range(5))), until=float("inf")) == "done"
    with pytest.raises(ConnectionLostError):
        await losses.outlast(Work(losses, lost()), until=0.0)


async def test_what_the_loss_says_of_the_outcome_is_kept_when_the_server_stays_away() -> None:
    losses = Losses(OPTIONS, lambda: None)
    with pytest.raises(ServerUnreachableError) as caught:
        await losses.outlast(Work(losses, lost("some of it."), ServerUnreachableError("nobody there")))

    assert caught.value.outcome == "some of it."


async def test_only_the_deadline_counts_behind_a_loss() -> None:
    losses = Losses(OPTIONS, lambda: None)
    assert losses.options.retry_attempts == 4
    await losses.outlast(Work(losses, lost()))
    assert losses.options.retry_attempts == 0


@pytest.mark.parametrize(("given", "wanted"), [("", "primary"), ("any", "primary"), ("read-write", "read-write")])
async def test_a_primary_is_looked_for_once_a_standby_was_met(given: str, wanted: str) -> None:
    url = parse_url(f"postgresql://host/x?target_session_attrs={given}" if given else "postgresql://host/x")
    losses = Losses(OPTIONS, lambda: None)
    assert losses.where(url) == url
    await losses.outlast(Work(losses, DemotedError("a standby")))
    assert losses.where(url).driver["target_session_attrs"] == wanted
