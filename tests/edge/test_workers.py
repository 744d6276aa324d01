"""Services of several workers: one of them applies, and none answers 200 before that."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from dbinit import ExitCode
from tests.kit.network import dead_port
from tests.kit.patience import eventually, eventually_async
from tests.kit.process import Process, running
from tests.kit.service import APP, get

SERVERS = {
    "uvicorn": ["uvicorn", "service:app", "--app-dir", "{folder}", "--port", "0", "--workers", "2"],
    "gunicorn": [
        *("gunicorn", "service:app", "--chdir", "{folder}", "--bind", "127.0.0.1:0", "--workers", "2"),
        *("--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket"),
    ],
}
LISTENS = re.compile(r"(?:running on|Listening at:) (http://127\.0\.0\.1:\d+)")
KEY = 7
SCRIPT = f"""\
CREATE TABLE item (id int);
INSERT INTO item VALUES (1), (2);
SELECT pg_advisory_xact_lock({KEY});
"""
STUCK = """
SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted
"""


def status(url: str) -> int:
    """Return what is answered; 0 where nobody listens."""
    try:
        return get(url).status_code
    except httpx.TransportError:
        return 0


class Workers:
    """A service of two workers."""

    def __init__(self, process: Process, pids: Path) -> None:
        self.process = process
        self._pids = pids

    @property
    def pids(self) -> list[int]:
        """The workers begun so far, each of which was about to apply."""
        return [int(line) for line in self._pids.read_text().split()] if self._pids.exists() else []

    def statuses(self, number: int, path: str = "/healthz") -> set[int]:
        """Ask so many times, each on a connection of its own, which any worker may take."""
        found = LISTENS.search(self.process.err)
        assert found, self.process.err
        return {status(found[1] + path) for _ in range(number)}


@contextmanager
def served(server: str, folder: Path, script: Path, **env: str) -> Iterator[Workers]:
    """Run the service with two workers."""
    (folder / "service.py").write_text(APP)
    command = [word.format(folder=folder) for word in SERVERS[server]]
    chosen = {"HEALTH": "{}", "LIFESPAN": "{}", "PIDS": str(folder / "pids"), "DBINIT_SENTINEL": ""}
    with running(sys.executable, "-m", *command, env={**chosen, "MIGRATION_PATH": str(script), **env}) as process:
        eventually(lambda: LISTENS.search(process.err) is not None, say=lambda: process.err)
        yield Workers(process, folder / "pids")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "init-db.sql"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("kind", SERVERS)
async def test_one_worker_applies_and_none_is_ready_before_even_where_they_are_killed(
    kind: str, connection: asyncpg.Connection, database_url: str, script: Path, tmp_path: Path
) -> None:
    async def is_stuck() -> bool:
        return bool(await connection.fetchval(STUCK))

    await connection.execute(f"SELECT pg_advisory_lock({KEY})")
    with served(kind, tmp_path, script, DATABASE_URL=database_url) as service:
        await eventually_async(is_stuck)
        eventually(lambda: len(service.pids) == 2)
        assert service.statuses(20) <= {503, 0}

        for pid in service.pids:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(service.pids) == 4, say=lambda: service.process.err)
        assert service.statuses(20) <= {503, 0}

        await connection.execute(f"SELECT pg_advisory_unlock({KEY})")
        eventually(lambda: service.statuses(20) == {200}, say=lambda: service.process.err)
        assert service.statuses(5, "/items") == {200}
        assert await connection.fetchval("SELECT count(*) FROM dbinit_history") == 1
        assert await connection.fetchval("SELECT count(*) FROM item") == 2

        service.process.send(signal.SIGTERM)
        assert service.process.wait(10) == 0


WRONG = "SELECT wrong;"


@pytest.mark.parametrize("kind", SERVERS)
def test_workers_whose_start_fails_are_begun_again_and_never_ready(
    kind: str, database_url: str, script: Path, tmp_path: Path
) -> None:
    script.write_text(WRONG)
    with served(kind, tmp_path, script, DATABASE_URL=database_url) as service:
        seen = set[int]()

        def begun_again() -> bool:
            seen.update(service.statuses(1))
            return service.process.err.count("does not exist") > 2

        eventually(begun_again, say=lambda: service.process.err)
        assert seen <= {503, 0}
        assert service.process.popen.poll() is None


@pytest.mark.parametrize(
    ("code", "env"),
    [
        (ExitCode.UNREACHABLE, {"DATABASE_URL": "postgresql://x@127.0.0.1:{dead}/x", "DB_RETRY_ATTEMPTS": "1"}),
        (ExitCode.HISTORY, {"DATABASE_URL": "{url}", "DBINIT_MODE": "verify", "DBINIT_LOCK_WAIT": "0"}),
    ],
)
def test_two_of_the_codes_end_gunicorn(
    code: ExitCode, env: dict[str, str], database_url: str, script: Path, tmp_path: Path
) -> None:
    chosen = {name: text.format(dead=dead_port(), url=database_url) for name, text in env.items()}
    with served("gunicorn", tmp_path, script, **chosen) as service:
        # Where its workers fail at the same moment, gunicorn trips over its own feet and ends with 1.
        assert service.process.wait() in {code, 1}, service.process.err
        assert f"exited with code {code}" in service.process.err


def test_uvicorn_ends_with_success_where_no_worker_reaches_the_database(script: Path, tmp_path: Path) -> None:
    env = {"DATABASE_URL": f"postgresql://x@127.0.0.1:{dead_port()}/x", "DB_RETRY_ATTEMPTS": "1"}
    with served("uvicorn", tmp_path, script, **env) as service:
        # Its own sign of a start that failed is 3, too, and its parent's code says nothing of it.
        assert service.process.wait() == 0, service.process.err
        assert "was not reached" in service.process.err
