"""What migrations cost, against other tools and the bare driver: applied, and found to be applied already."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import asyncpg

from benchmarks.corpus import execute, fresh_database, migrations
from benchmarks.measure import Row, compare, time_call, time_work, watch_command
from benchmarks.migrators import DBINIT, PEERS, Migrator, native
from benchmarks.place import Cost, Place, far_away
from benchmarks.startup import one_shot
from dbinit import Initializer, InitOptions
from dbinit.migrations.folder import read_folder
from dbinit.migrations.history import row_of
from dbinit.migrations.model import File
from dbinit.migrations.request import Up, make_plan
from tests.kit.server import Server

_COUNT = 200
_MANY = 10_000
_BUILDS = 8
_FAR_PEERS = ("dbmate", "asyncpg-trek (one transaction)")
_LIMIT = "asyncpg, a message and a commit each"
_ROWS = """
CREATE TABLE many{number} AS SELECT md5(n::text) AS word FROM generate_series(1, 200000) AS n;
ALTER DATABASE {database} SET max_parallel_maintenance_workers = 0;
"""
_INDEX = "-- dbinit: depends none\nCREATE INDEX ON many{number} (word, upper(word), reverse(word));\n"


def rows(server: Server) -> list[Row]:
    """Measure on a server near, and 10 ms away."""
    with _folders() as folders:
        near = Place(server)
        return [
            *_against_limit(near, folders[DBINIT.name], 9),
            *_against_tools(near, folders, [*PEERS], 3),
            *_nothing_to_do(server, folders[DBINIT.name]),
            *_far(server, folders),
            _planning(),
            *_jobs(server),
        ]


@contextmanager
def _folders() -> Iterator[dict[str, Path]]:
    """Yield the folder of each tool, by its name."""
    with tempfile.TemporaryDirectory() as root:
        folders = {tool.name: Path(root, str(number)) for number, tool in enumerate((DBINIT, *PEERS))}
        for tool in (DBINIT, *PEERS):
            folders[tool.name].mkdir()
            tool.lay_out(folders[tool.name], migrations(_COUNT))
        yield folders


def _far(server: Server, folders: dict[str, Path]) -> list[Row]:
    with far_away(server) as place:
        return [
            *_against_limit(place, folders[DBINIT.name], 3),
            *_against_tools(place, folders, [tool for tool in PEERS if tool.name in _FAR_PEERS], 1),
        ]


def _against_limit(place: Place, folder: Path, runs: int) -> Iterator[Row]:
    """Apply within a program that runs already."""
    rounds = [[_cost(place, partial(work, folder)) for work in (_initialize, _limit)] for _ in range(runs)]
    pairs = [(ours, theirs) for ours, theirs in rounds]
    return place.compare(f"{_what('apply', place)}, initialize()", _LIMIT, pairs)


def _cost(place: Place, work: Callable[[str], float]) -> Cost:
    with fresh_database(place.server) as name:
        return place.cost(lambda: work(place.url(name)))


def _initialize(folder: Path, url: str, jobs: int = 1) -> float:
    async def work() -> None:
        async with Initializer(InitOptions(database_url=url, migrations_path=folder, jobs=jobs)):
            pass

    return asyncio.run(time_call(work))


def _limit(folder: Path, url: str) -> float:
    scripts = [file.read_text() for file in sorted(folder.iterdir())]

    async def work() -> None:
        connection = await asyncpg.connect(url)
        for script in scripts:
            await connection.execute(f"BEGIN;{script};COMMIT")
        await connection.close()

    return asyncio.run(time_call(work))


def _against_tools(place: Place, folders: dict[str, Path], peers: Sequence[Migrator], runs: int) -> Iterator[Row]:
    """Apply, and then find nothing to do, in processes."""
    tools = [DBINIT, *peers]
    rounds = [[_process_costs(place, folders[tool.name], tool) for tool in tools] for _ in range(runs)]
    for number, what in enumerate((_what("apply", place), f"{_what('apply', place)} again")):
        for column, tool in enumerate(peers, start=1):
            if number == 0 or tool.has_history:
                pairs = [(costs[0][number], costs[column][number]) for costs in rounds]
                yield from place.compare(f"{what}, a process", tool.name, pairs)


def _process_costs(place: Place, folder: Path, tool: Migrator) -> list[Cost]:
    """Run a tool on a fresh database, and if it knows what was applied, once more."""
    with fresh_database(place.server) as name:
        command = tool.command(place.server, place.url(name), _COUNT)
        return [
            place.cost(lambda: watch_command(*command, folder=folder).seconds)
            for _ in range(2 if tool.has_history else 1)
        ]


def _what(verb: str, place: Place) -> str:
    return f"{verb} {_COUNT} migrations" + (", 10 ms away" if place.proxy else "")


def _nothing_to_do(server: Server, folder: Path) -> list[Row]:
    with fresh_database(server) as name:
        url = server.url(name)
        _initialize(folder, url)
        what = f"{_COUNT} migrations, nothing to do"
        return [
            one_shot(url, folder)._replace(what=f"python -m dbinit, {what}"),
            asyncio.run(_initialize_again(url, folder))._replace(what=f"initialize(), {what}"),
        ]


async def _initialize_again(url: str, folder: Path, runs: int = 60) -> Row:
    async def ours() -> None:
        async with Initializer(InitOptions(database_url=url, migrations_path=folder)):
            pass

    async def bare() -> None:
        connection = await asyncpg.connect(url)
        await connection.fetchval("SELECT 1")
        await connection.close()

    pairs = [(await time_call(ours), await time_call(bare)) for _ in range(runs)]
    return compare("", "asyncpg.connect + one query + close", pairs)


def _planning() -> Row:
    """Plan with a long history, once the folder is read."""
    files = [File(f"{number:05}_step.sql", b"SELECT 1;") for number in range(1, _MANY + 1)]
    folder = read_folder("migrations", files)
    recorded = [row_of(migration) for migration in folder.migrations]
    times = [time_work(lambda: make_plan(Up(), folder, recorded)) for _ in range(9)]
    pairs = [(seconds, 0.2) for seconds in times]
    return compare(f"plan with {_MANY:,} applied migrations", "the limit we set", pairs)


def _jobs(server: Server, runs: int = 5) -> Iterator[Row]:
    """Build eight indexes that do not need each other, two at a time and one by one; by bare connections as well.

    These show what the machine allows: one that is busy, or has no two cores of its own, does not build twice as fast.
    """
    scripts = [_INDEX.format(number=number) for number in range(_BUILDS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        native(folder, scripts)
        ways: list[Callable[[str], float]] = [
            *(partial(_initialize, folder, jobs=jobs) for jobs in (2, 1)),
            *(partial(_bare_builds, scripts, jobs=jobs) for jobs in (2, 1)),
        ]
        rounds = [[_built(server, way) for way in ways] for _ in range(runs)]
    what = f"build {_BUILDS} indexes with --jobs 2"
    yield compare(what, "--jobs 1", [(two, one) for two, one, _, _ in rounds])
    yield compare(what, "two bare connections", [(two, bare) for two, _, bare, _ in rounds])
    yield compare(f"build {_BUILDS} indexes, two bare connections", "one", [(two, one) for _, _, two, one in rounds])


def _built(server: Server, build: Callable[[str], float]) -> float:
    with _many_rows(server) as url:
        return build(url)


def _bare_builds(scripts: Sequence[str], url: str, jobs: int) -> float:
    left = list(scripts)

    async def work() -> None:
        connection = await asyncpg.connect(url)
        while left:
            await connection.execute(left.pop(0))
        await connection.close()

    async def works() -> None:
        await asyncio.gather(*(work() for _ in range(jobs)))

    return asyncio.run(time_call(works))


@contextmanager
def _many_rows(server: Server) -> Iterator[str]:
    """Create a database with a table for each index, and yield its URL."""
    with fresh_database(server) as name:
        for number in range(_BUILDS):
            execute(server.url(name), _ROWS.format(number=number, database=name))
        yield server.url(name)
