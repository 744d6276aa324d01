"""The pair of servers that tests of a failover work with."""

import asyncpg
import pytest

from dbinit.embedded import installed_binaries
from tests.kit.replication import Pair


async def test_a_standby_follows_and_takes_over() -> None:
    with Pair(installed_binaries()) as pair:
        primary = await asyncpg.connect(pair.primary.url())
        await primary.execute("SET synchronous_commit = off; CREATE TABLE item ()")
        await pair.catch_up()
        await primary.close()

        either = await asyncpg.connect(pair.url(attrs="read-write", standby_first=True))
        assert not await either.fetchval("SELECT pg_is_in_recovery()")
        await either.close()
        follower = await asyncpg.connect(pair.standby.url())
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await follower.execute("CREATE TABLE other ()")

        pair.primary.stop("immediate")
        pair.promote()
        await follower.execute("INSERT INTO item DEFAULT VALUES")
        await follower.close()
