"""What dbinit sets for a transaction or a session of its own: how long it waits, and how soon it notices an end. Pure.

A server process sees the end of its client when it next reads from it, which is behind the statement that it runs. A
client that was killed would be waited for until then, and one whose host has vanished for the kernel's two hours.
"""

from datetime import timedelta
from typing import NamedTuple

__all__ = ["LONGEST", "LockLimit", "limits", "lock_limit", "no_end", "notice_end"]

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
WHERE name OPERATOR(pg_catalog.=) 'lock_timeout'
  AND (source OPERATOR(pg_catalog.<>) 'session' OR setting OPERATOR(pg_catalog.=) '{ours}')
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


class LockLimit(NamedTuple):
    """How long the statements of a session may wait for a lock.

    Attributes:
        ours: What dbinit has set; None where the URL, the role or the server says that.
    """

    ours: timedelta | None

    @property
    def lifting(self) -> str:
        """The SQL that lets them wait as long as they need.

        Its status is `SELECT 1` if it does; a script that has set a limit of its own keeps that.
        """
        return _LIFT.format(ours="" if self.ours is None else _milliseconds(self.ours))

    @property
    def restoring(self) -> str:
        """The SQL that takes that back."""
        return "RESET lock_timeout;\n" + limits(None, self.ours, local=False)


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


def _milliseconds(limit: timedelta) -> int:
    return max(round(limit.total_seconds() * 1000), 1)  # 0 would mean none


def _setting(name: str, value: str, *, local: bool) -> str:
    return f"pg_catalog.set_config('{name}', '{value}', {local})"


def _runs_on(systems: str) -> str:
    return f"pg_catalog.version() OPERATOR(pg_catalog.~) '{systems}'"
