"""A run of thirty migrations that is killed at a random moment, and the next run, which has to end it."""

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from tests.kit.databases import fresh_database
from tests.kit.server import Server

from .kit import Project

__all__ = ["Killing"]

MIGRATIONS = 30
ALONE = (11, 22)
_NO_HISTORY = "--exclude-table=*.dbinit_migrations*"


def files() -> dict[str, str]:
    """Return the migrations: quick ones, slower ones, and two that cannot be one transaction."""
    found = {"001_log.sql": "CREATE TABLE log (n int, part int);\nINSERT INTO log VALUES (1, 1);\n"}
    for number in range(2, MIGRATIONS + 1):
        text = f"CREATE TABLE t{number} (id int);\nINSERT INTO t{number} VALUES ({number});\n"
        if number in ALONE:
            text += f"CREATE INDEX CONCURRENTLY i{number} ON t{number} (id);\nINSERT INTO log VALUES ({number}, 1);\n"
            text += f"VACUUM t{number};\nINSERT INTO log VALUES ({number}, 2);\n"
            text += f"DROP INDEX CONCURRENTLY IF EXISTS i{number};\nREINDEX TABLE CONCURRENTLY log;\n"
        elif number % 3 == 0:
            text += "SELECT pg_sleep(0.005);\n"
        found[f"{number:03}_m.sql"] = f"{text}INSERT INTO log VALUES ({number}, 3);\n"
    return found


class Killing:
    """Kills runs, each on a database of its own; use `prepared` to get one.

    Args:
        server: Where.
        folder: The migrations.
        random: Chooses the moments.
    """

    def __init__(self, server: Server, folder: Path, random: random.Random) -> None:
        self._server = server
        self._folder = folder
        self._random = random
        self._expected, self._seconds = "", 0.0

    @classmethod
    @contextmanager
    def prepared(cls, server: Server, number: int) -> Iterator["Killing"]:
        """Write the migrations and see what a run leaves, and how long it takes, that nobody kills."""
        with TemporaryDirectory() as folder:
            killing = cls(server, Path(folder, "migrations"), random.Random(number))  # noqa: S311 - no secret
            with killing._database() as (project, database):
                killing._seconds = _seconds_of(project)
                killing._expected = server.dump(database, _NO_HISTORY)
            yield killing

    def kill_one(self) -> bool:
        """Kill a run and have the next one end it; return whether the first was alive when it was killed.

        Raises:
            AssertionError: The next one did not end, or not with what it should.
        """
        with self._database() as (project, database):
            with project.start() as process:
                process.wait_for("Running")
                try:
                    process.popen.wait(self._random.uniform(0, self._seconds))
                    alive = False
                except subprocess.TimeoutExpired:
                    process.popen.kill()
                    alive = True
            self._end(project)
            assert self._server.dump(database, _NO_HISTORY) == self._expected
            return alive

    @contextmanager
    def _database(self) -> Iterator[tuple[Project, str]]:
        with fresh_database(self._server) as database:
            project = Project(self._folder, self._server.url(database))
            project.write(files())
            yield project, database

    @staticmethod
    def _end(project: Project) -> None:
        end = project.run(limit=60)
        assert end.code == 0, end.err


def _seconds_of(project: Project) -> float:
    """Return how long a run takes from its first migration to its end."""
    with project.start() as process:
        process.wait_for("Running")
        began = monotonic()
        assert process.wait() == 0, process.err
        return monotonic() - began
