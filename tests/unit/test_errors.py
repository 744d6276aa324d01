import pickle

import pytest

from dbinit.errors import DbInitError, SettingsError, StatementError, SyntaxProblem, ValidationError
from dbinit.migrations.problems import FolderError, PlanError, Problem

ERRORS = (
    SettingsError(("a", "b")),
    ValidationError([SyntaxProblem("a.sql", 1, 2, "syntax error", "a.sql:1:2")]),
    StatementError("failed", sqlstate="42P07", line=3, column=4, advice="do this", outcome="that was done"),
    FolderError("m", [Problem("m/001_a.sql", "it is empty")]),
    PlanError(["there is none"]),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_whole_from_another_process(error: DbInitError) -> None:
    revived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(revived), str(revived), vars(revived)) == (type(error), str(error), vars(error))
