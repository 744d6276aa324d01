"""A database on which a start is disturbed, and what has to be true of it then."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg

from dbinit import DbInitError, ExitCode, Initializer, InitOptions
from dbinit.readiness import Readiness
from tests.kit.databases import fresh_database
from tests.kit.patience import eventually_async
from tests.kit.process import environment
from tests.kit.server import Server

from .state import differences, read_state
from .workload import Workload

__all__ = ["End", "Scene", "Stage", "Stages", "be_quiet", "by_port", "start"]

Work = Callable[[Initializer], Awaitable[object]]

_LIMIT = 60.0
_NO_HISTORY = ("--exclude-table=*.dbinit_*", "--exclude-table-data=journal")
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {ours}"
_OURS = "application_name = 'dbinit'"
# Behind a pooler the session stays, as the pooler's, and does nothing.
_BUSY = "pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'"
_LOCKS = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True)
class End:
    """How a start ended.

    Attributes:
        code: Its exit code.
        said: What it said, if it failed.
    """

    code: int
    said: str = ""


def by_port(url: str, port: int) -> str:
    """Return a URL that leads to the same database through another port."""
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()


async def start(
    options: InitOptions, work: Work = Initializer.initialize, observer: Callable[[Readiness], None] | None = None
) -> End:
    """Start once, in this process, as a program would.

    Raises:
        TimeoutError: It did not end.
    """
    initializer = Initializer(options, observer=observer)
    async with asyncio.timeout(_LIMIT):
        try:
            await work(initializer)
        except DbInitError as error:
            return End(error.exit_code, str(error))
        finally:
            await initializer.close()
    return End(ExitCode.OK)


class Scene:
    """A fresh database for one workload.

    Args:
        server: Where it is.
        database: Its name.
        stage: What it is to look like in the end.
    """

    def __init__(self, server: Server, database: str, stage: "Stage") -> None:
        self.server = server
        self.url = server.url(database)
        self.stage = stage
        self._database = database

    @property
    def env(self) -> dict[str, str]:
        """The environment of a start in a process of its own."""
        options = {f"DBINIT_{name.upper()}": str(value) for name, value in self.stage.workload.options.items()}
        given = {"DATABASE_URL": self.url, "MIGRATION_PATH": str(self.stage.path), "DBINIT_SENTINEL": ""}
        return environment({**given, **options})

    def options(self, url: str = "", **changes: Any) -> InitOptions:
        """Return what to start with, by another URL if one is given."""
        chosen = {"retry_delay": timedelta(seconds=0.1), "sentinel": "", **self.stage.workload.options, **changes}
        return InitOptions(database_url=url or self.url, migrations_path=self.stage.path, **chosen)

    async def start(self, url: str = "", **changes: Any) -> End:
        """Start in this process, by another URL if one is given."""
        return await start(self.options(url, **changes))

    def check_as_it_is(self) -> None:
        """Make sure that the database is as its history has it, whoever works on it.

        Raises:
            AssertionError: It is not.
        """
        asyncio.run(self._check_as_it_is())

    def check_in_the_end(self) -> None:
        """Make sure that the next start finds its way without help, and that the database is as if nothing had been.

        Raises:
            AssertionError: It is not.
        """
        end = asyncio.run(self.start())
        assert end == End(ExitCode.OK), end.said
        asyncio.run(self._check_complete())
        assert self.dump() == self.stage.expected, "the dump is not that of an undisturbed start"

    def dump(self) -> str:
        """Return what is there, without the histories and the journal."""
        return self.server.dump(self._database, *_NO_HISTORY)

    async def _check_as_it_is(self) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            found = differences(await read_state(connection), self.stage.workload)
        finally:
            await connection.close()
        assert not found, found

    async def _check_complete(self) -> None:
        connection = await asyncpg.connect(self.url)

        async def is_left_alone() -> bool:
            ours = _BUSY if self.stage.pooled else _OURS
            counts = [await connection.fetchval(_SESSIONS.format(ours=ours)), await connection.fetchval(_LOCKS)]
            return counts == [0, 0]

        try:
            state = await read_state(connection)
            whole = {file.name: len(file.statements) for file in self.stage.workload.files}
            assert (state.done(self.stage.workload), state.invalid) == (whole, [])
            assert not (found := differences(state, self.stage.workload)), found
            await eventually_async(is_left_alone, 10)
        finally:
            await connection.close()


class Stage:
    """What the scenes of one workload have in common; use `prepared` to get one.

    Args:
        server: Where.
        workload: What is to be done.
        path: Where its files are.
        pooled: Whether starts reach the server through a pooler, which keeps its sessions.
    """

    def __init__(self, server: Server, workload: Workload, path: Path, *, pooled: bool = False) -> None:
        self.server = server
        self.workload = workload
        self.path = path
        self.pooled = pooled
        self.expected = ""
        """The dump that an undisturbed start leaves."""
        self.seconds = 0.0
        """How long that takes in this process."""

    @classmethod
    @contextmanager
    def prepared(cls, server: Server, workload: Workload, *, pooled: bool = False) -> Iterator["Stage"]:
        """Write the files, and start once without any disturbance."""
        with TemporaryDirectory(prefix="dbinit-test-") as folder:
            stage = cls(server, workload, workload.write(Path(folder)), pooled=pooled)
            with stage.scene() as scene:
                began = monotonic()
                end = asyncio.run(scene.start())
                assert end == End(ExitCode.OK), end.said
                stage.seconds = monotonic() - began
                stage.expected = scene.dump()
            yield stage

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        """Make a fresh database."""
        with fresh_database(self.server) as database:
            yield Scene(self.server, database, self)


class Stages:
    """Stages for some workloads on one server, each prepared when it is first chosen; use it as a context manager.

    Args:
        server: Where.
        workloads: What there is to be done.
        pooled: Whether starts reach the server through a pooler.
    """

    def __init__(self, server: Server, workloads: Sequence[Workload], *, pooled: bool = False) -> None:
        self._server = server
        self._workloads = workloads
        self._pooled = pooled
        self._stack = ExitStack()
        self._prepared: dict[str, Stage] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def choose(self, chance: random.Random) -> Stage:
        """Return a stage, by chance."""
        workload = chance.choice(self._workloads)
        if workload.name not in self._prepared:
            prepared = Stage.prepared(self._server, workload, pooled=self._pooled)
            self._prepared[workload.name] = self._stack.enter_context(prepared)
        return self._prepared[workload.name]


def be_quiet() -> None:
    """Keep what dbinit logs in this process to itself; what matters is in the errors."""
    logging.getLogger("dbinit").setLevel(logging.CRITICAL)
