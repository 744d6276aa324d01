"""Whether a session is ours as long as its connection, or lent by a pooler from transaction to transaction."""

from collections.abc import Sequence

import asyncpg

from .errors import ScriptError
from .rows import fetch_rows
from .sql.survey import Survey, refuse_session
from .threads import in_thread

__all__ = ["has_session"]

_PROCESS = "SELECT pg_catalog.pg_backend_pid()"
# A pooler that lends two processes in turn would give each of two clients that ask in turn its own.
_IN_TURN = (True, False, False, True) * 3


async def has_session(
    connection: asyncpg.Connection, other: asyncpg.Connection, found: Sequence[Survey], role: str = ""
) -> bool:
    """Tell whether a connection keeps its session; where it does not, refuse a script that relies on that.

    Args:
        connection: Where the script is to be run step by step; outside of any transaction.
        other: Another connection, outside of any.
        found: The script, and what else is run for its session.
        role: The role that the script is to be run as; it is one of the session.

    Raises:
        ScriptError: The script sets something of a session, or a role is wanted, and there is none to rely on.
    """
    if not await _is_lent(connection, other):
        return True
    for script in found:
        await in_thread(refuse_session, script)
    if role:
        path = found[0].script.path
        raise ScriptError(
            f"{path} is run step by step, and behind a pooler no session keeps the role {role} meanwhile",
            advice="set DBINIT_MIGRATION_URL to the server itself, or to a pool in session mode",
        )
    return False


async def _is_lent(connection: asyncpg.Connection, other: asyncpg.Connection) -> bool:
    """Tell whether the next transaction may meet another server process.

    Without a pooler one round trip tells. With one, it is asked a few times, so that it shows whether a process goes
    from hand to hand, in whichever order the pooler lends them. No two are held at a time: starters that each had one
    would wait for another one for ever.
    """
    if await _process(connection) == connection.get_server_pid():
        return False
    met: dict[bool, set[int]] = {True: set(), False: set()}
    for ours in _IN_TURN:
        met[ours].add(await _process(connection if ours else other))
    return met[True] == met[False] or max(map(len, met.values())) > 1


async def _process(connection: asyncpg.Connection) -> int:
    ((found,),) = await fetch_rows(connection, _PROCESS)
    return int(found or 0)
