"""What a replica of the old version meets while the new one migrates, as docs/operating.md has it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy

from dbinit import Initializer, Outcome
from tests.kit.starts import initialize, options

BEFORE = "CREATE TABLE item (id int, name text); INSERT INTO item VALUES (1, 'one');"
ADDED = "ALTER TABLE item ADD COLUMN price int NOT NULL DEFAULT 0;"
TAKEN = "ALTER TABLE item DROP COLUMN name;"
Use = Callable[[PoolConnectionProxy], Awaitable[object]]


async def everything(connection: PoolConnectionProxy) -> object:
    return await connection.fetch("SELECT * FROM item")


async def by_name(connection: PoolConnectionProxy) -> object:
    return await connection.fetch("SELECT id, name FROM item")


async def insert(connection: PoolConnectionProxy) -> object:
    return await connection.execute("INSERT INTO item (id, name) VALUES ($1, $2)", 2, "two")


class Old:
    """A connection of the old version's pool, which has prepared its statement before the schema was changed."""

    def __init__(self, connection: PoolConnectionProxy, use: Use) -> None:
        self._connection = connection
        self._use = use

    async def outside(self) -> object:
        return await self._use(self._connection)

    async def inside(self) -> object:
        async with self._connection.transaction():
            return await self._use(self._connection)


async def changed_under(
    use: Use, change: str, url: str, folder: Path, call: Callable[[Old], Awaitable[object]]
) -> object:
    """Let the old version use its statement, the new one migrate, and the old one go on."""
    (folder / "001_item.sql").write_text(BEFORE)
    assert (await initialize(url, folder, sentinel="")).outcome is Outcome.APPLIED
    old = Initializer(options(url, folder))
    try:
        async with old.pool(max_size=1) as pool, pool.acquire() as connection:
            await use(connection)
            (folder / "002_change.sql").write_text(change)
            assert (await initialize(url, folder, sentinel="")).outcome is Outcome.APPLIED
            return await call(Old(connection, use))
    finally:
        await old.close()


@pytest.mark.parametrize("call", [Old.outside, Old.inside], ids=lambda call: call.__name__)
@pytest.mark.parametrize("use", [by_name, insert])
async def test_who_names_the_columns_notices_nothing_of_a_new_one(
    use: Use, call: Callable[[Old], Awaitable[object]], database_url: str, tmp_path: Path
) -> None:
    assert await changed_under(use, ADDED, database_url, tmp_path, call)


async def test_who_takes_all_columns_has_the_new_one_too(database_url: str, tmp_path: Path) -> None:
    rows = await changed_under(everything, ADDED, database_url, tmp_path, Old.outside)
    assert rows == [(1, "one", 0)]


async def test_inside_a_transaction_that_fails_once(database_url: str, tmp_path: Path) -> None:
    async def twice(old: Old) -> object:
        with pytest.raises(asyncpg.InvalidCachedStatementError):
            await old.inside()
        return await old.inside()

    assert await changed_under(everything, ADDED, database_url, tmp_path, twice) == [(1, "one", 0)]


async def test_what_is_taken_away_breaks_whoever_still_uses_it(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError):
        await changed_under(by_name, TAKEN, database_url, tmp_path, Old.outside)
