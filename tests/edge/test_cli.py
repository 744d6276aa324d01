"""`python -m dbinit` as a process: exit codes, output, signals."""

import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dbinit import ExitCode, __version__, cli
from dbinit.lock import lock_key
from dbinit.settings import KNOWN_VARIABLES
from tests.kit.network import dead_port, silent_peer
from tests.kit.patience import eventually_async
from tests.kit.process import Finished, Process, dbinit, finished, run_dbinit, run_on_terminal, running
from tests.kit.server import Server

Write = Callable[[str], Path]
SCRIPT = """\
CREATE TABLE item (id int);
INSERT INTO item VALUES (1);
"""


def settings(url: str, path: Path, **more: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "MIGRATION_PATH": str(path), "DBINIT_SENTINEL": "", **more}


def parsed(end: Finished) -> dict[str, Any]:
    """Return the one JSON object on standard output."""
    found = json.loads(end.out)
    assert isinstance(found, dict)
    return found


def nowhere() -> str:
    return f"postgresql://x@127.0.0.1:{dead_port()}/x"


# What a newcomer sees -------------------------------------------------------------------------------


def test_help_tells_commands_settings_exit_codes_and_how_to_try_it() -> None:
    end = run_dbinit("--help")

    assert end.code == 0
    of_services = {"DBINIT_MODE", "DBINIT_ON_FAILURE"}
    words = {"up", "status", "wait", "--json", "130", "143", "embedded:///", *(KNOWN_VARIABLES - of_services)}
    assert {word for word in words if word not in end.out} == set()
    assert all(f"{int(code)} " in end.out for code in ExitCode)


@pytest.mark.parametrize("command", ["up", "status", "wait"])
def test_every_command_has_its_help(command: str) -> None:
    end = run_dbinit(command, "--help")

    assert end.code == 0
    assert "--url" in end.out


def test_version() -> None:
    assert run_dbinit("--version").out == f"dbinit {__version__}\n"


@pytest.mark.parametrize("arguments", [["sideways"], ["--nonsense"], ["wait", "--timeout", "soon"]])
def test_a_wrong_usage_is_2(arguments: list[str]) -> None:
    end = run_dbinit(*arguments)

    assert end.code == ExitCode.USAGE
    assert "usage:" in end.err


# Commands -------------------------------------------------------------------------------------------


async def test_up_twice(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    env = settings(database_url, write(SCRIPT))
    first, second = run_dbinit(env=env), run_dbinit("up", env=env)

    assert (first.code, second.code) == (0, 0)
    assert "Applied " in first.err
    assert second.err.splitlines() == [
        "Initializing database...",
        "Attempting to connect to database (attempt 1/5)...",
        "Successfully connected to database",
        "Database already initialized, skipping migration",
    ]
    assert first.out == second.out == ""
    assert await connection.fetchval("SELECT count(*) FROM item") == 1


def test_up_as_json(database_url: str, write: Write) -> None:
    path = write(SCRIPT)
    first = run_dbinit("--json", env=settings(database_url, path))
    second = run_dbinit("up", "--json", env=settings(database_url, path))

    applied, current = parsed(first), parsed(second)
    assert applied == {
        "outcome": "applied",
        "script": str(path),
        "checksum": applied["checksum"],
        "statements": 2,
        "seconds": applied["seconds"],
        "migrations": [],
    }
    assert current["outcome"] == "current"


async def test_status_before_and_after(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    path = write(SCRIPT)
    env = settings(database_url, path)
    before = run_dbinit("status", env=env)
    assert (before.code, before.out) == (0, f"{path}: was never applied; `up` runs it\n")
    assert await connection.fetchval("SELECT to_regclass('dbinit_history')") is None

    run_dbinit(env=env)
    after = run_dbinit("status", env=env)
    headline, row = after.out.splitlines()
    assert headline == f"{path}: is applied, nothing to do"
    assert "applied" in row
    assert "init-db.sql" in row


def test_status_as_json(database_url: str, write: Write) -> None:
    env = settings(database_url, write(SCRIPT))
    before = parsed(run_dbinit("status", "--json", env=env))
    run_dbinit(env=env)
    after = parsed(run_dbinit("--json", "status", env=env))

    assert (before["decision"], before["history"]) == ("apply", [])
    assert after["decision"] == "skip"
    assert after["history"][0]["outcome"] == "applied"


def test_wait_needs_no_file(database_url: str) -> None:
    env = {"DATABASE_URL": database_url, "MIGRATION_PATH": "/missing.sql"}

    assert run_dbinit("wait", env=env).code == 0
    assert parsed(run_dbinit("wait", "--json", env=env)) == {"outcome": "reached"}


def test_wait_waits_for_a_late_server(own_server: Server, own_url: str) -> None:
    own_server.stop()
    with dbinit("wait", "--timeout", "30s", env={"DATABASE_URL": own_url, "DB_RETRY_DELAY": "30s"}) as process:
        process.wait_for("failed")
        own_server.start()

        assert finished(process).code == 0


def test_wait_gives_up_after_its_time_out() -> None:
    with silent_peer() as port:
        url = f"postgresql://x@127.0.0.1:{port}/x"
        began = time.monotonic()
        end = run_dbinit("wait", "--timeout", "300ms", env={"DATABASE_URL": url, "DB_RETRY_DELAY": "100ms"})

    assert end.code == ExitCode.UNREACHABLE
    assert time.monotonic() - began < 5


async def test_options_win_over_the_environment(
    connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    env = settings(nowhere(), Path("missing.sql"))
    end = run_dbinit("--url", database_url, "up", "--path", str(write(SCRIPT)), env=env)

    assert end.code == 0
    assert await connection.fetchval("SELECT count(*) FROM item") == 1


def test_quiet_says_nothing_when_all_is_well_and_still_tells_errors(database_url: str, write: Write) -> None:
    env = settings(database_url, write(SCRIPT))
    assert run_dbinit("-q", env=env).said == ""

    end = run_dbinit("-q", env=settings(database_url, write("SELECT wrong")))
    assert end.code == ExitCode.FAILED
    assert 'column "wrong" does not exist' in end.err


# How it fails ---------------------------------------------------------------------------------------


async def failing(code: ExitCode, url: str, write: Write, connection: asyncpg.Connection) -> dict[str, str]:
    """Return settings that end with this code."""
    path = write(SCRIPT)
    match code:
        case ExitCode.FAILED:
            return settings(url, write(SCRIPT + "SELECT wrong;"))
        case ExitCode.USAGE:
            return settings(url, path, DB_RETRY_DELAY="soon")
        case ExitCode.UNREACHABLE:
            return settings(nowhere(), path, DB_RETRY_ATTEMPTS="1")
        case ExitCode.HISTORY:
            await connection.execute("CREATE TABLE dbinit_history (version int)")
            return settings(url, path)
        case ExitCode.LOCKED:
            await connection.execute("SELECT pg_advisory_lock($1)", lock_key("public"))
            return settings(url, path, DBINIT_LOCK_WAIT="100ms")
    return settings(url, path)


@pytest.mark.parametrize("code", ExitCode, ids=lambda code: str(code.name))
async def test_exit_codes_and_their_json(
    code: ExitCode, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    env = await failing(code, database_url, write, connection)
    plain = run_dbinit(env=env)
    machine = run_dbinit("--json", "-q", env=env)

    assert (plain.code, machine.code) == (code, code)
    assert plain.out == ""
    if code:
        error = parsed(machine)["error"]
        assert error["exit_code"] == code
        assert error["type"].endswith("Error")
        assert error["message"].splitlines()[0] in plain.err
    else:
        assert "error" not in parsed(machine)


def test_a_failed_statement_as_json_says_where(database_url: str, write: Write) -> None:
    error = parsed(run_dbinit("--json", env=settings(database_url, write(SCRIPT + "SELECT wrong;"))))["error"]

    assert (error["type"], error["sqlstate"], error["line"], error["column"]) == ("StatementError", "42703", 3, 8)
    assert error["outcome"].startswith("Everything was rolled back")


# Signals --------------------------------------------------------------------------------------------

SIGNALS = [signal.SIGTERM, signal.SIGINT]


def interrupt(process: Process, number: signal.Signals) -> None:
    """Send the signal; the process must be gone long before whatever it waits for, with the signal's code."""
    process.send(number)
    end = finished(process, 5)
    assert end.code == 128 + number
    assert number.name in end.err


async def assert_nothing_is_left(connection: asyncpg.Connection) -> None:
    """No session within two seconds, and nothing applied."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    async def alone() -> bool:
        return bool(await connection.fetchval(others) == 0)

    await eventually_async(alone, 2.0)
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert await connection.fetchval(tables) == 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: str(number.name))
async def test_a_signal_in_a_statement(
    number: signal.Signals, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

    async def asleep() -> bool:
        return bool(await connection.fetchval(sleeping))

    with dbinit(env=settings(database_url, write(SCRIPT + "SELECT pg_sleep(60);"))) as process:
        await eventually_async(asleep)
        interrupt(process, number)

    await assert_nothing_is_left(connection)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: str(number.name))
async def test_a_signal_while_waiting_for_the_lock(
    number: signal.Signals, connection: asyncpg.Connection, database_url: str, write: Write
) -> None:
    await connection.execute("SELECT pg_advisory_lock($1)", lock_key("public"))
    with dbinit(env=settings(database_url, write(SCRIPT))) as process:
        process.wait_for("Another starter holds the migration lock")
        interrupt(process, number)

    await assert_nothing_is_left(connection)


@pytest.mark.parametrize("command", ["up", "wait"])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: str(number.name))
def test_a_signal_while_connecting(number: signal.Signals, command: str, write: Write) -> None:
    with silent_peer() as port:
        env = settings(f"postgresql://x@127.0.0.1:{port}/x", write(SCRIPT))
        with dbinit(command, env=env) as process:
            process.wait_for("Attempting to connect")
            interrupt(process, number)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: str(number.name))
def test_a_signal_between_two_attempts(number: signal.Signals, write: Write) -> None:
    with dbinit(env=settings(nowhere(), write(SCRIPT), DB_RETRY_DELAY="30s")) as process:
        process.wait_for("failed")
        interrupt(process, number)


# On a terminal --------------------------------------------------------------------------------------

SLOW = "SELECT pg_sleep(0.1);\n" * 4


def test_a_terminal_gets_a_bar(database_url: str, write: Write) -> None:
    path = write(SLOW)
    code, text = run_on_terminal(sys.executable, "-m", "dbinit", env=settings(database_url, path))

    assert code == 0
    assert "\x1b[" in text
    assert "/4" in text
    assert "Applied " in text


def test_a_terminal_gets_no_bar_where_there_is_nothing_to_do(database_url: str, write: Write) -> None:
    env = settings(database_url, write(SCRIPT))
    run_dbinit(env=env)
    code, text = run_on_terminal(sys.executable, "-m", "dbinit", env=env)

    assert code == 0
    assert "\x1b[" not in text
    assert "skipping migration" in text


def test_a_terminal_gets_the_error_whole(database_url: str, write: Write) -> None:
    code, text = run_on_terminal(
        sys.executable, "-m", "dbinit", env=settings(database_url, write(SLOW + "SELECT wrong;"))
    )

    assert code == ExitCode.FAILED
    assert 'ERROR: column "wrong" does not exist (SQLSTATE 42703)' in text
    assert "Traceback" not in text


def test_a_log_file_gets_plain_lines(database_url: str, write: Write) -> None:
    end = run_dbinit(env=settings(database_url, write(SLOW)))

    assert "\x1b" not in end.said
    assert end.err.splitlines()[3:] == [
        line for line in end.err.splitlines() if line.startswith(("Running", "Applied"))
    ]


def test_a_log_tells_from_time_to_time_how_far_the_work_has_come(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_TELL_EVERY", 0.02)
    logger = logging.getLogger("dbinit")
    for name in ("handlers", "propagate", "level"):  # which are as before then
        monkeypatch.setattr(logger, name, getattr(logger, name))
    (tmp_path / "001_one.sql").write_text("SELECT pg_sleep(0.2);\nVACUUM;\n")
    assert cli.main(["--url", database_url, "--path", str(tmp_path)]) == ExitCode.OK
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("1/1 ")]
    assert any(re.fullmatch(r"1/1 .*/001_one\.sql: statement 1 of 2, \d+ms", line) for line in told), told


def test_without_rich_a_terminal_gets_plain_lines(database_url: str, write: Write) -> None:
    blocked = "import sys; sys.modules['rich'] = None; from dbinit.cli import main; sys.exit(main())"
    code, text = run_on_terminal(sys.executable, "-c", blocked, env=settings(database_url, write(SLOW)))

    assert code == 0
    assert "\x1b[" not in text


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    script = tmp_path / "many.sql"
    script.write_text("SELECT 1;\n" * 20_000)
    command = f"{sys.executable} -m dbinit split {script} | head -1"
    with running("bash", "-o", "pipefail", "-c", command) as process:
        assert process.wait() == 0
        assert process.out.startswith(f"{script}:1:1: SELECT 1")
        assert process.err == ""


def test_a_closed_output_is_no_error(write: Write) -> None:
    with running("sh", "-c", f"{sys.executable} -m dbinit split {write(SCRIPT)} >&-") as process:
        assert finished(process).code == 0


def test_ctrl_c_while_standard_input_is_read() -> None:
    reading, writing = os.pipe()
    with dbinit("split", "-", stdin=reading) as process:
        os.close(reading)
        os.write(writing, b"-" * 1_000_000)  # more than a pipe holds, so that some of it was read
        process.send(signal.SIGINT)
        assert finished(process).code == 130
    os.close(writing)
