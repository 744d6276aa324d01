"""A search_path that leads astray: whatever PostgreSQL has is shadowed by something that nobody may use.

Rights are looked at before the first row is, so a name that leads astray is noticed even where there is no row.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from dbinit import Initializer, InitOptions, LockTimeoutError, Outcome
from dbinit.folders import Baseline, Down, Import, Redo, Repair, Up
from dbinit.lock import lock_key
from tests.kit.databases import execute, fresh_database
from tests.kit.process import run_dbinit
from tests.kit.server import Server

# Every function, aggregate, operator, type and table of pg_catalog has a double in a schema that is looked at first.
TRAPS = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.trap() RETURNS pg_catalog.bool LANGUAGE plpgsql VOLATILE AS $$
BEGIN RAISE EXCEPTION 'a trap was touched'; END $$;
SET check_function_bodies = off;
DO $do$
DECLARE
    one pg_catalog.record;
    body pg_catalog.text := $f$BEGIN RAISE EXCEPTION 'a trap was touched'; END$f$;
BEGIN
    FOR one IN
        SELECT p.proname, p.proretset, format_type(p.prorettype, NULL) AS result, (
            SELECT string_agg(format_type(a, NULL), ', ' ORDER BY n) FROM unnest(p.proargtypes) WITH ORDINALITY u(a, n)
        ) AS arguments
        FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE FUNCTION evil.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS %L',
                one.proname, one.arguments, CASE WHEN one.proretset THEN 'SETOF' END, one.result, body
            );
        EXCEPTION WHEN invalid_function_definition OR feature_not_supported THEN NULL; -- of types that SQL cannot have
        END;
    END LOOP;
    FOR one IN
        SELECT oid, oprname, oprkind, format_type(oprresult, NULL) AS result,
            format_type(nullif(oprleft, 0), NULL) AS l, format_type(oprright, NULL) AS r
        FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE FUNCTION evil.operator_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                one.oid, concat_ws(', ', one.l, one.r), one.result, body
            );
            EXECUTE format(
                'CREATE OPERATOR evil.%s (FUNCTION = evil.operator_%s, %s RIGHTARG = %s)',
                one.oprname, one.oid, 'LEFTARG = ' || one.l || ',', one.r
            );
        EXCEPTION WHEN invalid_function_definition OR feature_not_supported THEN NULL;
        END;
    END LOOP;
    FOR one IN
        SELECT relname, string_agg(format('x.%I', attname), ', ' ORDER BY attnum) AS columns
        FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
            AND attnum > 0 AND atttypid NOT IN ('anyarray'::regtype, 'pg_statistic[]'::regtype)
        GROUP BY relname
    LOOP
        EXECUTE format(
            'CREATE VIEW evil.%1$I AS SELECT %2$s FROM (SELECT evil.trap() OFFSET 0) t, pg_catalog.%1$I x',
            one.relname, one.columns
        );
    END LOOP;
    FOR one IN
        SELECT typname FROM pg_type
        WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typelem = 0
    LOOP
        EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.%I CHECK (evil.trap())', one.typname, one.typname);
    END LOOP;
END
$do$;
CREATE TABLE evil.dbinit_history ();
CREATE TABLE evil.dbinit_migrations ();
CREATE TABLE evil.users ();
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA evil FROM PUBLIC;
"""

WHOLE = """\
CREATE TABLE public.item (id pg_catalog.int8 PRIMARY KEY);
COPY public.item FROM stdin;
1
\\.
SELECT 2 AS number \\gset
INSERT INTO public.item VALUES (:number);
DO $$ BEGIN RAISE NOTICE 'said'; END $$;
"""
STEPWISE = """\
CREATE TABLE public.other (id pg_catalog.int8);
BEGIN; INSERT INTO public.other VALUES (1); COMMIT;
CREATE INDEX CONCURRENTLY other_id ON public.other (id);
"""
FOLDER = {
    "001_item": "CREATE TABLE public.item (id pg_catalog.int8);\n-- dbinit: down\nDROP TABLE public.item;",
    "002_index": "CREATE INDEX CONCURRENTLY item_id ON public.item (id);\n-- dbinit: down\nDROP INDEX public.item_id;",
    "003_more": "DO $$ BEGIN RAISE NOTICE 'said'; END $$;\n-- dbinit: down\nDO $$ BEGIN END $$;",
    "before_all": "CREATE TABLE IF NOT EXISTS public.hooked ();",
    "after_each": "CREATE TABLE IF NOT EXISTS public.hooked ();",
}


@pytest.fixture(scope="module")
def trapped(server: Server) -> Iterator[str]:
    """The name of a database full of traps, to be copied, and of the role to use it as."""
    name = f"trapped_{os.getpid()}"
    asyncio.run(execute(server, f"CREATE DATABASE {name}"))
    asyncio.run(execute(server, f"CREATE ROLE {name} LOGIN"))
    asyncio.run(execute(server, f"{TRAPS} GRANT USAGE ON SCHEMA evil TO {name}", name))
    yield name
    asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)"))
    asyncio.run(execute(server, f"DROP ROLE {name}"))


@pytest.fixture
def hostile(server: Server, trapped: str) -> Iterator[str]:
    """The URL of a database whose traps are looked at first, as its owner; all statements are logged."""
    with fresh_database(server, template=trapped) as name:
        astray = f"ALTER DATABASE {name} SET search_path = evil, pg_catalog, public"
        owned = f"ALTER DATABASE {name} OWNER TO {trapped}"
        asyncio.run(execute(server, f"{astray}; {owned}; ALTER DATABASE {name} SET log_statement = 'all'"))
        yield f"postgresql://{trapped}@{quote(str(server.folder), safe='')}:{server.port}/{name}"


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text)
    return folder


def options(url: str, path: Path, **changes: object) -> InitOptions:
    chosen = {"database_url": url, "migrations_path": path, "retry_attempts": 1, "sentinel": "", **changes}
    return InitOptions(**chosen)  # type: ignore[arg-type]


async def start(chosen: InitOptions, *requests: Baseline | Down | Import | Redo | Repair | Up) -> list[Outcome]:
    initializer = Initializer(chosen)
    try:
        if requests:
            return [(await initializer.migrate(request)).outcome for request in requests]
        return [(await initializer.initialize()).outcome, (await initializer.verify()).outcome]
    finally:
        await initializer.close()


async def test_the_traps_are_there(hostile: str) -> None:
    unqualified = [
        "SELECT now()",
        "SELECT 1 = 1",
        "SELECT 1 IN (2)",
        "SELECT 'a'::pg_catalog.text || 'b'::pg_catalog.text",
        "SELECT 'a'::text",
        "SELECT 1::int8",
        "SELECT max(1)",
        "SELECT FROM pg_locks",
        "SELECT to_json(1)",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SELECT pg_blocking_pids(1)",
        "SELECT current_setting('port')",
    ]
    connection = await asyncpg.connect(hostile)
    try:
        for statement in unqualified:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for"):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("acting", [False, True], ids=["as the login", "as a role"])
async def test_files(acting: bool, hostile: str, server: Server, trapped: str, tmp_path: Path) -> None:  # noqa: FBT001
    role = trapped if acting else None
    path = tmp_path / "init.sql"
    for script in (WHOLE, STEPWISE):
        path = tmp_path / f"{len(script)}.sql"
        path.write_text(script)
        assert await start(options(hostile, path, role=role)) == [Outcome.APPLIED, Outcome.CURRENT]
        path.write_text("SELECT 1;")
        assert await start(options(hostile, path, role=role, sentinel="users")) == [Outcome.APPLIED, Outcome.CURRENT]
    env = {"DATABASE_URL": hostile, "MIGRATION_PATH": str(path)}
    assert (await asyncio.to_thread(run_dbinit, "status", env=env)).code == 0

    sent = "\n".join(server.statements(hostile.rpartition("/")[2]))
    assert all(word in sent for word in ("pg_try_advisory_xact_lock", "pg_stat_progress", "dbinit_history", "pg_index"))


@pytest.mark.parametrize("jobs", [1, 2])
async def test_a_folder(jobs: int, hostile: str, server: Server, tmp_path: Path) -> None:
    chosen = options(
        hostile, write(tmp_path / "migrations", FOLDER), jobs=jobs, sentinel="public.users", history_schema="own"
    )

    assert await start(chosen, Up(dry_run=True)) == [Outcome.REHEARSED]
    assert await start(chosen) == [Outcome.APPLIED, Outcome.CURRENT]
    assert await start(chosen, Down(2), Up(jobs=jobs), Redo(), Repair()) == [
        Outcome.REVERTED,
        Outcome.APPLIED,
        Outcome.APPLIED,
        Outcome.CURRENT,
    ]
    env = {"DATABASE_URL": hostile, "MIGRATION_PATH": str(chosen.migrations_path), "DBINIT_HISTORY_SCHEMA": "own"}
    for verb in ("status", "plan"):
        assert (await asyncio.to_thread(run_dbinit, verb, env=env)).code == 0

    sent = "\n".join(server.statements(hostile.rpartition("/")[2]))
    assert all(word in sent for word in ("pg_try_advisory_xact_lock", "dbinit_migrations", "pg_index"))


async def test_a_history_of_another_tool(hostile: str, server: Server, tmp_path: Path) -> None:
    theirs = "CREATE TABLE public.schema_migrations AS SELECT 1::bigint AS version, false AS dirty"
    read = "GRANT SELECT ON public.schema_migrations TO PUBLIC"
    await execute(server, f"{theirs}; {read}", hostile.rpartition("/")[2])
    files = {"000001_a.up": "CREATE TABLE public.a ();", "000001_a.down": "DROP TABLE public.a;"}

    chosen = options(hostile, write(tmp_path / "migrations", files))
    assert await start(chosen, Import()) == [Outcome.RECORDED]
    assert await start(chosen) == [Outcome.CURRENT, Outcome.CURRENT]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
async def test_waiting_for_the_lock(folder: bool, hostile: str, tmp_path: Path) -> None:  # noqa: FBT001
    path = write(tmp_path / "migrations", FOLDER if folder else {"init": WHOLE})
    chosen = options(hostile, path if folder else path / "init.sql", lock_wait="300ms")
    holder = await asyncpg.connect(hostile)
    try:
        await holder.execute(f"BEGIN; SELECT pg_catalog.pg_advisory_xact_lock('{lock_key('public')}')")
        with pytest.raises(LockTimeoutError):
            await start(chosen)
    finally:
        await holder.close()
