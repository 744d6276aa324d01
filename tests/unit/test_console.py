import io
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from dbinit.console import Pace, print_error, print_result, progress, set_up_logging
from dbinit.errors import DbInitError, SettingsError, StatementError
from dbinit.model import Outcome, Report
from dbinit.planning import Decision
from dbinit.readiness import Phase, Readiness

WHEN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
STATUS: dict[str, Any] = {
    "decision": Decision.SKIP,
    "script": "scripts/init-db.sql",
    "history": [
        {
            "script": "init-db.sql",
            "checksum": "0123456789abcdef",
            "outcome": Outcome.APPLIED,
            "applied_at": WHEN,
            "statements": 0,
        }
    ],
}


@pytest.fixture(autouse=True)
def untouched_logger() -> Iterator[None]:
    """Leave the logger as it was."""
    logger = logging.getLogger("dbinit")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate, logger.level = before


Capture = pytest.CaptureFixture[str]


def test_a_report_becomes_one_json_object(capsys: Capture) -> None:
    print_result(asdict(Report(Outcome.APPLIED, "a.sql", "0123", 7, 0.5)), as_json=True)
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "outcome": "applied",
        "script": "a.sql",
        "checksum": "0123",
        "statements": 7,
        "seconds": 0.5,
        "migrations": [],
    }
    assert err == ""


def test_without_json_a_report_is_left_to_the_log(capsys: Capture) -> None:
    print_result(asdict(Report(Outcome.APPLIED, "a.sql", "0123", 7, 0.5)), as_json=False)
    assert capsys.readouterr() == ("", "")


def test_a_status_as_json(capsys: Capture) -> None:
    print_result(STATUS, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "decision": "skip",
        "script": "scripts/init-db.sql",
        "history": [
            {
                "script": "init-db.sql",
                "checksum": "0123456789abcdef",
                "outcome": "applied",
                "applied_at": "2025-01-02T03:04:05+00:00",
                "statements": 0,
            }
        ],
    }


def test_a_status_in_words(capsys: Capture) -> None:
    print_result(STATUS, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "scripts/init-db.sql: is applied, nothing to do",
        "  2025-01-02 03:04:05+00:00  applied  init-db.sql  0123456789ab",
    ]


@pytest.mark.parametrize("decision", list(Decision), ids=lambda decision: decision.value)
def test_every_decision_has_its_sentence(decision: Decision, capsys: Capture) -> None:
    print_result({**STATUS, "decision": decision, "history": []}, as_json=False)
    assert capsys.readouterr().out.startswith("scripts/init-db.sql: ")


def test_what_has_no_place_in_json_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(TypeError, match="object has no place in JSON"):
        print_result({"outcome": object()}, as_json=True)


def test_an_error_as_json_has_what_it_knows_and_nothing_empty(capsys: Capture) -> None:
    error = StatementError("It failed.", sqlstate="42P07", line=3, column=1, advice="mend it")
    print_error(error, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "error": {
            "type": "StatementError",
            "exit_code": 1,
            "message": "It failed.",
            "outcome": "Nothing was applied.",
            "advice": "mend it",
            "sqlstate": "42P07",
            "line": 3,
            "column": 1,
        }
    }
    assert err == ""


def test_settings_come_with_their_problems(capsys: Capture) -> None:
    print_error(SettingsError(("a", "b")), as_json=True)
    found = json.loads(capsys.readouterr().out)["error"]
    assert (found["problems"], found["exit_code"]) == (["a", "b"], 2)


def test_an_error_in_words_goes_to_standard_error(capsys: Capture) -> None:
    set_up_logging(quiet=True)
    print_error(DbInitError("It broke.", advice="mend it"), as_json=False)
    assert capsys.readouterr() == ("", "It broke.\nNothing was applied.\nWhat to do: mend it\n")


@pytest.mark.parametrize(("quiet", "shown"), [(False, "news\nwarning\n"), (True, "warning\n")])
def test_quiet_leaves_warnings_and_errors(quiet: bool, shown: str, capsys: Capture) -> None:  # noqa: FBT001 - a table's column
    set_up_logging(quiet=quiet)
    logger = logging.getLogger("dbinit")
    logger.debug("detail")
    logger.info("news")
    logger.warning("warning")
    assert capsys.readouterr() == ("", shown)


def test_log_lines_go_to_what_is_standard_error_at_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up_logging(quiet=False)
    taken = io.StringIO()
    monkeypatch.setattr(sys, "stderr", taken)
    logging.getLogger("dbinit").info("news")
    assert taken.getvalue() == "news\n"


class Terminal(io.StringIO):
    """Passes for a terminal."""

    def isatty(self) -> bool:
        return True


def test_nothing_is_drawn_where_nothing_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress(wanted=False) as observer:
        assert observer is None


def test_where_there_is_no_terminal_a_line_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 15.0, 70.0, 71.5, 72.0])
    monkeypatch.setattr("dbinit.console.time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    first = Readiness(Phase.APPLYING, file="a.sql", migration=1, migrations=2, statements=7)
    with progress(wanted=True) as pace:
        assert isinstance(pace, Pace)
        assert pace.line() == ""
        pace(first)
        assert pace.line() == "1/2 a.sql: 5s"
        pace(replace(first, statement=3, detail="scanning 7%"))
        assert pace.line() == "1/2 a.sql (scanning 7%): statement 3 of 7, 1m"
        pace(replace(first, file="b.sql"))
        pace(replace(first, file="b.sql", phase=Phase.READY))
        assert pace.line() == ""


def test_the_bar_says_which_migration_it_is_and_what_a_long_statement_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress(wanted=True) as observer:
        assert observer is not None
        observer(Readiness(Phase.APPLYING, file="[red]a.sql", migration=2, migrations=3, detail="scanning 7%"))
    assert "2/3 [red]a.sql (scanning 7%)" in terminal.getvalue()


def test_on_a_terminal_the_bar_appears_once_statements_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress(wanted=True) as observer:
        assert observer is not None
        observer(Readiness(Phase.CONNECTING, file="a.sql"))
        assert terminal.getvalue() == ""
        observer(Readiness(Phase.APPLYING, file="a.sql", statement=3, statements=7))
    assert "a.sql" in terminal.getvalue()
    assert "2/7" in terminal.getvalue()


def test_without_rich_there_is_no_bar_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(wanted=True) as observer:
        assert observer is not None
        observer(Readiness(Phase.APPLYING, file="a.sql", statement=1, statements=7))
    assert terminal.getvalue() == ""
