"""A primary and a standby that streams from it, made with PostgreSQL's own programs."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.parse import quote

import asyncpg

from tests.kit.databases import execute
from tests.kit.patience import eventually_async
from tests.kit.server import PASSWORD, Server

__all__ = ["Pair"]

_SETTINGS = {
    "wal_keep_size": "256MB",  # instead of a slot, which would fill the disk of a primary that is left alone
    "synchronous_commit": "on",  # what is committed survives a server that is stopped with immediate
}
# Commits, and so writes what was committed without waiting for that.
_FLUSH = "SET synchronous_commit = local; SELECT pg_logical_emit_message(true, '', '')"


class _Standby(Server):
    """A copy of another server, which follows it.

    Args:
        primary: The other server; it must run.
    """

    def __init__(self, primary: Server) -> None:
        self._primary = primary
        where = f"host={primary.folder} port={primary.port} user=postgres"
        super().__init__(primary.binaries, {**_SETTINGS, "primary_conninfo": where})

    def _create(self) -> None:
        primary = ["-h", str(self._primary.folder), "-p", str(self._primary.port), "-U", "postgres"]
        self.run(
            "pg_basebackup", "-D", str(self.data), *primary, "--checkpoint=fast", "--no-sync", "--wal-method=stream"
        )
        (self.data / "standby.signal").touch()
        self.major = self._primary.major


class Pair:
    """A primary and its streaming standby; use it as a context manager.

    It replicates asynchronously: what the primary has committed and not yet sent is lost when it is stopped with
    `immediate`. `catch_up()` waits for it; `synchronous` makes each commit wait instead.

    Args:
        binaries: The folder of the programs.
        synchronous: Whether a commit waits until the standby has applied it.
    """

    def __init__(self, binaries: Path, *, synchronous: bool = False) -> None:
        self._synchronous = synchronous
        self._stack = ExitStack()
        self.primary = Server(binaries, dict(_SETTINGS))
        """The server that is the primary at first."""
        self.standby: Server
        """The server that is the standby at first."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.primary)
            self.standby = stack.enter_context(_Standby(self.primary))
            if self._synchronous:
                asyncio.run(_wait_for_standbys(self.primary))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def url(self, database: str = "postgres", *, attrs: str = "", standby_first: bool = False) -> str:
        """Return a URL with both hosts.

        Args:
            database: The database.
            attrs: Its `target_session_attrs`; none without.
            standby_first: Whether the standby is named before the primary.
        """
        servers = (self.standby, self.primary) if standby_first else (self.primary, self.standby)
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        query = f"?target_session_attrs={attrs}" if attrs else ""
        return f"postgresql://postgres:{quote(PASSWORD, safe='')}@{hosts}/{database}{query}"

    async def catch_up(self, limit: float = 20.0) -> None:
        """Wait until the standby has applied what the primary has written so far."""
        primary = await asyncpg.connect(self.primary.url())
        standby = await asyncpg.connect(self.standby.url())
        try:
            await primary.execute(_FLUSH)
            written = await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")

            async def has() -> bool:
                return bool(await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written))

            await eventually_async(has, limit)
        finally:
            await primary.close()
            await standby.close()

    def promote(self) -> None:
        """Make the standby a primary; the old one goes on unless it has been stopped."""
        self.standby.run("pg_ctl", "promote", "-D", str(self.standby.data), "-w")


async def _wait_for_standbys(primary: Server) -> None:
    await execute(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    await execute(primary, "ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
    await execute(primary, "SELECT pg_reload_conf()")
