from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbinit.model import Applied, OnChange, Outcome
from dbinit.planning import Decision, decide

WHEN = datetime(2025, 1, 1, tzinfo=UTC)


def row(checksum: str, script: str = "init-db.sql", outcome: Outcome = Outcome.APPLIED) -> Applied:
    return Applied(script, checksum, outcome, WHEN)


HISTORIES = {
    "none": [],
    "same": [row("now")],
    "same, adopted": [row("now", outcome=Outcome.ADOPTED)],
    "edited": [row("before")],
    "edited and rerun": [row("before"), row("now")],
    "edited twice": [row("before"), row("between")],
    "newer since": [row("now"), row("newer")],
    "newer since, then another file": [row("now"), row("newer"), row("other", script="other.sql")],
    "of another file": [row("now", script="other.sql")],
    "same, then another file": [row("now"), row("other", script="other.sql")],
    "edited, then another file": [row("before"), row("now", script="other.sql")],
}
EDITED = {OnChange.RERUN: Decision.RERUN, OnChange.WARN: Decision.WARN, OnChange.FAIL: Decision.REFUSE}


def expected(history: str, on_change: OnChange, *, sentinel_found: bool) -> Decision:
    """Say the rule in another way than the code does: by the history's name."""
    if history == "none":
        return Decision.ADOPT if sentinel_found else Decision.APPLY
    if history == "of another file":
        return Decision.APPLY
    if history.startswith("newer since"):
        return Decision.OLDER
    if history in {"edited", "edited twice", "edited, then another file"}:
        return EDITED[on_change]
    return Decision.SKIP


@pytest.mark.parametrize("sentinel_found", [True, False], ids=["sentinel", "no sentinel"])
@pytest.mark.parametrize("on_change", list(OnChange), ids=lambda choice: choice.value)
@pytest.mark.parametrize("history", list(HISTORIES))
def test_every_case(history: str, on_change: OnChange, sentinel_found: bool) -> None:  # noqa: FBT001 - a table's column
    decision = decide("init-db.sql", "now", HISTORIES[history], sentinel_found=sentinel_found, on_change=on_change)
    assert decision is expected(history, on_change, sentinel_found=sentinel_found)


NAMES = st.sampled_from(["init-db.sql", "other.sql"])
SUMS = st.sampled_from(["a", "b", "c"])
ROWS = st.lists(st.builds(row, SUMS, NAMES, st.sampled_from([Outcome.APPLIED, Outcome.ADOPTED])), max_size=6)


@given(NAMES, SUMS, ROWS, st.booleans(), st.sampled_from(OnChange))
def test_what_was_done_and_recorded_is_not_done_again(
    script: str,
    checksum: str,
    history: Sequence[Applied],
    sentinel_found: bool,  # noqa: FBT001 - hypothesis draws it
    on_change: OnChange,
) -> None:
    decision = decide(script, checksum, history, sentinel_found=sentinel_found, on_change=on_change)
    if decision not in {Decision.APPLY, Decision.RERUN, Decision.ADOPT}:
        return
    outcome = Outcome.ADOPTED if decision is Decision.ADOPT else Outcome.APPLIED
    after = [*history, row(checksum, script, outcome)]
    for found in (True, False):
        assert decide(script, checksum, after, sentinel_found=found, on_change=on_change) is Decision.SKIP


@given(NAMES, SUMS, ROWS.filter(bool), st.sampled_from(OnChange))
def test_the_sentinel_counts_only_without_a_history(
    script: str, checksum: str, history: Sequence[Applied], on_change: OnChange
) -> None:
    with_sentinel, without = (
        decide(script, checksum, history, sentinel_found=found, on_change=on_change) for found in (True, False)
    )
    assert with_sentinel is without


@given(NAMES, SUMS, ROWS, st.booleans(), st.sampled_from(OnChange))
def test_a_decision_leaves_the_history_as_it_is(
    script: str,
    checksum: str,
    history: list[Applied],
    sentinel_found: bool,  # noqa: FBT001 - hypothesis draws it
    on_change: OnChange,
) -> None:
    before = list(history)
    decide(script, checksum, history, sentinel_found=sentinel_found, on_change=on_change)
    assert history == before
