"""Where a connection has led to, which the driver knows without asking."""

import os

import asyncpg

from .sql.context import Session

__all__ = ["session_of"]


def session_of(connection: asyncpg.Connection) -> Session:
    """Return the session of a connection."""
    # asyncpg offers no public way to either.
    known, address = connection._params, connection._addr  # type: ignore[attr-defined]  # noqa: SLF001
    host, port = address if isinstance(address, tuple) else os.path.split(address)
    version = connection.get_server_version()
    number = version.major * 10000 + version.minor
    standard = connection.get_settings().standard_conforming_strings == "on"
    return Session(known.database, known.user, str(host), str(port).removeprefix(".s.PGSQL."), number, standard)
