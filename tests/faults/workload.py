"""What is applied while something breaks: files that tell by what they leave how often, and how far, they were run.

Each statement that matters leaves a mark, a row in the table `journal`; a file makes tables of names of its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ALL", "FOLDER", "PARALLEL", "SCRIPT", "STEPS", "File", "Workload"]

_MARK = re.compile(r"INSERT INTO journal VALUES \('(\w+)'\)")
_TABLE = re.compile(r"CREATE TABLE (\w+)")
_NAPS = frozenset({3, 7, 10})


@dataclass(frozen=True)
class File:
    """A file of SQL.

    Attributes:
        name: Its name.
        statements: What is in it, each statement with the data that it reads.
        steps: Whether it runs step by step; otherwise all of it happens or nothing.
        head: Lines above the statements.
    """

    name: str
    statements: tuple[str, ...]
    steps: bool = False
    head: str = ""

    @property
    def text(self) -> str:
        return self.head + "".join(f"{statement}\n" for statement in self.statements)

    def marks(self, done: int) -> list[str]:
        """Return what stands in the journal once `done` of the statements have been run."""
        return [mark for statement in self.statements[:done] for mark in _MARK.findall(statement)]

    def tables(self, done: int) -> list[str]:
        """Return the tables that are there then."""
        return [name for statement in self.statements[:done] for name in _TABLE.findall(statement)]


@dataclass(frozen=True)
class Workload:
    """What one start has to do.

    Attributes:
        name: What to call it.
        files: The files, in their order.
        is_folder: Whether they are the migrations of a folder; otherwise there is one, a script.
        options: Options of the `Initializer`.
    """

    name: str
    files: tuple[File, ...]
    is_folder: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the files below a folder; return the path that dbinit is given."""
        where = folder / self.name
        where.mkdir()
        for file in self.files:
            (where / file.name).write_text(file.text, encoding="utf-8")
        return where if self.is_folder else where / self.files[0].name


def _mark(mark: str) -> str:
    return f"INSERT INTO journal VALUES ('{mark}');"


def _table(name: str) -> tuple[str, ...]:
    """Return what makes a table with rows; the name of its sequence is another one where that is there already."""
    return (
        f"CREATE TABLE {name} (id serial PRIMARY KEY, word text NOT NULL);",
        f"INSERT INTO {name} SELECT n, 'word ' || n FROM generate_series(1, 100) AS n;",
    )


_JOURNAL = "CREATE TABLE journal (mark text NOT NULL);"
_FUNCTION = """\
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.word := upper(NEW.word); -- with a semicolon;
    RETURN NEW;
END
$$;"""
_COPY = "COPY people (id, word) FROM stdin;\n1\tone\n2\ttwo\n3\tthree\n\\."


def _whole(number: int, head: str = "") -> File:
    """Return a migration that is one transaction."""
    name = f"m{number:02}"
    nap = ("SELECT pg_sleep(0.03);",) if number in _NAPS else ()
    return File(f"{number:03}_{name}.sql", (_mark(f"{name}a"), *_table(name), *nap, _mark(f"{name}b")), head=head)


def _index(number: int, table: str, head: str = "") -> File:
    """Return a migration with a concurrent index, which makes it run step by step."""
    name = f"m{number:02}"
    build = f"CREATE INDEX CONCURRENTLY {name}_index ON {table} (word);"
    return File(f"{number:03}_{name}.sql", (_mark(f"{name}a"), build, _mark(f"{name}b")), steps=True, head=head)


def _steps(number: int, table: str, head: str = "") -> File:
    """Return a migration that wants to run step by step, and controls a transaction of its own."""
    name = f"m{number:02}"
    statements = (
        *_table(name),
        _mark(f"{name}a"),
        f"VACUUM {table};",
        "BEGIN;",
        _mark(f"{name}b"),
        f"UPDATE {name} SET word = word || '!' WHERE id <= 10;",
        "SELECT pg_sleep(0.03);",
        _mark(f"{name}c"),
        "COMMIT;",
        _mark(f"{name}d"),
    )
    return File(f"{number:03}_{name}.sql", statements, steps=True, head=f"-- dbinit: no-transaction\n{head}")


_FIRST = File("001_journal.sql", (_JOURNAL, _mark("m01")))
_CODE = File("004_code.sql", (_FUNCTION, _mark("m04")))
_TRIGGER = "CREATE TRIGGER shouts BEFORE INSERT ON m03 FOR EACH ROW EXECUTE FUNCTION shout();"
_DATA = File("008_data.sql", (_TRIGGER, "INSERT INTO m03 VALUES (101, 'loud');", _mark("m08")))
_FREE = "-- dbinit: depends 001\n"

_MIGRATIONS = (_FIRST, _whole(2), _whole(3), _CODE, _index(5, "m03"), _whole(6), _whole(7), _DATA)
FOLDER = Workload("folder", (*_MIGRATIONS, _steps(9, "m02"), _whole(10), _index(11, "m10"), _whole(12)))
"""Twelve migrations, three of which run step by step."""

PARALLEL = Workload(
    "parallel",
    (_FIRST, *(_whole(number, _FREE) for number in (2, 3, 6, 7, 10)), _steps(12, "m02", "-- dbinit: depends 002\n")),
    options={"jobs": 3},
)
"""A folder whose migrations run three at a time."""

_PEOPLE = "CREATE TABLE people (id serial PRIMARY KEY, word text);"
_BUILD = "CREATE INDEX CONCURRENTLY people_index ON people (word);"
_NAP = "SELECT pg_sleep(0.06);"
_AT_ONCE = (_JOURNAL, _mark("a"), *_table("before"), _PEOPLE, _COPY, _FUNCTION, _NAP, _mark("b"), *_table("behind"))
_FIRST_PART = ("BEGIN;", _JOURNAL, _mark("a"), _PEOPLE, _COPY, "COMMIT;", _BUILD, _mark("b"), *_table("behind"))
_LAST_PART = ("VACUUM people;", "BEGIN;", _mark("c"), _NAP, _FUNCTION, _mark("d"), "COMMIT;", _mark("e"))

SCRIPT = Workload("script", (File("init-db.sql", _AT_ONCE),), is_folder=False)
"""A script that is one transaction."""

STEPS = Workload("steps", (File("init-db.sql", (*_FIRST_PART, *_LAST_PART), steps=True),), is_folder=False)
"""A script that controls its own transactions."""

ALL = (FOLDER, SCRIPT, STEPS, PARALLEL)
