from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbinit.readiness import Phase, Readiness, advance

# Written out once more, apart from the table in the code: a change of the rules has to be made twice, knowingly.
STEPS = {
    ("new", "connecting"),
    ("connecting", "checking"),
    ("checking", "connecting"),
    ("checking", "waiting"),
    ("checking", "applying"),
    ("checking", "ready"),
    ("waiting", "connecting"),
    ("waiting", "checking"),
    ("waiting", "applying"),
    ("waiting", "ready"),
    ("applying", "connecting"),
    ("applying", "waiting"),
    ("applying", "ready"),
    ("ready", "connecting"),
    ("failed", "connecting"),
}
STAYS = {(phase.value, phase.value) for phase in Phase}
ENDINGS = {(phase.value, end) for phase in Phase if phase is not Phase.CLOSED for end in ("failed", "closed")}
ALLOWED = STEPS | STAYS | ENDINGS


@pytest.mark.parametrize("following", list(Phase), ids=lambda phase: phase.value)
@pytest.mark.parametrize("present", list(Phase), ids=lambda phase: phase.value)
def test_which_phase_follows_which(present: Phase, following: Phase) -> None:
    before = Readiness(phase=present, attempt=3)
    if (present.value, following.value) in ALLOWED:
        assert advance(before, following).phase is following
    else:
        with pytest.raises(ValueError, match=f"^{following.value} cannot follow {present.value}$"):
            advance(before, following)
    assert before == Readiness(phase=present, attempt=3)


def test_a_start_from_the_beginning_to_the_end() -> None:
    readiness = Readiness()
    for phase in (Phase.CONNECTING, Phase.CHECKING, Phase.WAITING, Phase.APPLYING, Phase.READY, Phase.CLOSED):
        readiness = advance(readiness, phase)
        assert readiness.phase is phase


@pytest.mark.parametrize("phase", list(Phase), ids=lambda phase: phase.value)
def test_ready_means_the_phase_ready_and_no_other(phase: Phase) -> None:
    assert Readiness(phase=phase).ready is (phase is Phase.READY)


def test_a_closed_start_stays_closed() -> None:
    closed = Readiness(phase=Phase.CLOSED)
    for phase in set(Phase) - {Phase.CLOSED}:
        with pytest.raises(ValueError, match="cannot follow closed"):
            advance(closed, phase)


def test_a_step_changes_what_it_is_told_to_and_nothing_else() -> None:
    before = Readiness(phase=Phase.CHECKING, attempt=2, attempts=5, file="init-db.sql", elapsed=1.5)
    after = advance(before, Phase.APPLYING, statements=7, statement=1)
    assert after == replace(before, phase=Phase.APPLYING, statements=7, statement=1)


def test_the_error_is_kept_while_the_start_is_failed_and_gone_once_it_is_tried_again() -> None:
    failed = advance(Readiness(phase=Phase.APPLYING), Phase.FAILED, error="StatementError")
    assert failed.error == "StatementError"
    assert advance(failed, Phase.FAILED, elapsed=2.0).error == "StatementError"
    assert advance(failed, Phase.CONNECTING).error == ""


def test_a_change_of_what_is_not_there_is_an_error() -> None:
    with pytest.raises(TypeError, match="colour"):
        advance(Readiness(), Phase.CONNECTING, colour="red")


def test_a_snapshot_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Readiness().phase = Phase.READY  # type: ignore[misc]


@given(st.lists(st.sampled_from(Phase), max_size=20))
def test_every_walk_stays_within_the_table(walk: list[Phase]) -> None:
    readiness = Readiness()
    for phase in walk:
        before = readiness
        try:
            readiness = advance(readiness, phase)
        except ValueError:
            assert (before.phase.value, phase.value) not in ALLOWED
            assert readiness is before
        else:
            assert (before.phase.value, phase.value) in ALLOWED
