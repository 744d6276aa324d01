"""What a failed attempt to connect means, and what to do about it. Pure."""

import errno
import re
import ssl

from .backoff import Verdict, classify, is_tls_refusal
from .errors import (
    AuthenticationError,
    ConnectError,
    DatabaseMissingError,
    ServerUnreachableError,
    SettingsError,
    TlsError,
)
from .url import DatabaseUrl

__all__ = ["diagnose", "role_reason", "short_reason"]

# OpenSSL's codes, https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_WRONG_NAME = frozenset({62, 64})  # the host's name, its address
_WRONG_TIME = frozenset({9, 10})  # not yet valid, expired
# How asyncio names an address that did not answer; one of IPv6 has two numbers more.
_CONNECT_CALL = re.compile(
    r"\[Errno (?P<number>\d+)\] Connect call failed \('(?P<host>[^']*)', (?P<port>\d+)(?:, \d+, \d+)?\)"
)

_REASONS = {
    errno.ECONNREFUSED: "Connection refused",
    errno.EHOSTUNREACH: "No route to host",
    errno.ENETUNREACH: "Network is unreachable",
    errno.EADDRNOTAVAIL: "Cannot assign requested address",
    errno.ETIMEDOUT: "Connection timed out",
}


def diagnose(error: BaseException, url: DatabaseUrl) -> ConnectError | SettingsError:
    """Return the error of our own that says what a failed attempt means, and what to do about it."""
    reason = short_reason(error)
    if url.password:
        reason = url.password.scrub(reason)
    if state := getattr(error, "sqlstate", None):
        return _diagnose_answer(state, classify(error), reason, url)
    if isinstance(error, ssl.SSLError) or is_tls_refusal(error):
        return TlsError(f"{url}: no TLS connection: {reason}", advice=_tls_advice(error))
    if classify(error) is Verdict.ROLE:
        return _wrong_role(url)
    if isinstance(error, ValueError) and "certificate" in reason:
        return TlsError(f"{url}: {reason}", advice="name the authority's certificate with sslrootcert=/path/to/ca.pem")
    if isinstance(error, ValueError):
        return SettingsError((f"{url.setting}: {reason}",))
    return _unreachable(reason, url)


def _diagnose_answer(state: str, verdict: Verdict, reason: str, url: DatabaseUrl) -> ConnectError:
    if state.startswith("28") or state == "42501":
        return AuthenticationError(
            f"{url} refused the login: {reason}",
            advice=f"check user and password in {url.setting}, the server's pg_hba.conf, and GRANT CONNECT ON DATABASE",
        )
    if state == "3D000":
        return DatabaseMissingError(
            f"{url}: {reason}",
            advice=f"create the database first (CREATE DATABASE ...), or correct its name in {url.setting}",
        )
    if verdict is Verdict.PERMANENT:
        return ConnectError(
            f"{url} refused the connection: {reason} (SQLSTATE {state})",
            advice=f"check the parameters in {url.setting}",
        )
    return _unreachable(reason, url)


def _unreachable(reason: str, url: DatabaseUrl) -> ServerUnreachableError:
    return ServerUnreachableError(
        f"{url} was not reached: {reason}",
        advice=f"check that the server runs, and host and port in {url.setting}",
    )


_LACKS = {
    "read-write": "takes no writes: it is a standby, or default_transaction_read_only is on there",
    "standby": "is a primary",
    "read-only": "takes writes",
}


def role_reason(url: DatabaseUrl) -> str:
    """Say in a few words what is wrong with a server that is none of what `target_session_attrs` asks for."""
    wanted = url.driver.get("target_session_attrs", "")
    return f"whoever answers {_LACKS.get(wanted, 'is a standby, which takes no writes')}"


def _wrong_role(url: DatabaseUrl) -> ServerUnreachableError:
    standby = url.driver.get("target_session_attrs") in {"standby", "read-only"}
    advice = "name a standby" if standby else "promote a standby, or name the primary"
    return ServerUnreachableError(
        f"{url} was reached, but {role_reason(url)}", advice=f"{advice} among the hosts in {url.setting}"
    )


def short_reason(error: BaseException) -> str:
    """Say in a few words why an attempt failed; a time-out's own text is empty."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, OSError) and error.strerror and not error.strerror.startswith("Connect call"):
        return error.strerror
    text = _CONNECT_CALL.sub(_refusal, str(error)).removeprefix("Multiple exceptions: ")
    return text.splitlines()[0] if text else type(error).__name__


def _refusal(match: re.Match[str]) -> str:
    """Return what asyncio says of an attempt as other programs say it."""
    host = f"[{match['host']}]" if ":" in match["host"] else match["host"]
    reason = _REASONS.get(int(match["number"]), f"error {match['number']}")
    return f"{reason} ({host}:{match['port']})"


def _tls_advice(error: BaseException) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "the server offers no TLS: switch it on there (ssl = on), or use sslmode=prefer on a network you trust"
    code = error.verify_code
    if code in _WRONG_NAME:
        return "use the host name that the server's certificate was made for, or have one made for this name"
    if code in _WRONG_TIME:
        return "renew the server's certificate, or correct the clock of this machine"
    return "name the certificate of the authority that signed the server's with sslrootcert=/path/to/ca.pem"
