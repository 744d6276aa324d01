"""What dbinit sets for a transaction or a session of its own: how long it waits, and how soon it notices an end. Pure.

A server process sees the end of its client when it next reads from it, which is behind the statement that it runs. A
client that was killed would be waited for until then, and one whose host has vanished for the kernel's two hours.
"""

from datetime import timedelta

__all__ = ["LONGEST", "limits", "lock_limit", "no_end", "no_lock_limit", "notice_end"]

LONGEST = timedelta(milliseconds=2**31 - 1)
"""The longest time-out that PostgreSQL takes."""

# Milliseconds. From PostgreSQL 14 on, and only where the kernel can tell; elsewhere anything but 0 is refused.
_CHECK = ("client_connection_check_interval", "500")
# A host that has vanished is given up after 5 + 3 * 2 seconds. Of no effect on a socket in the file system.
_PROBES = (("tcp_keepalives_idle", "5"), ("tcp_keepalives_interval", "2"), ("tcp_keepalives_count", "3"))
_UNANSWERED = ("tcp_user_timeout", "11000")  # milliseconds; Linux alone has it
# PostgreSQL 17 has brought the second one.
_ENDS = """
SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings
WHERE name OPERATOR(pg_catalog.=) ANY ('{idle_in_transaction_session_timeout,transaction_timeout}'::pg_catalog.text[])
"""
_LIFT = """
SELECT pg_catalog.set_config('lock_timeout', '0', false) FROM pg_catalog.pg_settings
WHERE name OPERATOR(pg_catalog.=) 'lock_timeout' AND setting OPERATOR(pg_catalog.=) '{limit}'
"""


def notice_end(*, local: bool = True) -> str:
    """Return a SQL expression that has the server notice within a second that its client is gone.

    It never fails, and does nothing on a platform that cannot do it.

    Args:
        local: Whether for the transaction that it stands in. Default; else for the session.
    """
    probes = ", ".join(_setting(*probe, local=local) for probe in _PROBES)
    return (
        f"CASE WHEN {_runs_on('linux|darwin|bsd')} THEN pg_catalog.concat({probes},"
        f" CASE WHEN {_runs_on('linux')} THEN {_setting(*_UNANSWERED, local=local)} END,"
        f" CASE WHEN pg_catalog.current_setting('{_CHECK[0]}', true) IS NOT NULL"
        f" THEN {_setting(*_CHECK, local=local)} END) END"
    )


def lock_limit(limit: timedelta | None) -> str:
    """Return a SQL expression that sets how long a statement of the transaction may wait for a lock; None: as it is."""
    return "NULL" if limit is None else _setting("lock_timeout", str(_milliseconds(limit)), local=True)


def limits(statement: timedelta | None, lock: timedelta | None, *, local: bool = True) -> str:
    """Return the SQL that sets the time-outs of statements; None leaves one as it is.

    Args:
        statement: How long one may take.
        lock: How long one may wait for a lock.
        local: Whether for the transaction that it stands in. Default; else for the session.
    """
    wanted = {"statement_timeout": statement, "lock_timeout": lock}
    scope = "LOCAL" if local else "SESSION"
    return "".join(
        f"SET {scope} {name} = {_milliseconds(limit)};\n" for name, limit in wanted.items() if limit is not None
    )


def no_end() -> str:
    """Return the SQL that lets the transaction that it stands in last, idle, for as long as it takes."""
    return _ENDS


def no_lock_limit(limit: timedelta) -> str:
    """Return the SQL that lets the statements of a session wait for locks as long as they need.

    Its status is `SELECT 1` if `limit` was what they had; a script that has set another keeps it.
    """
    return _LIFT.format(limit=_milliseconds(limit))


def _milliseconds(limit: timedelta) -> int:
    return max(round(limit.total_seconds() * 1000), 1)  # 0 would mean none


def _setting(name: str, value: str, *, local: bool) -> str:
    return f"pg_catalog.set_config('{name}', '{value}', {local})"


def _runs_on(systems: str) -> str:
    return f"pg_catalog.version() OPERATOR(pg_catalog.~) '{systems}'"
