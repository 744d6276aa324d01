"""Scripts that control their own transactions: run step by step, and resumed where they were interrupted."""

from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from dbinit import FileChangedError, HistoryError, Outcome, ReadOnlyDatabaseError, ScriptError, StatementError
from tests.kit.patience import eventually_async
from tests.kit.process import dbinit
from tests.kit.starts import initialize

Write = Callable[[str], Path]

SCRIPT = """\
SET search_path = public;
CREATE TABLE one (id int);
BEGIN;
CREATE TABLE two (id int);
INSERT INTO two VALUES (1);
COMMIT;
CREATE INDEX CONCURRENTLY one_id ON one (id);
INSERT INTO one VALUES (1);
BEGIN;
INSERT INTO two VALUES (2);
{last}
COMMIT;
VACUUM one;
"""
# Ends its own session the first time: a sequence does not go back.
END_ONCE = """\
CREATE SEQUENCE ended;
CREATE FUNCTION end_once() RETURNS bool LANGUAGE sql AS
    $$ SELECT CASE WHEN nextval('ended') = 1 THEN pg_terminate_backend(pg_backend_pid()) END $$;
"""
AT_THE_RECORD = """\
CREATE FUNCTION end_at_record() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM end_once(); RETURN NEW; END $$;
CREATE TRIGGER record BEFORE UPDATE ON dbinit_history FOR EACH ROW WHEN (NEW.statements > 2)
    EXECUTE FUNCTION end_at_record();
"""
# Fails as a conflict of serializable transactions does, each time.
AT_THE_COMMIT = """\
CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON three DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION conflict();
"""


async def rows(connection: asyncpg.Connection, table: str) -> int:
    number = await connection.fetchval(f"SELECT count(*) FROM {table}")
    assert isinstance(number, int)
    return number


async def test_it_runs_to_its_end_and_is_recorded(
    connection: asyncpg.Connection, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dbinit")
    report = await initialize(database_url, write(SCRIPT.format(last="SELECT 1;")))

    assert (report.outcome, report.statements) == (Outcome.APPLIED, 13)
    assert "because of line 3: BEGIN" in caplog.text
    recorded = await connection.fetchrow("SELECT outcome, statements FROM dbinit_history")
    assert recorded is not None
    assert tuple(recorded) == ("applied", 13)
    assert (await initialize(database_url, write(SCRIPT.format(last="SELECT 1;")))).outcome is Outcome.CURRENT


async def test_a_failed_statement_keeps_what_was_committed_and_says_how_far_it_came(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    path = write(SCRIPT.format(last="SELECT 1/0;"))
    with pytest.raises(StatementError, match="division by zero") as caught:
        await initialize(database_url, path)

    assert caught.value.line == 11
    assert "The first 8 of 13 statements are applied" in caught.value.outcome
    assert (await rows(connection, "one"), await rows(connection, "two")) == (1, 1), "the open block was rolled back"


async def test_a_refused_commit_is_tried_again_as_often_as_wanted_and_counts_for_nothing(
    database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    conflict = "CREATE TABLE three (id int);\n" + AT_THE_COMMIT + "VACUUM three;\nBEGIN;\n{}COMMIT;\n"
    with pytest.raises(StatementError, match="Tried 2 times") as caught:
        await initialize(database_url, write(conflict.format("INSERT INTO three VALUES (1);\n")), lock_retries=1)

    assert caught.value.outcome == "The first 4 of 7 statements are applied; the next start goes on there."
    assert caplog.text.count("trying again") == 1


async def test_a_block_that_lets_nothing_be_recorded_is_told_with_how_far_it_came(
    database_url: str, write: Write
) -> None:
    with pytest.raises(ReadOnlyDatabaseError, match="refused to record how far") as caught:
        await initialize(database_url, write("SELECT 1;\nBEGIN READ ONLY;\nSELECT 2;\nCOMMIT;\n"))
    assert caught.value.outcome == "The first 1 of 4 statements is applied; the next start goes on there."


async def test_a_mended_script_goes_on_where_it_failed_and_runs_nothing_twice(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    with pytest.raises(StatementError):
        await initialize(database_url, write(SCRIPT.format(last="SELECT 1/0;")))

    await initialize(database_url, write(SCRIPT.format(last="SELECT 1;")))

    assert (await rows(connection, "one"), await rows(connection, "two")) == (1, 2)
    assert await connection.fetchval("SELECT outcome FROM dbinit_history") == "applied"


async def test_what_was_run_may_not_be_edited(database_url: str, write: Write) -> None:
    with pytest.raises(StatementError):
        await initialize(database_url, write(SCRIPT.format(last="SELECT 1/0;")))

    with pytest.raises(FileChangedError, match="interrupted behind statement 8"):
        await initialize(
            database_url, write(SCRIPT.format(last="SELECT 1;").replace("two (id int)", "two (id bigint)"))
        )


async def test_a_record_that_was_tampered_with_is_not_guessed_at(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    with pytest.raises(StatementError):
        await initialize(database_url, write(SCRIPT.format(last="SELECT 1/0;")))
    await connection.execute("UPDATE dbinit_history SET progress = progress || ' [oops'")

    with pytest.raises(HistoryError, match="cannot be read"):
        await initialize(database_url, write(SCRIPT.format(last="SELECT 1;")))


@pytest.mark.parametrize(("kept", "expected"), [(8, "applied"), (6, "unfinished")], ids=["all that was run", "less"])
async def test_a_script_that_was_cut_short_is_finished_or_refused(
    kept: int, expected: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    script = SCRIPT.format(last="SELECT 1/0;")
    with pytest.raises(StatementError):
        await initialize(database_url, write(script))
    shorter = "".join(script.splitlines(keepends=True)[:kept])

    if expected == "applied":
        assert (await initialize(database_url, write(shorter))).outcome is Outcome.APPLIED
    else:
        with pytest.raises(FileChangedError, match="interrupted behind statement 8"):
            await initialize(database_url, write(shorter))

    assert await connection.fetchval("SELECT outcome FROM dbinit_history") == expected


async def test_settings_of_the_session_are_made_again(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute("CREATE SCHEMA inner_room")
    script = "SET search_path = inner_room; CREATE TABLE a (); VACUUM a; {last} CREATE TABLE b ();"
    with pytest.raises(StatementError):
        await initialize(database_url, write(script.format(last="SELECT 1/0;")))

    await initialize(database_url, write(script.format(last="SELECT 1;")))

    assert await connection.fetchval("SELECT to_regclass('inner_room.b')") is not None


async def test_settings_that_were_rolled_back_are_not_made_again(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    script = "CREATE TABLE a (); BEGIN; SET search_path = pg_temp; ROLLBACK; VACUUM a; {last} CREATE TABLE b ();"
    with pytest.raises(StatementError):
        await initialize(database_url, write(script.format(last="SELECT 1/0;")))

    await initialize(database_url, write(script.format(last="SELECT 1;")))

    assert await connection.fetchval("SELECT to_regclass('public.b')") is not None


async def test_a_killed_run_is_resumed(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    path = write(
        "CREATE TABLE one (id int); VACUUM one; INSERT INTO one VALUES (1); SELECT pg_sleep(30) FROM one WHERE id = 1;"
    )
    env = {"DATABASE_URL": database_url, "MIGRATION_PATH": str(path)}
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()"

    async def sleeps() -> bool:
        return bool(await connection.fetchval(busy))

    with dbinit(env=env) as process:
        await eventually_async(sleeps)
        process.popen.kill()
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.execute("UPDATE one SET id = 2")

    with dbinit(env=env) as process:
        assert process.wait() == 0, process.err
        assert "going on behind statement 3" in process.err
    assert await rows(connection, "one") == 1


@pytest.mark.parametrize(
    "statement",
    ["CREATE INDEX CONCURRENTLY one_id ON one (id);", "DROP INDEX CONCURRENTLY one_n;"],
    ids=["made", "gone"],
)
async def test_what_was_done_before_the_record_is_taken_for_success(
    statement: str, connection: asyncpg.Connection, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    script = "CREATE TABLE one (id int, n int); CREATE INDEX one_n ON one (n); {middle} {statement} SELECT 1;"
    with pytest.raises(StatementError):
        await initialize(database_url, write(script.format(middle="SELECT 1/0;", statement=statement)))
    await connection.execute(f"{END_ONCE}{AT_THE_RECORD}")

    report = await initialize(database_url, write(script.format(middle="", statement=statement)))

    assert report.outcome is Outcome.APPLIED
    assert caplog.text.count("connecting again") == 1


async def test_an_invalid_index_that_cannot_be_dropped_is_not_taken_for_the_one_wanted(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute("CREATE TABLE one (id int); INSERT INTO one VALUES (1), (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY one_id ON one (id)")
    path = write("SET lock_timeout = '100ms'; CREATE INDEX CONCURRENTLY IF NOT EXISTS one_id ON one (id);")

    async with connection.transaction():
        await connection.execute("LOCK TABLE one IN ACCESS SHARE MODE")
        with pytest.raises(StatementError, match="An invalid index one_id is there, and stays"):
            await initialize(database_url, path, lock_retries=0)

    # Half dropped by now, it is not even looked at when something is written.
    assert (await initialize(database_url, path)).outcome is Outcome.APPLIED
    assert await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_id'::regclass")


async def test_what_somebody_else_has_made_is_an_error_each_time(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute("CREATE TABLE one (id int, n int); CREATE INDEX one_id ON one (n)")
    path = write("CREATE INDEX CONCURRENTLY one_id ON one (id);")

    for _ in range(2):
        with pytest.raises(StatementError, match="already exists"):
            await initialize(database_url, path)

    assert await connection.fetchval("SELECT outcome FROM dbinit_history") == "unfinished"


async def test_what_was_done_by_halves_is_not_taken_for_success(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute(END_ONCE)
    path = write("DO $$ BEGIN CREATE TABLE one (); COMMIT; PERFORM end_once(); CREATE TABLE two (); END $$;")

    with pytest.raises(StatementError, match='"one" already exists'):
        await initialize(database_url, path)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("CREATE TABLE t (); BEGIN; CREATE TABLE u ();", "begun and never committed"),
        ("CREATE TABLE t (); COMMIT;", "no transaction is begun that this ends"),
        ("BEGIN; CREATE TABLE t (); VACUUM t; COMMIT;", "cannot run inside a transaction"),
        ("CREATE TABLE t (); PREPARE TRANSACTION 'x';", "two-phase"),
    ],
)
async def test_what_cannot_work_is_refused_before_anything_runs(
    script: str, said: str, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    with pytest.raises(ScriptError, match=said):
        await initialize(database_url, write(script))

    assert await connection.fetchval("SELECT to_regclass('t')") is None


async def test_the_lock_beside_it_may_be_held_for_longer_than_a_transaction_may_take(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute(f"ALTER DATABASE {database} SET transaction_timeout = '500ms'")
    steps = "SELECT pg_sleep(0.3); VACUUM one; " * 3

    report = await initialize(database_url, write(f"CREATE TABLE one (); {steps}"))

    assert report.outcome is Outcome.APPLIED
    assert "connecting again" not in caplog.text


async def test_two_starters_run_it_once(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    path = write("CREATE TABLE one (id int); VACUUM one; SELECT pg_sleep(0.3); INSERT INTO one VALUES (1);")
    env = {"DATABASE_URL": database_url, "MIGRATION_PATH": str(path)}
    with dbinit(env=env) as first, dbinit(env=env) as second, dbinit(env=env) as third:
        assert [process.wait() for process in (first, second, third)] == [0, 0, 0]

    assert await rows(connection, "one") == 1
    assert await rows(connection, "dbinit_history") == 1


async def test_progress_is_recorded_whatever_role_the_script_takes(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    role = f"{database}_plain"
    await connection.execute(f"CREATE ROLE {role}; CREATE SCHEMA side AUTHORIZATION {role}")
    try:
        script = f"SET ROLE {role};\nCREATE TABLE side.one ();\nVACUUM side.one;\nCREATE TABLE side.two ();"
        assert (await initialize(database_url, write(script))).statements == 4
        owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'side.two'::regclass"
        assert await connection.fetchval(owner) == role
    finally:
        await connection.execute(f"DROP SCHEMA side CASCADE; DROP ROLE {role}")
