"""A script that fails leaves nothing, whatever it fails with and wherever, and the error names the line."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from dbinit import ScriptError, StatementError
from tests.kit.databases import execute, fresh_database
from tests.kit.server import Server
from tests.kit.starts import initialize

Write = Callable[[str | bytes], Path]

STATEMENTS = 300
BEFORE = """\
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE kept (id int PRIMARY KEY, word text NOT NULL CHECK (word <> 'never'), mood mood DEFAULT 'good');
INSERT INTO kept SELECT n, 'word ' || n FROM generate_series(1, 20) n;
CREATE TABLE child (parent int REFERENCES kept DEFERRABLE INITIALLY DEFERRED);
CREATE VIEW words AS SELECT word FROM kept;
CREATE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT 1 FROM gone); END $$;
"""
# What a script does to what is there and what it adds; each stands in it many times, with another number.
STEPS = [
    "CREATE TABLE added_{} (\n    id int PRIMARY KEY,\n    note text DEFAULT 'a;b'\n);",
    "UPDATE kept SET word = 'changed {}'\nWHERE id % 2 = 0;",
    "ALTER TABLE kept ADD column_{} int;",
    "INSERT INTO kept (id, word) VALUES (1000 + {}, 'it''s\nnew');",
    "CREATE OR REPLACE FUNCTION f_{}() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n    RETURN 1;\nEND $$;",
    "DELETE FROM child -- {}\n;",
    "DO $$ BEGIN\n    RAISE NOTICE 'notice {}';\nEND $$;",
    "COPY kept (id, word) FROM stdin;\n2{0:03}\tcopied; {0}\n3{0:03}\tit's\n\\.",
    "CREATE INDEX index_{} ON kept (word);",
    "COMMENT ON TABLE kept IS 'comment; {}';",
    "ALTER TABLE IF EXISTS missing_{} RENAME TO found;",
    "CREATE OR REPLACE VIEW words AS\n    SELECT word FROM kept WHERE id <> {};",
    "GRANT SELECT ON kept TO PUBLIC; -- {}",
]


class Planted(NamedTuple):
    """A statement that fails, how, and in which of its lines (from 0)."""

    text: str
    sqlstate: str
    line: int = 0


PLANTED = {
    "syntax": Planted("CREATE TABLE wrong (\n    id int,,\n);", "42601", 1),
    "unknown column": Planted("SELECT id,\n    word,\n    wrong FROM kept;", "42703", 2),
    "unknown type": Planted("ALTER TABLE kept\n    ADD more nonsense;", "42704", 1),
    "unknown table, without a position": Planted("DROP TABLE\n    missing;", "42P01"),
    "unique": Planted("INSERT INTO kept\n    VALUES (1, 'again');", "23505"),
    "check": Planted("UPDATE kept\nSET word = 'never' WHERE id = 3;", "23514"),
    "function": Planted("SELECT\n    broken();", "42P01"),
    "division in a block": Planted("DO $$\nBEGIN\n    PERFORM 1 / 0;\nEND $$;", "22012", 2),
    "notices, then an exception": Planted(
        "DO $$\nBEGIN\n    RAISE NOTICE 'one';\n    RAISE WARNING 'two';\n    RAISE EXCEPTION 'no';\nEND $$;",
        "P0001",
        4,
    ),
    "data": Planted("COPY kept (id, word) FROM stdin;\n5000\tfive\nsix\tsix\n\\.", "22P02", 2),
}
PLACES = 50


class Prepared(NamedTuple):
    """A database that no script here may change, and its dump."""

    name: str
    dump: str


@pytest.fixture(scope="module")
def prepared(server: Server) -> Iterator[Prepared]:
    with fresh_database(server) as name:
        asyncio.run(execute(server, BEFORE, name))
        yield Prepared(name, server.dump(name))


def script(planted: Planted | None = None, at: int = 0) -> tuple[str, int]:
    """Return a script with a statement planted before the one numbered `at`, and the line that is at fault."""
    steps = [step.format(number) for number, step in enumerate(islice(cycle(STEPS), STATEMENTS))]
    before = "\n\n".join([*steps[:at], ""])
    line = before.count("\n") + 1 + (planted.line if planted else 0)
    return before + "\n".join([planted.text if planted else "", *steps[at:]]), line


def places(kind: str) -> Iterator[int]:
    """Yield the places of one kind of error; those of all kinds together are spread over the script."""
    yield from range(list(PLANTED).index(kind) * STATEMENTS // PLACES, STATEMENTS, STATEMENTS // 5)


@pytest.mark.parametrize("kind", PLANTED)
async def test_an_error_leaves_nothing_and_is_named_with_its_line(
    kind: str, prepared: Prepared, server: Server, write: Write
) -> None:
    planted = PLANTED[kind]
    for at in places(kind):
        text, line = script(planted, at)

        with pytest.raises(StatementError) as caught:
            await initialize(server.url(prepared.name), write(text))

        assert (caught.value.sqlstate, caught.value.line) == (planted.sqlstate, line), at
        assert f"Statement {at + 1} of {STATEMENTS + 1} failed:\n" in caught.value.message
        assert f"init-db.sql:{line}" in caught.value.message
    assert server.dump(prepared.name) == prepared.dump
    assert "dbinit_history" not in server.whole_dump(prepared.name)


def test_the_errors_stand_in_fifty_places() -> None:
    assert len({at for kind in PLANTED for at in places(kind)}) == PLACES


async def test_without_an_error_the_script_is_applied(
    connection: asyncpg.Connection, database: str, database_url: str, server: Server, write: Write
) -> None:
    await connection.execute(BEFORE)
    before = server.dump(database)

    report = await initialize(database_url, write(script()[0]))

    assert report.statements == STATEMENTS
    assert server.dump(database) != before


async def test_an_error_when_all_is_committed_leaves_nothing(prepared: Prepared, server: Server, write: Write) -> None:
    late = Planted("INSERT INTO child VALUES (99);", "23503")

    with pytest.raises(StatementError, match="violates foreign key constraint"):
        await initialize(server.url(prepared.name), write(script(late, STATEMENTS)[0]))

    assert server.dump(prepared.name) == prepared.dump


async def test_what_cannot_be_read_at_the_end_keeps_all_from_running(
    prepared: Prepared, server: Server, write: Write
) -> None:
    text, line = script(Planted("SELECT 'open;", ""), STATEMENTS)

    with pytest.raises(ScriptError, match=f"init-db.sql:{line}:8"):
        await initialize(server.url(prepared.name), write(text))

    assert server.dump(prepared.name) == prepared.dump
