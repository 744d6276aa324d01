"""The whole way on a real database: run once, record it, and skip it from then on."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dbinit import (
    Decision,
    FileChangedError,
    Initializer,
    OnChange,
    Outcome,
    Phase,
    PrivilegeError,
    Readiness,
    ReadOnlyDatabaseError,
    SchemaMissingError,
    ScriptError,
    SettingsError,
    SourceError,
    StatementError,
    __version__,
)
from tests.kit.server import PASSWORD, Server
from tests.kit.starts import initialize, options

Write = Callable[[str | bytes], Path]

SCRIPT = """\
CREATE TABLE item (id int PRIMARY KEY, word text);
INSERT INTO item VALUES (1, 'one');
INSERT INTO item VALUES (2, 'two');
"""
IDEMPOTENT = "CREATE TABLE IF NOT EXISTS item (id int);"


@pytest.fixture(scope="module", params=["server", "second_server"])
def server(request: pytest.FixtureRequest) -> Server:
    """Both major versions, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


async def rows(connection: asyncpg.Connection, table: str = "dbinit_history") -> list[asyncpg.Record]:
    return await connection.fetch(f"SELECT * FROM {table}")


async def exists(connection: asyncpg.Connection, name: str) -> bool:
    return await connection.fetchval("SELECT to_regclass($1)", name) is not None


async def count(connection: asyncpg.Connection, table: str = "item") -> int:
    number = await connection.fetchval(f"SELECT count(*) FROM {table}")
    assert isinstance(number, int)
    return number


# Once ---------------------------------------------------------------------------------------------


async def test_asking_how_things_stand_does_not_disturb_a_start(database_url: str, write: Write) -> None:
    chosen = options(database_url, write("SELECT pg_sleep(0.5);\nSELECT 1 AS one \\gset\nSELECT :one;"))
    applying, seen = asyncio.Event(), list[Phase]()

    def observe(readiness: Readiness) -> None:
        seen.append(readiness.phase)
        if readiness.phase is Phase.APPLYING:
            applying.set()

    async with asyncio.TaskGroup() as tasks:
        initializer = Initializer(chosen, observer=observe)
        start = tasks.create_task(initializer.initialize())
        await applying.wait()
        decision, history = await initializer.status()
        await initializer.wait()

    assert (decision, history, start.result().outcome) == (Decision.APPLY, [], Outcome.APPLIED)
    assert [phase for phase, _ in groupby(seen)] == [Phase.CONNECTING, Phase.CHECKING, Phase.APPLYING, Phase.READY]
    await initializer.close()


async def test_the_first_run_applies_the_file_and_records_it(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    report = await initialize(database_url, write(SCRIPT))

    assert (report.outcome, report.statements, report.script) == (Outcome.APPLIED, 3, str(write(SCRIPT)))
    assert await count(connection) == 2
    (row,) = await rows(connection)
    assert row["script"] == "init-db.sql"
    assert row["checksum"] == report.checksum
    assert len(report.checksum) == 64
    assert row["outcome"] == "applied"
    assert row["statements"] == 3
    assert row["applied_at"].tzinfo is not None
    assert 0 < row["seconds"] < report.seconds
    assert row["applied_by"] == "postgres"
    assert row["host"]
    assert row["dbinit_version"] == __version__
    assert row["format"] == 1


async def test_a_second_run_costs_one_connection_one_query_and_no_lock(
    connection: asyncpg.Connection, database: str, database_url: str, server: Server, write: Write
) -> None:
    await initialize(database_url, write(SCRIPT))
    await connection.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")
    logins = server.logins(database)

    report = await initialize(database_url, write(SCRIPT))

    assert report.outcome is Outcome.CURRENT
    assert server.logins(database) == logins + 1
    (statement,) = server.statements(database)
    assert "dbinit_history" in statement
    assert "lock" not in statement
    assert await count(connection, "dbinit_history") == 1


async def test_the_seeds_log_lines(database_url: str, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dbinit")
    await initialize(database_url, write(SCRIPT), retry_attempts=5)
    caplog.clear()

    await initialize(database_url, write(SCRIPT), retry_attempts=5)

    assert caplog.messages == [
        "Initializing database...",
        "Attempting to connect to database (attempt 1/5)...",
        "Successfully connected to database",
        "Database already initialized, skipping migration",
    ]


async def test_a_file_of_comments_is_not_taken_for_a_schema(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    with pytest.raises(SourceError, match="no SQL statement"):
        await initialize(database_url, write("-- nothing yet\n/* really */;\n"))

    assert not await exists(connection, "dbinit_history")


async def test_two_files_have_a_history_each(database_url: str, write: Write, tmp_path: Path) -> None:
    await initialize(database_url, write(SCRIPT))
    other = tmp_path / "other.sql"
    other.write_text("CREATE TABLE other ()")

    assert (await initialize(database_url, other)).outcome is Outcome.APPLIED
    assert (await initialize(database_url, other)).outcome is Outcome.CURRENT
    assert (await initialize(database_url, write(SCRIPT))).outcome is Outcome.CURRENT


# A changed file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [b"\xef\xbb\xbf" + SCRIPT.encode(), SCRIPT.replace("\n", "\r\n").encode()],
    ids=["byte order mark", "CRLF"],
)
async def test_the_same_file_in_another_spelling_is_the_same_file(same: bytes, database_url: str, write: Write) -> None:
    first = await initialize(database_url, write(SCRIPT))

    second = await initialize(database_url, write(same), on_change=OnChange.FAIL)

    assert second.outcome is Outcome.CURRENT
    assert second.checksum == first.checksum


@pytest.mark.parametrize("spelling", [b"\xef\xbb\xbf" + SCRIPT.encode(), SCRIPT.replace("\n", "\r\n").encode()])
async def test_a_byte_order_mark_and_crlf_are_run(
    spelling: bytes, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write(spelling))

    assert await count(connection) == 2


async def test_a_changed_file_is_run_again(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    await initialize(database_url, write(IDEMPOTENT))

    report = await initialize(database_url, write(IDEMPOTENT + "CREATE TABLE IF NOT EXISTS other ();"))

    assert (report.outcome, report.statements) == (Outcome.APPLIED, 2)
    assert await exists(connection, "other")
    checksums = [row["checksum"] for row in await rows(connection)]
    assert len(set(checksums)) == 2
    assert checksums[-1] == report.checksum


async def test_a_rerun_of_what_is_not_idempotent_names_the_statement_and_the_cure(
    connection: asyncpg.Connection, database: str, database_url: str, server: Server, write: Write
) -> None:
    await initialize(database_url, write(SCRIPT))
    before = server.dump(database)

    with pytest.raises(StatementError) as caught:
        await initialize(database_url, write("CREATE TABLE other ();\n" + SCRIPT))

    assert (caught.value.line, caught.value.sqlstate) == (2, "42P07")
    assert "IF NOT EXISTS" in caught.value.advice
    assert server.dump(database) == before
    assert await count(connection, "dbinit_history") == 1


async def test_a_changed_file_can_be_warned_of(
    connection: asyncpg.Connection, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    await initialize(database_url, write(IDEMPOTENT))

    report = await initialize(database_url, write("CREATE TABLE other ()"), on_change="warn")

    assert report.outcome is Outcome.CHANGED
    assert "was edited since it was applied" in caplog.text
    assert not await exists(connection, "other")


async def test_a_changed_file_can_be_an_error(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    await initialize(database_url, write(IDEMPOTENT))

    with pytest.raises(FileChangedError, match="was edited since"):
        await initialize(database_url, write("CREATE TABLE other ()"), on_change="fail")

    assert not await exists(connection, "other")


# Adoption -----------------------------------------------------------------------------------------


async def test_a_database_with_the_sentinel_is_adopted(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute("CREATE TABLE users ()")

    report = await initialize(database_url, write(SCRIPT))

    assert report.outcome is Outcome.ADOPTED
    assert not await exists(connection, "item")
    (row,) = await rows(connection)
    assert (row["outcome"], row["statements"], row["checksum"]) == ("adopted", 0, report.checksum)
    assert (await initialize(database_url, write(SCRIPT))).outcome is Outcome.CURRENT


@pytest.mark.parametrize(
    ("sentinel", "outcome"),
    [
        ("", Outcome.APPLIED),
        ("accounts", Outcome.APPLIED),
        ("crm.users", Outcome.ADOPTED),
        ("users", Outcome.APPLIED),
        ("other.users", Outcome.APPLIED),
    ],
)
async def test_the_sentinel_is_looked_for_where_it_is_said_to_be(
    sentinel: str, outcome: Outcome, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute("CREATE SCHEMA crm; CREATE TABLE crm.users ()")

    assert (await initialize(database_url, write(SCRIPT), sentinel=sentinel)).outcome is outcome


async def test_the_sentinel_says_nothing_once_there_is_a_history(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write("CREATE TABLE users ()"))

    report = await initialize(database_url, write("CREATE TABLE item ()"))

    assert report.outcome is Outcome.APPLIED
    assert await exists(connection, "item")


# One transaction ----------------------------------------------------------------------------------


async def test_an_error_in_the_last_statement_leaves_nothing_and_says_where(
    connection: asyncpg.Connection, database: str, database_url: str, server: Server, write: Write
) -> None:
    await connection.execute("CREATE TABLE kept (id int)")
    before = server.dump(database)
    path = write(SCRIPT + "\n  INSERT INTO item VALUES (3, three);\n")

    with pytest.raises(StatementError) as caught:
        await initialize(database_url, path)

    assert str(caught.value) == "\n".join(
        [
            "Statement 4 of 4 failed:",
            f"{path}:5:31",
            "  5 |   INSERT INTO item VALUES (3, three);",
            "    |                               ^",
            'ERROR: column "three" does not exist (SQLSTATE 42703)',
            "Everything was rolled back: the database is as it was before, and nothing of the file was applied.",
        ]
    )
    assert (caught.value.line, caught.value.column, caught.value.sqlstate) == (5, 31, "42703")
    assert server.dump(database) == before
    assert not await exists(connection, "dbinit_history")


async def test_a_constraint_that_fails_at_the_commit_leaves_nothing(
    database: str, database_url: str, server: Server, write: Write
) -> None:
    before = server.dump(database)
    script = "CREATE TABLE item (id int PRIMARY KEY, part int REFERENCES item DEFERRABLE INITIALLY DEFERRED);"

    with pytest.raises(StatementError, match="refused the commit") as caught:
        await initialize(database_url, write(script + "INSERT INTO item VALUES (1, 99);"))

    assert caught.value.sqlstate == "23503"
    assert "Key (part)=(99) is not present" in str(caught.value)
    assert server.dump(database) == before


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("BEGIN", "never committed"),
        ("COMMIT", "no transaction is begun"),
        ("CREATE TABLE t (); END", "no transaction is begun"),
        ("PREPARE TRANSACTION 'x'", "two-phase"),
    ],
)
async def test_a_transaction_that_is_left_half_open_or_half_shut_is_refused(
    statement: str, reason: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    with pytest.raises(ScriptError, match=reason):
        await initialize(database_url, write(f"{SCRIPT}{statement};"))

    assert not await exists(connection, "item")


async def test_what_cannot_run_in_a_transaction_is_run_outside_of_one(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    report = await initialize(database_url, write(SCRIPT + "CREATE INDEX CONCURRENTLY word ON item (word);"))

    assert (report.outcome, report.statements) == (Outcome.APPLIED, 4)
    assert await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'word'::regclass")
    (row,) = await rows(connection)
    assert row["outcome"] == "applied"


async def test_savepoints_work(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    await initialize(database_url, write(SCRIPT + "SAVEPOINT a; DELETE FROM item; ROLLBACK TO SAVEPOINT a;"))

    assert await count(connection) == 2


async def test_what_is_said_on_the_way_makes_nothing_run_twice(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute("CREATE TABLE counted (id serial PRIMARY KEY)")

    await initialize(database_url, write("INSERT INTO counted DEFAULT VALUES; DROP TABLE IF EXISTS nothing;"))

    assert await connection.fetchval("SELECT id FROM counted") == 1


async def test_a_late_error_is_found_where_it_is(database_url: str, write: Write) -> None:
    lines = [f"CREATE TABLE item_{number} (id int);" for number in range(100)]
    for wrong in ("SELECT wrong;", "SELEKT 1;"):
        with pytest.raises(StatementError, match="Statement 71 of 101") as caught:
            await initialize(database_url, write("\n".join([*lines[:70], wrong, *lines[70:]])))

        assert caught.value.line == 71


# What a script or a database can do to the session -------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "SET search_path = ''",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "CREATE ROLE {role}; SET ROLE {role}",
        "CREATE ROLE {role}; SET SESSION AUTHORIZATION {role}",
        "SET client_min_messages = error; SET standard_conforming_strings = on; SET DateStyle = 'German, DMY'",
    ],
)
async def test_the_history_is_written_whatever_the_script_sets(
    change: str, connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    path = write(SCRIPT + change.format(role=f"role_{database}"))
    try:
        await initialize(database_url, path)

        assert await count(connection, "public.dbinit_history") == 1
        assert (await initialize(database_url, path)).outcome is Outcome.CURRENT
    finally:
        await connection.execute(f"DROP ROLE IF EXISTS role_{database}")


HOSTILE = """
CREATE SCHEMA evil;
SET search_path = evil;
CREATE FUNCTION evil.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION evil.pg_try_advisory_xact_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.to_json(anyelement) RETURNS json LANGUAGE sql AS 'SELECT json(evil.trap()::text)';
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '-infinity'::timestamptz $$;
CREATE FUNCTION evil.current_schemas(boolean) RETURNS name[] LANGUAGE sql AS $$ SELECT '{evil}'::name[] $$;
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.trap());
CREATE DOMAIN evil.int8 AS pg_catalog.int8 CHECK (evil.trap());
CREATE DOMAIN evil.timestamptz AS pg_catalog.timestamptz CHECK (evil.trap());
CREATE FUNCTION evil.same(name, pg_catalog.text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.same(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.same(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = pg_catalog.text, FUNCTION = evil.same);
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.same);
CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.same);
CREATE VIEW evil.pg_class AS SELECT 1 AS trapped;
CREATE VIEW evil.pg_namespace AS SELECT 1 AS trapped;
CREATE TABLE evil.dbinit_history (trapped int);
"""


async def test_a_hostile_search_path_does_not_reach_our_own_sql(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    await connection.execute(HOSTILE)
    await connection.execute(f"ALTER DATABASE {database} SET search_path = evil, pg_catalog, public")
    script = "CREATE TABLE public.item (id int);"

    report = await initialize(database_url, write(script))
    again = await initialize(database_url, write(script))

    assert (report.outcome, again.outcome) == (Outcome.APPLIED, Outcome.CURRENT)
    assert await count(connection, "evil.dbinit_history") == 0
    sane = "SELECT applied_at > now() - interval '1 hour' FROM public.dbinit_history"
    assert await connection.fetchval(f"SET search_path = pg_catalog; {sane}".rpartition("; ")[2])
    kinds = "SELECT DISTINCT typnamespace::regnamespace::text FROM pg_attribute JOIN pg_type t ON t.oid = atttypid"
    await connection.execute("SET search_path = pg_catalog")
    found = await connection.fetch(f"{kinds} WHERE attrelid = 'public.dbinit_history'::regclass")
    assert [row[0] for row in found] == ["pg_catalog"]


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read", "read uncommitted"])
async def test_the_default_isolation_makes_no_difference(
    isolation: str, connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    await connection.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = '{isolation}'")
    await connection.execute(f"ALTER DATABASE {database} SET default_transaction_deferrable = on")

    assert (await initialize(database_url, write(SCRIPT))).outcome is Outcome.APPLIED
    assert (await initialize(database_url, write(SCRIPT))).outcome is Outcome.CURRENT


async def test_a_read_only_database_is_an_error_and_stays_as_it_is(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    await connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")

    with pytest.raises(ReadOnlyDatabaseError) as caught:
        await initialize(database_url, write(SCRIPT))

    assert caught.value.exit_code == 1
    assert "target_session_attrs" in caught.value.advice
    assert not await exists(connection, "item")
    assert not await exists(connection, "dbinit_history")


async def test_an_initialized_read_only_database_is_ready(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    await initialize(database_url, write(SCRIPT))
    await connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")

    assert (await initialize(database_url, write(SCRIPT))).outcome is Outcome.CURRENT


# Rights -------------------------------------------------------------------------------------------


@pytest.fixture
async def weak_url(connection: asyncpg.Connection, database: str, server: Server) -> Any:
    """The URL of a role that may connect and nothing else."""
    role = f"weak_{database}"
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    try:
        yield server.url(database, user=role)
    finally:
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_role_without_rights_gets_one_clear_error(
    weak_url: str, connection: asyncpg.Connection, write: Write
) -> None:
    with pytest.raises(PrivilegeError) as caught:
        await initialize(weak_url, write(SCRIPT))

    assert "permission denied for schema public" in str(caught.value)
    assert "GRANT" in caught.value.advice
    assert not await exists(connection, "dbinit_history")


async def test_a_role_that_may_not_read_the_history_gets_one_clear_error(
    weak_url: str, database: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write(SCRIPT))
    with pytest.raises(PrivilegeError, match="permission denied for schema public"):
        await initialize(weak_url, write(SCRIPT))

    await connection.execute(f"GRANT USAGE ON SCHEMA public TO weak_{database}")
    with pytest.raises(PrivilegeError, match="permission denied for table dbinit_history"):
        await initialize(weak_url, write(SCRIPT))


async def test_a_role_that_may_only_read_the_history_finds_the_schema_there(
    weak_url: str, database: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await initialize(database_url, write(SCRIPT))
    role = f"weak_{database}"
    await connection.execute(f"GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT ON dbinit_history TO {role}")

    assert (await initialize(weak_url, write(SCRIPT))).outcome is Outcome.CURRENT
    initializer = Initializer(options(weak_url, write(SCRIPT)))
    assert (await initializer.verify()).outcome is Outcome.CURRENT


# The object ---------------------------------------------------------------------------------------


def test_construction_needs_neither_a_loop_nor_a_server_nor_the_file(tmp_path: Path) -> None:
    initializer = Initializer(options("postgresql://nobody@nowhere.invalid/none", tmp_path / "missing.sql"))

    assert initializer.readiness == Readiness(attempts=1, file=str(tmp_path / "missing.sql"))


async def test_the_observer_sees_every_step_in_order(database_url: str, write: Write) -> None:
    seen: list[Readiness] = []
    path = write(SCRIPT)
    async with Initializer(options(database_url, path), observer=seen.append) as initializer:
        assert initializer.readiness.ready
        assert initializer.readiness == seen[-1], "time stands still once the start has ended"

    assert [phase for phase, _ in groupby(shot.phase for shot in seen)] == [
        Phase.CONNECTING,
        Phase.CHECKING,
        Phase.APPLYING,
        Phase.READY,
        Phase.CLOSED,
    ]
    applying = [(shot.statement, shot.statements) for shot in seen if shot.phase is Phase.APPLYING]
    assert applying[:2] == [(0, 3), (1, 3)]
    assert applying == sorted(applying)
    assert {(shot.attempt, shot.attempts, shot.file, shot.error) for shot in seen} == {(1, 1, str(path), "")}
    elapsed = [shot.elapsed for shot in seen]
    assert elapsed == sorted(elapsed)
    assert elapsed[-1] > 0


async def test_a_failure_shows_in_the_readiness_by_its_class_only(database_url: str, write: Write) -> None:
    initializer = Initializer(options(database_url, write("SELECT wrong")))
    with pytest.raises(StatementError):
        await initializer.initialize()

    assert initializer.readiness.phase is Phase.FAILED
    assert initializer.readiness.error == "StatementError"


async def test_a_start_that_failed_can_be_tried_again(database_url: str, write: Write) -> None:
    initializer = Initializer(options(database_url, write("SELECT wrong")))
    with pytest.raises(StatementError):
        await initializer.initialize()
    write(SCRIPT)

    assert (await initializer.initialize()).outcome is Outcome.APPLIED
    assert initializer.readiness.ready
    assert initializer.readiness.error == ""


async def test_initializing_twice_and_closing_twice_are_harmless(database_url: str, write: Write) -> None:
    initializer = Initializer(options(database_url, write(SCRIPT)))

    assert (await initializer.initialize()).outcome is Outcome.APPLIED
    assert (await initializer.initialize()).outcome is Outcome.CURRENT
    await initializer.close()
    await initializer.close()
    assert initializer.readiness.phase is Phase.CLOSED


async def test_entering_the_context_raises_and_closes_when_it_fails(database_url: str, tmp_path: Path) -> None:
    initializer = Initializer(options(database_url, tmp_path / "missing.sql"))
    with pytest.raises(SourceError):
        await initializer.__aenter__()

    assert initializer.readiness.phase is Phase.CLOSED


async def test_no_session_is_left_behind(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    for script in (SCRIPT, SCRIPT, "SELECT wrong"):
        with suppress(StatementError):
            await initialize(database_url, write(script))

    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
    assert await connection.fetchval(others, database) == 0


async def test_the_history_lives_in_a_schema_that_is_made_for_it(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    schema = 'of "its.own"'
    report = await initialize(database_url, write(SCRIPT), history_schema=schema)
    again = await initialize(database_url, write(SCRIPT), history_schema=schema)

    assert (report.outcome, again.outcome) == (Outcome.APPLIED, Outcome.CURRENT)
    assert not await exists(connection, "public.dbinit_history")
    assert await count(connection, '"of ""its.own""".dbinit_history') == 1


async def test_settings_are_all_checked_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        options("nonsense", tmp_path, retry_attempts=-1, on_change="never")

    assert len(caught.value.problems) == 3


# Looking only -------------------------------------------------------------------------------------


async def status(url: str, path: Path, **changes: Any) -> tuple[Decision, int]:
    initializer = Initializer(options(url, path, **changes))
    decision, history = await initializer.status()
    await initializer.close()
    return decision, len(history)


async def test_status_says_what_would_be_done_and_changes_nothing(
    connection: asyncpg.Connection, database: str, database_url: str, server: Server, write: Write
) -> None:
    before = server.dump(database)
    assert await status(database_url, write(SCRIPT)) == (Decision.APPLY, 0)
    assert server.dump(database) == before
    assert not await exists(connection, "dbinit_history")

    await initialize(database_url, write(SCRIPT))
    assert await status(database_url, write(SCRIPT)) == (Decision.SKIP, 1)
    assert await status(database_url, write(IDEMPOTENT)) == (Decision.RERUN, 1)
    assert await status(database_url, write(IDEMPOTENT), on_change="warn") == (Decision.WARN, 1)
    assert await status(database_url, write(IDEMPOTENT), on_change="fail") == (Decision.REFUSE, 1)
    assert await count(connection, "dbinit_history") == 1


async def test_status_of_a_database_to_adopt(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    await connection.execute("CREATE TABLE users ()")

    assert await status(database_url, write(SCRIPT)) == (Decision.ADOPT, 0)
    assert not await exists(connection, "dbinit_history")


async def test_looking_at_a_ready_service_leaves_it_ready(database_url: str, write: Write) -> None:
    async with Initializer(options(database_url, write(SCRIPT))) as initializer:
        await initializer.status()
        await initializer.wait()

        assert initializer.readiness.ready


async def test_verify_creates_nothing_and_gives_up(
    connection: asyncpg.Connection, database: str, database_url: str, server: Server, write: Write
) -> None:
    before = server.dump(database)
    initializer = Initializer(options(database_url, write(SCRIPT), lock_wait="0"))
    with pytest.raises(SchemaMissingError, match="applies nothing"):
        await initializer.verify()

    assert initializer.readiness.phase is Phase.FAILED
    assert server.dump(database) == before
    assert not await exists(connection, "dbinit_history")
