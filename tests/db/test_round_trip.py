"""A rich database is dumped, the dump restored by dbinit, and dumped again: nothing is lost or changed on the way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dbinit import Outcome
from tests.kit.server import Server
from tests.kit.starts import initialize

VARIANTS = {
    "plain": [],
    "inserts": ["--inserts"],
    "column inserts": ["--column-inserts", "--rows-per-insert=7"],
    "no dollar quotes": ["--disable-dollar-quoting"],
    "quoted identifiers": ["--quote-all-identifiers", "--load-via-partition-root"],
    "clean": ["--clean", "--if-exists"],
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
async def test_a_dump_is_restored_whole(
    options: list[str],
    rich: str,
    database: str,
    database_url: str,
    server: Server,
    write: Callable[[str | bytes], Path],
) -> None:
    expected = server.dump(rich)

    report = await initialize(database_url, write(server.whole_dump(rich, *options)))

    assert report.outcome is Outcome.APPLIED
    assert report.statements > 250
    assert server.dump(database) == expected
