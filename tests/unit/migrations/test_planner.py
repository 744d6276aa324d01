import pytest

from dbinit.migrations.history import Recorded, State, row_of
from dbinit.migrations.model import Folder, Kind, Part, Transaction
from dbinit.migrations.plan import Action, Plan
from dbinit.migrations.planner import plan_baseline, plan_repair, plan_up, status
from dbinit.migrations.problems import PlanError
from dbinit.migrations.reversal import plan_down, plan_redo
from dbinit.migrations.standing import Status
from dbinit.migrations.version import ZERO

from .kit import folder, history, version

CONTENTS = {f"{number}_m.sql": f"SELECT {number};\n-- dbinit: down\nSELECT -{number};\n" for number in range(1, 6)}
FIVE = folder(CONTENTS)
VIEWS = {"repeatable_views.sql": "SELECT 'views'"}


def steps(plan: Plan) -> list[str]:
    return [f"{step.action.value} {step.version or step.name}" for step in plan.steps]


def refusal(*args: object, planner: object = plan_up, **options: object) -> list[str]:
    with pytest.raises(PlanError) as caught:
        planner(*args, **options)  # type: ignore[operator]
    return list(caught.value.problems)


def some(*numbers: int) -> Folder:
    return folder({f"{number}_m.sql": CONTENTS[f"{number}_m.sql"] for number in numbers})


# --- up ---------------------------------------------------------------------------------------------------------


def test_an_empty_database_gets_everything_in_order() -> None:
    assert steps(plan_up(FIVE, [])) == [f"apply {number}" for number in range(1, 6)]


def test_a_target_is_included() -> None:
    assert steps(plan_up(FIVE, history(some(1)), target=version("003"))) == ["apply 2", "apply 3"]


def test_what_a_target_needs_is_applied_even_if_it_is_newer() -> None:
    found = folder(
        {
            "1_a.sql": "-- dbinit: depends 3\nSELECT 1",
            "2_b.sql": "SELECT 2",
            "3_c.sql": "-- dbinit: depends none\nSELECT 3",
        }
    )
    assert steps(plan_up(found, [], target=version(1))) == ["apply 3", "apply 1"]


def test_an_unknown_target_is_refused() -> None:
    assert refusal(FIVE, [], target=version(9)) == ["there is no migration 9 in m"]


def test_an_edited_a_vanished_and_a_late_one_are_all_named() -> None:
    rows = [row_of(found) for found in FIVE.migrations if found.version != version(2)]
    found = folder(
        {**{name: text for name, text in CONTENTS.items() if name != "3_m.sql"}, "1_m.sql": "SELECT 'edited'"}
    )
    problems = refusal(found, rows)
    assert [problem.split(";")[0] for problem in problems] == [
        "m/1_m.sql was edited after it was applied",
        "m/2_m.sql comes late: newer ones were applied before",
        "migration 3 (m) was applied, and its file has vanished from m",
    ]


def test_late_ones_run_if_that_is_allowed() -> None:
    plan = plan_up(FIVE, history(some(1, 3, 4)), allow_missing=True)
    assert steps(plan) == ["apply 2", "apply 5"]
    assert plan.notes == ("m/2_m.sql comes late, behind newer ones",)


def test_one_that_nothing_applied_builds_upon_is_not_late() -> None:
    contents = {
        "1_a.sql": "SELECT 1",
        "2_b.sql": "-- dbinit: depends 1\nSELECT 2",
        "3_c.sql": "-- dbinit: depends 1\nSELECT 3",
    }
    found = folder(contents)
    rows = [row_of(migration) for migration in found.migrations if migration.version != version(2)]
    assert steps(plan_up(found, rows)) == ["apply 2"]


def test_one_that_was_begun_is_gone_on_with() -> None:
    rows = [*history(some(1)), row_of(FIVE.migrations[1], State.UNFINISHED)]
    plan = plan_up(FIVE, rows, target=version(3))
    assert steps(plan) == ["resume 2", "apply 3"]
    assert plan.steps[0].recorded == rows[1]


def test_one_that_was_taken_back_is_pending() -> None:
    rows = [*history(some(1, 2)), row_of(FIVE.migrations[1], State.REVERTED)]
    assert steps(plan_up(FIVE, rows, target=version(2))) == ["apply 2"]


def test_a_checksum_that_is_not_known_is_no_edit() -> None:
    rows = [Recorded(version(1), "m", "")]
    assert steps(plan_up(some(1), rows)) == []


def test_a_vanished_one_can_be_taken_out_of_the_history() -> None:
    (problem,) = refusal(some(1, 3), history(some(1, 2, 3)))
    assert problem.endswith("put it back, or, where its file is gone for good, " + DELETE.format("2"))


DELETE = "DELETE FROM dbinit_migrations WHERE version = '{}'"


@pytest.mark.parametrize("number", [2, 3], ids=["in between", "the newest"])
def test_an_unfinished_one_whose_file_is_gone_is_called_so_with_the_way_out(number: int) -> None:
    numbers = {1, 2, 3} - {number}
    found = some(*numbers)
    rows = [
        row_of(migration, State.UNFINISHED if migration.version == version(number) else State.APPLIED)
        for migration in some(1, 2, 3).migrations
    ]
    assert [(str(one.version), one.status) for one in status(found, rows)][-1] == (str(number), Status.UNFINISHED)
    for planner in (plan_up, plan_down):
        (problem,) = refusal(found, rows, planner=planner)
        assert f"migration {number} (m)" in problem
        assert problem.endswith(f"gone for good, undo its work by hand and {DELETE.format(number)}")


def test_an_older_image_is_served_while_a_newer_one_is_at_work_that_it_can_live_with() -> None:
    newest = row_of(FIVE.migrations[2], State.UNFINISHED)._replace(compatible_with=version(1))
    assert steps(plan_up(some(1, 2), [*history(some(1, 2)), newest])) == []


# --- a database that is ahead -----------------------------------------------------------------------------------


def ahead(compatible_with: int | None) -> list[Recorded]:
    newest = Recorded(version(5), "m", "x", compatible_with=version(compatible_with) if compatible_with else None)
    return [*history(some(1, 2, 3)), Recorded(version(4), "m", "x"), newest]


@pytest.mark.parametrize("oldest", [1, 3])
def test_a_database_that_is_ahead_is_used_if_its_newest_migration_allows_it(oldest: int) -> None:
    contents = {name: text for name, text in CONTENTS.items() if name[0] in "123"}
    plan = plan_up(folder({**contents, **VIEWS}), ahead(oldest))
    assert steps(plan) == []
    assert [note.rpartition(" by ")[2] for note in plan.notes] == ["migration 4 (m)", "migration 5 (m)"]


@pytest.mark.parametrize(("oldest", "says"), [(None, "does not say"), (4, "is compatible with 4 at the oldest")])
def test_otherwise_it_is_refused(oldest: int | None, says: str) -> None:
    (problem,) = refusal(some(1, 2, 3), ahead(oldest))
    assert problem.startswith(
        "the database is ahead of m, which ends with 3: migration 4 (m), migration 5 (m) was applied"
    )
    assert f" 5 {says}" in problem


def test_a_file_that_is_older_than_what_the_database_has_without_a_file_is_late() -> None:
    rows = [*history(some(1)), Recorded(version(5), "m", "x", compatible_with=version(1))]
    assert refusal(some(1, 2), rows)[0].startswith("m/2_m.sql comes late")


# --- repeatable migrations --------------------------------------------------------------------------------------


def test_repeatable_ones_run_last_and_again_when_they_were_edited() -> None:
    found = folder({**CONTENTS, **VIEWS})
    assert steps(plan_up(found, []))[-1] == "apply views"
    assert steps(plan_up(found, history(found))) == []
    edited = folder({**CONTENTS, "repeatable_views.sql": "SELECT 'other views'"})
    assert steps(plan_up(edited, history(found))) == ["apply views"]
    assert steps(plan_up(found, [*history(found), *history(edited)])) == ["apply views"]


def test_repeatable_ones_wait_until_nothing_is_pending() -> None:
    found = folder({**CONTENTS, **VIEWS})
    assert steps(plan_up(found, [], target=version(4)))[-1] == "apply 4"
    assert steps(plan_up(found, [], target=version(5)))[-1] == "apply views"


def test_repeatable_ones_run_again_behind_what_was_taken_back() -> None:
    found = folder({**CONTENTS, **VIEWS})
    down = [*history(found), row_of(found.migrations[4], State.REVERTED)]
    assert steps(plan_up(found, down)) == ["apply 5", "apply views"]
    assert steps(plan_up(some(1, 2, 3, 4), down)) == []
    assert steps(plan_up(folder({**CONTENTS, **VIEWS}), [*down, row_of(found.migrations[5])])) == ["apply 5"]
    assert steps(plan_redo(found, history(found))) == ["revert 5", "apply 5", "apply views"]
    assert steps(plan_redo(found, history(FIVE))) == ["revert 5", "apply 5"]


def test_a_repeatable_one_whose_file_is_gone_is_let_be() -> None:
    assert steps(plan_up(FIVE, history(folder({**CONTENTS, **VIEWS})))) == []


# --- baselines of Flyway's --------------------------------------------------------------------------------------

FLYWAY = {f"V{number}__m.sql": f"SELECT {number}" for number in range(1, 5)}
BASED = folder({**FLYWAY, "B1__base.sql": "SELECT 0", "B3__base.sql": "SELECT 0"})


def test_a_baseline_stands_for_what_is_older_where_nothing_was_applied() -> None:
    plan = plan_up(BASED, [])
    assert [(step.kind, str(step.version)) for step in plan.steps] == [(Kind.BASELINE, "3"), (Kind.VERSIONED, "4")]
    assert plan.steps[1].after == {0}
    rows = [row_of(step.migration) for step in plan.steps if step.migration]
    assert steps(plan_up(BASED, rows)) == []


def test_a_target_may_choose_an_older_baseline() -> None:
    plan = plan_up(BASED, [], target=version(2))
    assert [(step.kind, str(step.version)) for step in plan.steps] == [(Kind.BASELINE, "1"), (Kind.VERSIONED, "2")]


def test_a_baseline_is_not_run_where_something_was_applied() -> None:
    rows = history(folder({"V1__m.sql": "SELECT 1"}))
    assert steps(plan_up(BASED, rows)) == ["apply 2", "apply 3", "apply 4"]


def test_the_files_a_baseline_stands_for_may_go() -> None:
    rows = history(folder(FLYWAY))
    assert steps(plan_up(folder({"B3__base.sql": "SELECT 0", "V4__m.sql": "SELECT 4"}), rows)) == []


# --- down -------------------------------------------------------------------------------------------------------


def test_the_last_ones_are_taken_back_last_first() -> None:
    plan = plan_down(FIVE, history(FIVE), count=2)
    assert steps(plan) == ["revert 5", "revert 4"]
    assert [step.part.text.strip() for step in plan.steps] == [
        "-- dbinit: down\nSELECT -5;",
        "-- dbinit: down\nSELECT -4;",
    ]
    assert [step.after for step in plan.steps] == [frozenset(), {0}]


def test_down_to_a_version() -> None:
    assert steps(plan_down(FIVE, history(FIVE), target=version(3))) == ["revert 5", "revert 4"]
    assert len(plan_down(FIVE, history(FIVE), target=ZERO).steps) == 5
    assert steps(plan_down(FIVE, history(FIVE), target=version(5))) == []


def test_what_was_applied_last_goes_first_whatever_its_number() -> None:
    rows = [row_of(FIVE.migrations[place]) for place in (0, 2, 1)]
    assert steps(plan_down(FIVE, rows, count=2)) == ["revert 2", "revert 3"]


def test_the_down_part_comes_from_the_history_when_the_file_is_gone_or_edited() -> None:
    edited = folder({"5_m.sql": "SELECT 'edited';\n-- dbinit: down\nSELECT 'other'"})
    for found in (some(1), edited):
        (step,) = plan_down(found, history(FIVE)).steps
        assert "SELECT -5" in step.part.text
        assert step.part.path == "down part of 5 in the history"


def test_the_down_part_of_the_file_may_be_mended() -> None:
    mended = folder({"5_m.sql": CONTENTS["5_m.sql"].replace("-5", "-55")})
    assert "SELECT -55" in plan_down(mended, history(FIVE)).steps[0].part.text


def test_a_stored_down_part_runs_as_it_would_have_run() -> None:
    rows = [Recorded(version(1), "m", "x", down=Part("", "DROP INDEX CONCURRENTLY i", Transaction.NO))]
    assert plan_down(some(2), rows).steps[0].part.transaction is Transaction.NO


@pytest.mark.parametrize(
    ("found", "rows", "options", "problem"),
    [
        (
            folder({"1_a.sql": "SELECT 1"}),
            history(folder({"1_a.sql": "SELECT 1"})),
            {},
            "migration 1 (a) is irreversible",
        ),
        (FIVE, history(FIVE), {"count": 6}, "the number of migrations that can be taken back is 5, not 6"),
        (FIVE, [], {}, "the number of migrations that can be taken back is 0, not 1"),
        (FIVE, history(some(1)), {"target": version(2)}, "migration 2 was not applied"),
        (FIVE, [row_of(FIVE.migrations[0], State.UNFINISHED)], {}, "migration 1 (m) is unfinished"),
    ],
)
def test_what_cannot_be_taken_back(
    found: Folder, rows: list[Recorded], options: dict[str, object], problem: str
) -> None:
    assert refusal(found, rows, planner=plan_down, **options)[0].startswith(problem)


def test_what_another_one_depends_on_stays() -> None:
    contents = {
        "1_a.sql": "-- dbinit: depends 2\nSELECT 1\n-- dbinit: down\nSELECT 1",
        "2_b.sql": "-- dbinit: depends none\nSELECT 2\n-- dbinit: down\nSELECT 2",
    }
    found = folder(contents)
    assert refusal(found, history(found), planner=plan_down, target=version(1)) == [
        "m/1_a.sql depends on 2, and stays; take it back, too"
    ]


# --- redo, baseline, status -------------------------------------------------------------------------------------


def test_redo_applies_the_file_as_it_now_is() -> None:
    edited = folder({**CONTENTS, "5_m.sql": "SELECT 'edited'"})
    plan = plan_redo(edited, history(FIVE))
    assert steps(plan) == ["revert 5", "apply 5"]
    assert "SELECT -5" in plan.steps[0].part.text
    assert plan.steps[1].part.text == "SELECT 'edited'"
    assert list(plan.ready(())) == [0]
    assert list(plan.ready({0})) == [1]


def test_redo_wants_the_file() -> None:
    assert refusal(some(1), history(some(1, 2)), planner=plan_redo) == ["the file of migration 2 (m) is not in m"]


def test_a_baseline_records_without_running() -> None:
    plan = plan_baseline(FIVE, [], version(2))
    assert {step.action for step in plan.steps} == {Action.RECORD}
    rows = [row_of(step.migration, State.BASELINE) for step in plan.steps if step.migration]
    assert steps(plan_up(FIVE, rows)) == ["apply 3", "apply 4", "apply 5"]


def test_a_baseline_is_for_a_database_without_a_history() -> None:
    problems = refusal(FIVE, history(some(1)), version(9), planner=plan_baseline)
    assert [problem[:24] for problem in problems] == ["there is no migration 9 ", "there is a history alrea"]


def test_repair_records_edited_ones_as_they_now_are() -> None:
    edited = folder({**CONTENTS, "2_m.sql": "SELECT 'edited'"})
    plan = plan_repair(edited, history(FIVE))
    assert steps(plan) == ["record 2"]
    rows = [*history(FIVE), *(row_of(step.migration) for step in plan.steps if step.migration)]
    assert steps(plan_up(edited, rows)) == []
    assert steps(plan_repair(FIVE, history(FIVE))) == []


def test_every_status() -> None:
    late = folder(
        {
            **{name: CONTENTS[name] for name in ("1_m.sql", "2_m.sql", "4_m.sql", "5_m.sql")},
            "6_m.sql": "SELECT 'edited'",
            "7_m.sql": "SELECT 7",
            "8_m.sql": "SELECT 8",
            **VIEWS,
        }
    )
    one, two, _, _, five = FIVE.migrations
    rows = [
        row_of(one, State.BASELINE),
        row_of(two),
        Recorded(version(3), "gone", "x"),
        row_of(five),
        Recorded(version(6), "m", "x"),
        row_of(late.migrations[5], State.UNFINISHED),
        Recorded(version(9), "ahead", "x"),
        Recorded(None, "views", "x", kind=Kind.REPEATABLE),
    ]
    assert [(str(found.version or found.name), found.status) for found in status(late, rows)] == [
        ("1", Status.BASELINE),
        ("2", Status.APPLIED),
        ("4", Status.LATE),
        ("5", Status.APPLIED),
        ("6", Status.EDITED),
        ("7", Status.UNFINISHED),
        ("8", Status.LATE),
        ("views", Status.EDITED),
        ("3", Status.MISSING),
        ("9", Status.AHEAD),
    ]
    assert {found.status for found in status(BASED, [])} == {Status.PENDING, Status.SUPERSEDED}
