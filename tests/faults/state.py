"""What a database holds, as of one moment, compared with what its history says."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import asyncpg

from .workload import File, Workload

__all__ = ["State", "differences", "read_state"]

_TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
_INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
_FOLDER = "SELECT name, state, statements FROM dbinit_migrations"
_SCRIPT = "SELECT script, outcome, statements FROM dbinit_history"


class State(NamedTuple):
    """What there is.

    Attributes:
        tables: The tables, without those of the history.
        marks: The rows of the journal.
        rows: The history: file, state, how many statements.
        invalid: Indexes that are not valid.
    """

    tables: frozenset[str]
    marks: Counter[str]
    rows: list[tuple[str, str, int]]
    invalid: list[str]

    def done(self, workload: Workload) -> Mapping[str, int]:
        """Return, by file, how many of its statements have been run, as the history has it."""
        names = {file.name.removesuffix(".sql").partition("_")[2]: file for file in workload.files}
        found = {}
        for name, state, statements in self.rows:
            file = names[name] if workload.is_folder else workload.files[0]
            found[file.name] = len(file.statements) if state == "applied" else statements
        return found


async def read_state(connection: asyncpg.Connection) -> State:
    """Read it in one snapshot, so that it may be read while somebody works."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        tables = {row["relname"] for row in await connection.fetch(_TABLES)}
        marks = await connection.fetch("SELECT mark FROM journal") if "journal" in tables else []
        rows = []
        for table, select in {"dbinit_migrations": _FOLDER, "dbinit_history": _SCRIPT}.items():
            rows += await connection.fetch(select) if table in tables else []
        invalid = await connection.fetch(_INVALID)
    ours = frozenset(name for name in tables if not name.startswith("dbinit_"))
    return State(ours, Counter(row["mark"] for row in marks), [tuple(row) for row in rows], [row[0] for row in invalid])


def differences(state: State, workload: Workload) -> list[str]:
    """Say where the history and the database disagree, and what was recorded twice."""
    done = state.done(workload)
    marks = Counter(mark for file in workload.files for mark in file.marks(done.get(file.name, 0)))
    tables = frozenset(name for file in workload.files for name in file.tables(done.get(file.name, 0)))
    found = [f"recorded {count} times: {name}" for name, count in _names(state).items() if count > 1]
    found += [f"half there: {file.name}" for file in workload.files if _is_half(file, done.get(file.name))]
    if marks != state.marks:
        found.append(f"marks without a record: {state.marks - marks}, records without marks: {marks - state.marks}")
    if tables != state.tables:
        found.append(f"tables without a record: {state.tables - tables}, without a table: {tables - state.tables}")
    return found


def _names(state: State) -> Counter[str]:
    return Counter(name for name, _, _ in state.rows)


def _is_half(file: File, done: int | None) -> bool:
    """Tell whether a file that happens whole or not at all is recorded as begun."""
    return not file.steps and done not in {None, len(file.statements)}
