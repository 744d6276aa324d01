"""What it takes to apply a script, against the bare driver and psql: near the server, far from it, and with data."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from benchmarks.corpus import copy_dump, definitions, fresh_database
from benchmarks.measure import Row, Run, compare, time_call, watch_command
from benchmarks.place import Cost, Place, far_away
from dbinit import Initializer, InitOptions
from dbinit.programs import give_to
from dbinit.sql.lexer import split
from tests.kit.server import Server

_GROUPS = 100  # of 20 statements
_MB = 1 << 20
_DUMP, _LARGE_DUMP = 200 * _MB, 1024 * _MB


_Apply = Callable[[Place, Path, str], float]
"""Applies a script to the database with a URL; returns the seconds that took."""


def rows(server: Server) -> list[Row]:
    """Measure all but what is large."""
    return [*_near(server), *_far(server), *_restored(server, _DUMP, 2)]


def large(server: Server) -> list[Row]:
    """Measure the restore of a large dump."""
    return _restored(server, _LARGE_DUMP, 1)


def _near(server: Server) -> list[Row]:
    with _script(server) as script:
        return list(_times(Place(server), script, "apply 2,000 definitions", _QUICK | _SLOW, 3))


def _far(server: Server) -> list[Row]:
    with _script(server) as script, far_away(server) as place:
        what = "apply 2,000 definitions, 10 ms away"
        return [*_times(place, script, what, _QUICK, 3), *_times(place, script, what, _SLOW, 1)]


def _times(place: Place, script: Path, what: str, peers: dict[str, _Apply], runs: int) -> Iterator[Row]:
    rounds = [[_cost(place, script, apply) for apply in (_initializer, *peers.values())] for _ in range(runs)]
    for number, name in enumerate(peers, start=1):
        yield from place.compare(what, name, [(costs[0], costs[number]) for costs in rounds])


def _cost(place: Place, script: Path, apply: _Apply) -> Cost:
    """Apply a script to a fresh database."""
    with fresh_database(place.server) as name:
        return place.cost(lambda: apply(place, script, place.url(name)))


def _initializer(_: Place, script: Path, url: str) -> float:
    async def work() -> None:
        async with Initializer(InitOptions(database_url=url, migrations_path=script)):
            pass

    return asyncio.run(time_call(work))


def _one_execute(_: Place, script: Path, url: str) -> float:
    text = script.read_text()

    async def work() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(text)
        await connection.close()

    return asyncio.run(time_call(work))


def _one_by_one(_: Place, script: Path, url: str) -> float:
    text = script.read_text()
    statements = [text[piece.start : piece.end] for piece in split(text)]

    async def work() -> None:
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
        await connection.close()

    return asyncio.run(time_call(work))


def _psql(place: Place, script: Path, url: str) -> float:
    return watch_command(*_psql_command(place.server, url, script)).seconds


def _psql_command(server: Server, url: str, script: Path) -> list[str]:
    return [str(server.binaries / "psql"), url, "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(script)]


_QUICK: dict[str, _Apply] = {"asyncpg, one execute()": _one_execute}
_SLOW: dict[str, _Apply] = {"psql -1 -f": _psql, "asyncpg, one execute() each": _one_by_one}


def _restored(server: Server, size: int, runs: int) -> list[Row]:
    """Restore a dump with COPY data, in a process of its own."""
    with _file(server) as dump:
        copy_dump(server, dump, size)
        what = f"restore a dump of {dump.stat().st_size / _MB:.0f} MB"
        pairs = [(_restore(server, dump, _dbinit_command), _restore(server, dump, _psql_command)) for _ in range(runs)]
    times = [(ours.seconds, theirs.seconds) for ours, theirs in pairs]
    peaks = [(ours.peak, theirs.peak) for ours, theirs in pairs]
    return [
        compare(what, "psql -1 -f", times),
        compare(f"{what}: memory", "psql -1 -f", peaks, "MB", lambda peak: peak / _MB),
    ]


def _restore(server: Server, dump: Path, command: Callable[[Server, str, Path], list[str]]) -> Run:
    with fresh_database(server) as name:
        return watch_command(*command(server, server.url(name), dump))


def _dbinit_command(_: Server, url: str, script: Path) -> list[str]:
    return [sys.executable, "-m", "dbinit", "--url", url, "--path", str(script)]


@contextmanager
def _script(server: Server) -> Iterator[Path]:
    with _file(server) as file:
        file.write_text(definitions(_GROUPS))
        yield file


@contextmanager
def _file(server: Server) -> Iterator[Path]:
    """Yield a file that the server's account may write."""
    file = server.folder / "script.sql"
    file.touch()
    give_to(server.account, file)
    yield file
    file.unlink()
