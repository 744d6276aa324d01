"""A folder of migrations and the database that it is for, as the tests use them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg

from dbinit import Initializer, Report
from dbinit.folders import Hooks
from dbinit.migrations.request import Request, Up
from dbinit.readiness import Readiness
from tests.kit.process import Finished, Process, dbinit, run_dbinit, run_powerless
from tests.kit.starts import options

__all__ = ["CHAIN", "Project", "history", "relations"]

CHAIN = {
    "001_one.sql": "CREATE TABLE one (id int);\n-- dbinit: down\nDROP TABLE one;\n",
    "002_two.sql": "CREATE TABLE two (id int);\n-- dbinit: down\nDROP TABLE two;\n",
    "003_three.sql": "CREATE TABLE three (id int);\n-- dbinit: down\nDROP TABLE three;\n",
}
"""Three migrations, each with its way back."""


class Project:
    """A folder and a database.

    Args:
        folder: Where the files are; it is made with the first of them.
        url: The database.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files, over those of the same names."""
        self.folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def remove(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink()

    def path(self, name: str) -> str:
        """Return a file's path as messages have it."""
        return str(self.folder / name)

    def initializer(
        self, *, hooks: Hooks | None = None, observer: Callable[[Readiness], None] | None = None, **changes: Any
    ) -> Initializer:
        return Initializer(options(self.url, self.folder, **changes), hooks=hooks, observer=observer)

    async def up(self, **changes: Any) -> Report:
        """Apply what is pending; `hooks` and `observer` are the `Initializer`'s, the rest its options."""
        initializer = self.initializer(**changes)
        try:
            return await initializer.initialize()
        finally:
            await initializer.close()

    async def migrate(self, request: Request, **changes: Any) -> Report:
        initializer = self.initializer(**changes)
        try:
            return await initializer.migrate(request)
        finally:
            await initializer.close()

    async def pending(self) -> list[str]:
        """Return the names of the migrations that `up` would run."""
        initializer = self.initializer()
        try:
            return [task.step.name for task in await initializer.plan(Up())]
        finally:
            await initializer.close()

    def run(self, *arguments: str, limit: float = 30.0, **env: str) -> Finished:
        """Run `python -m dbinit` to its end."""
        return run_dbinit(*arguments, env=self.env(env), limit=limit)

    def run_powerless(self, *arguments: str) -> Finished:
        """Run it as somebody who may read only what permissions allow."""
        return run_powerless(*arguments, env=self.env({}))

    def start(self, *arguments: str, **env: str) -> AbstractContextManager[Process]:
        """Start `python -m dbinit`."""
        return dbinit(*arguments, env=self.env(env))

    def env(self, more: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """Return the environment of a process of its own."""
        return {"DATABASE_URL": self.url, "MIGRATION_PATH": str(self.folder), "DB_RETRY_ATTEMPTS": "1", **more}


async def history(connection: asyncpg.Connection, schema: str = "public") -> list[tuple[str, str]]:
    """Return what the history says, oldest row first: the version, or else the name, and the state."""
    rows = await connection.fetch(
        f"SELECT COALESCE(version, name) AS what, state FROM {schema}.dbinit_migrations ORDER BY id"
    )
    return [(row["what"], row["state"]) for row in rows]


async def relations(connection: asyncpg.Connection) -> set[str]:
    """Return the tables and indexes of the schema public, without the history's."""
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i', 'p')"
        " AND relname NOT LIKE 'dbinit%'"
    )
    return {row["relname"] for row in rows}
