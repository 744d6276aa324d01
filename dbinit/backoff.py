"""How long to wait between attempts, and which failures are worth another one. Pure: no clock, no sleep.

Delays double up to a cap; "equal jitter" (half fixed, half random) keeps replicas from moving in step while no
pause is shorter than half of what was asked for. See Marc Brooker, "Exponential Backoff And Jitter",
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import re
import ssl
from collections.abc import Callable, Iterator
from enum import Enum

import asyncpg

__all__ = ["MAX_DELAY", "Verdict", "classify", "delays", "is_connection_loss", "is_tls_refusal"]

MAX_DELAY = 30.0
"""The longest pause between two attempts, in seconds."""


class Verdict(Enum):
    """What a failed attempt to connect says about the next one."""

    TRANSIENT = "transient"
    """The server is not there yet: try again, as soon as it answers."""
    GRACE = "grace"
    """It answers, but something is still missing that a first boot creates: try again for a short while."""
    ROLE = "role"
    """It answers, but its role is another than the one asked for: try again until a promotion changes that."""
    PERMANENT = "permanent"
    """Trying again changes nothing."""


_TRANSIENT_STATES = frozenset({"57P01", "57P02", "57P03", "53300"})
_DATABASE_MISSING = "3D000"
_PROTOCOL_VIOLATION = "08P01"
# PgBouncer has this one code for all that it says, and for what its server has said to it.
_POOLER_WAITS = re.compile(
    "the database system is|cannot connect|server login|login_timeout|query_wait_timeout|too many|no more connections"
    "|connection slots",
    re.IGNORECASE,
)


def delays(initial: float, random: Callable[[], float], *, cap: float = MAX_DELAY) -> Iterator[float]:
    """Yield the pauses between attempts, in seconds, without end.

    Args:
        initial: The first pause before jitter, in seconds.
        random: Gives numbers from 0 up to 1.
        cap: The longest pause, in seconds.
    """
    delay = min(initial, cap)
    while True:
        yield delay / 2 + random() * delay / 2
        delay = min(delay * 2, cap)


def classify(error: BaseException) -> Verdict:
    """Decide whether a failed attempt to connect is worth another one.

    Certificates come before OSError, as SSLCertVerificationError is one. FileNotFoundError means a socket that is
    not there yet: that the certificate files exist is for the caller to see to, as the error does not tell.
    """
    if isinstance(error, asyncpg.PostgresError):
        return _classify_state(error.sqlstate or "", str(error))
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # the server went away in mid-handshake
        return Verdict.TRANSIENT
    if isinstance(error, ssl.SSLError | ValueError) or is_tls_refusal(error):
        return Verdict.PERMANENT
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return Verdict.ROLE
    if isinstance(error, OSError):  # TimeoutError is one
        return Verdict.TRANSIENT
    return Verdict.PERMANENT


def is_tls_refusal(error: BaseException) -> bool:
    """Tell whether the server has no TLS although it was asked for; asyncpg has no class of its own for that."""
    return isinstance(error, ConnectionError) and error.errno is None and "rejected SSL upgrade" in str(error)


def _classify_state(state: str, message: str) -> Verdict:
    if state == _PROTOCOL_VIOLATION:
        return Verdict.TRANSIENT if _POOLER_WAITS.search(message) else Verdict.PERMANENT
    if state in _TRANSIENT_STATES or state.startswith("08"):
        return Verdict.TRANSIENT
    return Verdict.GRACE if state == _DATABASE_MISSING else Verdict.PERMANENT


def is_connection_loss(error: asyncpg.PostgresError) -> bool:
    """Tell whether the server or the way to it went away, rather than the statement being wrong."""
    state = error.sqlstate or ""
    if getattr(error, "severity_en", None) == "ERROR":  # a statement's own, of a connection it made elsewhere
        return False
    return state.startswith("08") or state in {"57P01", "57P02", "57P03"}
