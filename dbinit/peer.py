"""Who is at the other end of a connection, how sure of that we are, and whom it lets us be."""

import ssl
from ipaddress import ip_address
from typing import Any

import asyncpg

from .errors import SettingsError, UnsupportedDatabaseError
from .quoting import quote_name
from .roles import acting_as

__all__ = ["check_locks", "check_role", "doubt"]


def doubt(connection: Any) -> str:
    """Return what lets others on the way read a connection or pose as its server; empty where nothing does.

    It is seen by what has come of the connection, not by what was asked for: defaults, service files and names that
    lead to this very machine make no difference. Unix sockets and loopback are nobody's way.

    Args:
        connection: Of asyncpg's, or lent by its pool.
    """
    transport = _transport(connection)
    if transport is None or _is_local(transport):
        return ""
    context: ssl.SSLContext | None = transport.get_extra_info("sslcontext")
    if context is None:
        return "is not encrypted"
    if context.verify_mode is not ssl.CERT_REQUIRED:
        return "is encrypted, but the server's certificate is not verified"
    if not context.check_hostname:
        return "is encrypted, but the server's certificate may be for any host"
    return ""


def check_locks(connection: asyncpg.Connection) -> None:
    """See that it is no database that is known to lack advisory locks; the driver knows that without asking it.

    Raises:
        UnsupportedDatabaseError: It is Redshift, CockroachDB or CrateDB.
    """
    if not connection._server_caps.advisory_locks:  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
        what = "this is no PostgreSQL, but a database without advisory locks (Redshift, CockroachDB, CrateDB)"
        raise UnsupportedDatabaseError.without_locks(what)


async def check_role(connection: asyncpg.Connection, role: str) -> None:
    """See that we may act as a role.

    Args:
        connection: Where, outside of any transaction.
        role: The role; empty for none, and then nobody is asked.

    Raises:
        SettingsError: There is no such role, or the login is no member of it.
    """
    if not role:
        return
    try:
        await connection.execute(f"BEGIN; {acting_as(role)} ROLLBACK")
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        login = connection._params.user  # type: ignore[attr-defined]  # noqa: SLF001 - asyncpg offers no public way
        mend = f"have it created and granted (GRANT {quote_name(role)} TO {quote_name(login)}), or correct its name"
        raise SettingsError((f"DBINIT_ROLE: {login} cannot act as {role}: {error}; {mend}",)) from None


def _transport(connection: asyncpg.Connection) -> Any:
    # asyncpg offers no public way to it.
    return getattr(connection, "_transport", None)


def _is_local(transport: Any) -> bool:
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):  # a Unix socket's is a path, or nothing
        return True
    address = ip_address(peer[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
