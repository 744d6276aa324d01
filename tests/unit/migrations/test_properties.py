"""What holds for every folder, every history and every plan."""

from collections.abc import Iterable
from random import Random
from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from dbinit.migrations.history import History, Recorded, State, row_of
from dbinit.migrations.plan import Action, Plan
from dbinit.migrations.planner import plan_up
from dbinit.migrations.reversal import plan_down
from dbinit.migrations.version import Version
from dbinit.model import Home
from dbinit.runner.ledger import Ledger

from .kit import folder

HIGHEST = 12
RANDOM = st.randoms(use_true_random=False)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, str]:
    """Draw a folder whose migrations depend on any others, as long as that is no circle."""
    numbers = draw(st.permutations(range(1, draw(st.integers(1, HIGHEST)) + 1)))
    found = {}
    for place, number in enumerate(numbers):
        needs = draw(st.lists(st.sampled_from(numbers[:place]), unique=True, max_size=3)) if place else []
        depends = ", ".join(map(str, needs)) or "none"
        found[f"{number:03}_m.sql"] = f"-- dbinit: depends {depends}\nSELECT {number};\n-- dbinit: down\nSELECT 0;\n"
    return found | {f"repeatable_{name}.sql": "SELECT 1" for name in draw(st.sets(st.sampled_from("abc")))}


@st.composite
def chains(draw: st.DrawFn) -> dict[str, str]:
    """Draw a folder without annotations."""
    numbers = draw(st.sets(st.integers(1, 2**64 - 1), min_size=1, max_size=HIGHEST))
    return {f"{number}_m.sql": f"SELECT {number};\n-- dbinit: down\nSELECT 0;\n" for number in numbers}


FOLDERS = st.one_of(contents(), chains())


def carried_out(plan: Plan, rows: Iterable[Recorded]) -> list[Recorded]:
    """Return the history after a plan, without running anything."""
    after = list(rows)
    for step in plan.steps:
        if step.action is Action.REVERT:
            assert step.recorded is not None
            reverted = Recorded(step.version, step.name, step.checksum, State.REVERTED, step.kind)
            after.append(reverted)
        else:
            assert step.migration is not None
            after.append(row_of(step.migration))
    return after


def versions(rows: Iterable[Recorded]) -> set[Version | None]:
    return {row.version for row in History(rows).versioned}


def stored(row: Recorded) -> list[str | None]:
    """Return a row as it comes from the table."""
    version = None if row.version is None else row.version.text
    return ["1", version, row.name, row.kind.value, row.state.value, row.checksum, "1", "0.1", None, "1", "", "0"]


def ledger(rows: Iterable[Iterable[str | None]]) -> Ledger:
    """Return a history with such rows, as they are copied."""
    lines = ["\t".join(r"\N" if field is None else field.replace("\\", r"\\") for field in row) for row in rows]
    return Ledger(Home("public"), lines)


@given(FOLDERS, st.data())
def test_a_history_that_is_just_the_folder_leaves_nothing_to_do(found: dict[str, str], data: st.DataObject) -> None:
    read = folder(found)
    fields = [stored(row) for row in carried_out(plan_up(read, []), [])]
    assert ledger(fields).is_just(read)
    place, column = data.draw(st.integers(0, len(fields) - 1)), data.draw(st.integers(0, 5))
    fields[place][column] = "reverted"
    assert not ledger(fields).is_just(read)
    assert not ledger(fields[1:]).is_just(read)


@given(FOLDERS)
def test_after_a_plan_there_is_nothing_to_do(found: dict[str, str]) -> None:
    read = folder(found)
    rows = carried_out(plan_up(read, []), [])
    assert plan_up(read, rows).steps == ()
    assert len(rows) == len(found)


@given(FOLDERS, st.data())
def test_a_target_and_then_the_rest_is_as_good_as_all_at_once(found: dict[str, str], data: st.DataObject) -> None:
    read = folder(found)
    target = data.draw(st.sampled_from(sorted(read.needs)))
    half = carried_out(plan_up(read, [], target=target), [])
    assert target in versions(half)
    whole = carried_out(plan_up(read, half), half)
    assert versions(whole) == set(read.needs)
    assert plan_up(read, whole).steps == ()


@given(FOLDERS, st.data())
def test_up_and_then_down_restores_what_was_applied(found: dict[str, str], data: st.DataObject) -> None:
    read = folder(found)
    target = data.draw(st.sampled_from(sorted(read.needs)))
    before = carried_out(plan_up(read, [], target=target), [])
    up = plan_up(read, before)
    count = sum(step.version is not None for step in up.steps)
    after = carried_out(up, before)
    if count:
        after = carried_out(plan_down(read, after, count=count), after)
    assert versions(after) == versions(before)


@given(FOLDERS, RANDOM)
def test_the_order_is_total_and_does_not_depend_on_the_listing(found: dict[str, str], random: Random) -> None:
    listed = list(found.items())
    random.shuffle(listed)
    read, shuffled = folder(found), folder(dict(listed))
    assert shuffled == read
    assert plan_up(shuffled, []) == plan_up(read, [])
    place = {migration.version: place for place, migration in enumerate(read.migrations) if migration.version}
    assert all(place[need] < place[version] for version, needs in read.needs.items() for need in needs)


@given(chains())
def test_without_annotations_the_order_is_that_of_the_numbers(found: dict[str, str]) -> None:
    order = [migration.version for migration in folder(found).migrations if migration.version]
    assert order == sorted(order)


@given(contents(), st.integers(1, 4), RANDOM)
def test_nothing_is_begun_before_what_it_needs_has_ended(found: dict[str, str], jobs: int, random: Random) -> None:
    read = folder(found)
    plan = plan_up(read, [])
    done: set[int] = set()
    running: set[int] = set()
    while len(done) < len(plan.steps):
        for place in list(plan.ready(done, running))[: jobs - len(running)]:
            ended = {plan.steps[other].version for other in done}
            version = plan.steps[place].version
            assert read.needs[version] <= ended if version else len(read.needs) <= len(done)
            running.add(place)
        assert running, "a schedule must not get stuck"
        ended_now = random.choice(sorted(running))
        running.remove(ended_now)
        done.add(ended_now)
    assert list(plan.ready(done)) == []


@given(FOLDERS, st.data())
def test_a_failure_on_the_way_leaves_a_history_that_can_be_gone_on_with(
    found: dict[str, str], data: st.DataObject
) -> None:
    read = folder(found)
    plan = plan_up(read, [])
    rows: list[Recorded] = []
    done: set[int] = set()
    for _ in range(data.draw(st.integers(0, len(plan.steps)))):
        place = data.draw(st.sampled_from(list(plan.ready(done))))
        done.add(place)
        rows = carried_out(Plan((plan.steps[place],)), rows)
    assert versions(carried_out(plan_up(read, rows), rows)) == set(read.needs)


def test_ten_thousand_applied_migrations_take_a_time_that_is_linear_in_their_number() -> None:
    many = {f"{number:05}_m.sql": f"SELECT {number}" for number in range(1, 10_001)}
    began = process_time()
    read = folder(many)
    rows = [row_of(migration) for migration in read.migrations]
    assert plan_up(read, rows).steps == ()
    late = folder({**many, "00000_late.sql": "SELECT 0"})
    assert [step.name for step in plan_up(late, rows, allow_missing=True).steps] == ["late"]
    # It takes half a second; comparing each with each takes a quarter of a minute.
    assert process_time() - began < 5
