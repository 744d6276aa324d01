"""The SQL that is measured with: what PostgreSQL ships, real dumps of pg_dump, and a script of many definitions."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from tests.kit.server import Server

_numbers = itertools.count()

_EVENTS = """
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL, kind text, price numeric(10, 2), body jsonb);
INSERT INTO events
SELECT n, timestamptz '2026-01-01 00:00+00' + n * interval '7 seconds', 'kind''s ' || n % 17, n % 9999 / 100.0,
    jsonb_build_object('user', md5(n::text), 'path', '/a/' || n % 1000, 'note', 'it''s; (so)')
FROM generate_series(1, {rows}) AS n
"""
_COPIED = 130  # bytes that a row takes as data of COPY
_OBJECTS = """
CREATE TABLE {name} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL DEFAULT 'it''s; new' CHECK (name <> ''),
    price numeric(10, 2) NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX {name}_by_name ON {name} (lower(name)) WHERE price > 0;
COMMENT ON TABLE {name} IS 'Table {name}; with a comment';
CREATE FUNCTION {name}_touch() RETURNS trigger LANGUAGE plpgsql AS $touch$
BEGIN
    -- What is stored is rounded; so is what is shown.
    IF NEW.price IS DISTINCT FROM OLD.price AND NEW.price < 0 THEN
        RAISE EXCEPTION 'price % of "%" is negative; refused', NEW.price, NEW.name USING ERRCODE = '23514';
    END IF;
    NEW.price := round(NEW.price, 2);
    NEW.changed_at := now();
    RETURN NEW;
END;
$touch$;
CREATE TRIGGER {name}_touch BEFORE UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION {name}_touch();
CREATE FUNCTION {name}_total(above numeric) RETURNS numeric LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT sum(CASE WHEN price > above THEN price ELSE 0 END) FROM {name};
END;
CREATE VIEW {name}_dear AS SELECT id, upper(name) AS name, price FROM {name} WHERE price > 100 ORDER BY price DESC;
"""
_TABLE = """CREATE TABLE {name} (
    id bigint PRIMARY KEY, name text NOT NULL DEFAULT '', price numeric(10, 2), at timestamptz
);
"""
_INDEX = "CREATE INDEX {name}_by_name ON {name} (name, at);\n"
_FUNCTION = """CREATE FUNCTION {name}_total(since timestamptz) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT sum(price) FROM {name} WHERE at > since);
END;
$$;
"""
_COMMENT = "COMMENT ON TABLE {name} IS 'What is known of {name}; no more';\n"
_GRANT = "GRANT SELECT ON {name} TO PUBLIC;\n"


@contextmanager
def fresh_database(server: Server) -> Iterator[str]:
    """Create a database, yield its name, and drop it.

    Before that all is written to disk, or whoever comes first would wait for what others have left behind.
    """
    name = f"benchmark_{next(_numbers)}"
    execute(server.url(), f"CREATE DATABASE {name}")
    execute(server.url(), "CHECKPOINT")
    try:
        yield name
    finally:
        execute(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


def execute(url: str, sql: str) -> None:
    """Run some SQL on a connection of its own."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(run())


def shipped(binaries: Path) -> list[str]:
    """Return the SQL files that come with the server."""
    return [file.read_text() for file in sorted(binaries.parent.rglob("*.sql"))]


def rows_dump(server: Server, rows: int, *options: str) -> str:
    """Return a dump of a table's rows: an INSERT statement of 185 characters for each, unless `options` differ."""
    with fresh_database(server) as name:
        execute(server.url(name), _EVENTS.format(rows=rows))
        return server.dump(name, "--inserts", *options)


def definitions_dump(server: Server, size: int, objects: int = 200) -> str:
    """Return `size` characters or more of what pg_dump writes of tables, functions and more, over and over."""
    with fresh_database(server) as name:
        execute(server.url(name), "".join(_OBJECTS.format(name=f"t{n}") for n in range(objects)))
        dump = server.dump(name, "--schema-only") + "\n"
    return dump * (size // len(dump) + 1)


def copy_dump(server: Server, file: Path, size: int) -> None:
    """Write a dump with COPY data of `size` bytes or somewhat less into a file that the server's account may write."""
    with fresh_database(server) as name:
        execute(server.url(name), _EVENTS.format(rows=size // _COPIED))
        where = ["-h", str(server.folder), "-p", str(server.port), "-U", "postgres", "-f", str(file), name]
        server.run("pg_dump", "--no-owner", *where)


def migrations(count: int) -> list[str]:
    """Return migrations of 10 statements each: tables, indexes, a function, comments and a grant."""
    return [_group(number, tables=3) for number in range(count)]


def definitions(groups: int) -> str:
    """Return a script of 20 statements times `groups`: tables, indexes, functions, comments and grants."""
    return "".join(_group(number) for number in range(groups))


def _group(number: int, tables: int = 6) -> str:
    names = [f"t{number}_{n}" for n in range(tables)]
    functions, comments = tables // 2, tables * 2 // 3
    parts = (
        (_TABLE, names),
        (_INDEX, names),
        (_FUNCTION, names[:functions]),
        (_COMMENT, names[:comments]),
        (_GRANT, names[:1]),
    )
    return "".join(template.format(name=name) for template, names in parts for name in names)
