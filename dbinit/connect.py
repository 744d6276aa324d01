"""A connection: attempts with backoff, probing between them, and a release that cannot hang."""

import asyncio
import itertools
import math
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import anyio
import asyncpg

from .backoff import Verdict, classify, delays, is_connection_loss
from .diagnosis import diagnose, role_reason, short_reason
from .errors import ConnectError, ConnectionLostError, DemotedError, SettingsError, TlsError
from .patience import set_limits
from .probe import answers
from .settings import InitOptions
from .transaction import is_standby
from .url import DatabaseUrl

__all__ = ["FAILURES", "Attempt", "connect_arguments", "connected", "set_keepalive"]

_RELEASE_LIMIT = 0.8
_GRACE = 10.0
_PROBE_EVERY = 0.15
_ROLE_PAUSE = 1.0  # seconds between two looks whether a standby has been promoted
_LEAST_LEFT = 0.2  # seconds: too little for another attempt
FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError)
"""What an attempt to connect may fail with; `diagnosis` tells what it means."""
# A dead peer is noticed within 25 s by default, instead of the kernel's two hours, or its quarter of an hour for what
# has been sent to it.
_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_USER_TIMEOUT = {"tcp_user_timeout": 25_000}  # milliseconds
_TCP_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


_READ_ONLY = "25006"
_NEGOTIATION = "sslnegotiation"  # which stays asyncpg's where the certificates are seen to here
_WRITABLE = frozenset({"any", "primary", "read-write"})
_START_AGAIN = "start again: dbinit reads the history before it decides what is left to do"
_UNKNOWN = "What was not committed is rolled back; whether a commit under way was reached is not known."


class Attempt(NamedTuple):
    """One attempt to connect, as an observer is told of it.

    Attributes:
        number: From 1.
        of: How many there will be at most; 0 for as many as fit into the deadline.
        failure: Why it failed; empty when it has just begun.
        pause: Seconds until the next one, unless the server answers sooner; 0 when it has just begun.
    """

    number: int
    of: int
    failure: str = ""
    pause: float = 0.0


@asynccontextmanager
async def connected(
    url: DatabaseUrl,
    options: InitOptions,
    on_attempt: Callable[[Attempt], None],
    on_farewell: Callable[[asyncio.Task[None]], None],
) -> AsyncIterator[asyncpg.Connection]:
    """Connect with backoff, and close the connection at the end, whatever happens.

    Args:
        url: Where to connect to.
        options: How patiently.
        on_attempt: Told of every attempt, and of its failure.
        on_farewell: Given the task that sees the goodbye through when all went well: the server takes a millisecond
            for it, which a start need not wait for. The task ends within a second; await it in the end.

    Raises:
        ConnectionLostError: The connection broke in use.
        DemotedError: Something was to be written, and the server is a standby.
        ConnectError: The database was not reached.
        SettingsError: The driver cannot use the URL.
    """
    connection = await _connect_with_backoff(url, options, on_attempt)
    set_limits(connection, options.attempt_timeout(url), options.statement_timeout)
    try:
        yield connection
    except BaseException as error:
        # Under the shield the driver still cancels what the server is working on, and then says goodbye.
        with anyio.CancelScope(shield=True):
            lost = await _as_a_loss(error, connection, url)
            await _release(connection)
        if lost:
            raise lost from None
        raise
    on_farewell(asyncio.create_task(_release(connection)))


def connect_arguments(url: DatabaseUrl) -> dict[str, Any]:
    """Return the keyword arguments for `asyncpg.connect` and `asyncpg.create_pool` that mean `url`.

    They hold the password: hand them to asyncpg and to nothing else.

    Raises:
        TlsError: A certificate file that the URL names is not there.
    """
    driver = dict(url.driver)
    arguments: dict[str, Any] = {
        "user": url.user,
        "password": url.password.reveal() if url.password else None,
        "database": url.database,
        "server_settings": {"application_name": "dbinit", **url.session},
    }
    if url.hosts:
        hosts, ports = zip(*_in_order(url), strict=True)
        arguments["host"] = list(hosts)
        if url.ports:  # else it is for the driver to look at PGPORT
            arguments["port"] = list(ports)
    elif url.ports:
        arguments["port"] = url.ports[0]
    _check_certificates(url)
    if driver.get("sslrootcert") == "system":
        arguments["ssl"] = _system_context(driver)
        driver = {name: value for name, value in driver.items() if not name.startswith("ssl") or name == _NEGOTIATION}
    if driver:
        arguments["dsn"] = f"postgresql://?{urlencode(driver)}"
    return arguments


async def _connect_with_backoff(
    url: DatabaseUrl, options: InitOptions, on_attempt: Callable[[Attempt], None]
) -> asyncpg.Connection:
    clock = asyncio.get_running_loop().time
    deadline = clock() + options.connect_deadline.total_seconds()
    pauses = delays(options.retry_delay.total_seconds(), random.random)
    grace_end = math.inf
    woken = False
    for number in itertools.count(1):
        on_attempt(Attempt(number, options.retry_attempts))
        failed = Attempt(number, options.retry_attempts, role_reason(url), _ROLE_PAUSE)
        try:
            return await _connect_in_role(url, options, deadline, partial(on_attempt, failed))
        except FAILURES as error:
            verdict = classify(error)
            if verdict is Verdict.GRACE:
                grace_end = min(grace_end, clock() + _GRACE)
            left = min(deadline, grace_end if verdict is Verdict.GRACE else deadline) - clock()
            if verdict is Verdict.PERMANENT or number == options.retry_attempts or left <= _LEAST_LEFT:
                raise _final(diagnose(error, url), number, verdict) from None
            pause = min(next(pauses), left * 0.8)  # the last attempt needs some time of its own
            on_attempt(Attempt(number, options.retry_attempts, short_reason(error), pause))
        if verdict is Verdict.GRACE:
            await anyio.sleep(pause)
        else:
            woken = await _pause(url, pause, was_down=not woken)
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _connect_in_role(
    url: DatabaseUrl, options: InitOptions, deadline: float, on_waiting: Callable[[], None]
) -> asyncpg.Connection:
    """Connect; where all that answer have another role than the one asked for, wait for a promotion."""
    clock = asyncio.get_running_loop().time
    refusal: asyncpg.TargetServerAttributeNotMatched | None = None
    while True:
        try:
            return await _connect_once(url, options.attempt_timeout(url).total_seconds(), deadline)
        except asyncpg.TargetServerAttributeNotMatched as error:
            if not refusal:
                on_waiting()
            refusal = error
        except OSError:
            if not refusal or deadline - clock() > _LEAST_LEFT:
                raise
        if deadline - clock() <= _LEAST_LEFT:
            raise refusal  # which says more than that the last attempt ran out of time
        await anyio.sleep(min(random.uniform(_ROLE_PAUSE / 2, _ROLE_PAUSE), deadline - clock()))  # noqa: S311


def _final(error: ConnectError | SettingsError, attempts: int, verdict: Verdict) -> ConnectError | SettingsError:
    if verdict is not Verdict.PERMANENT:
        error.outcome = f"Gave up after {attempts} attempt{'s' if attempts > 1 else ''}. {error.outcome}"
    return error


async def _connect_once(url: DatabaseUrl, limit: float, deadline: float) -> asyncpg.Connection:
    """Try the hosts in turn; as in libpq, each has the time of one attempt to itself, which asyncpg has for all."""
    clock = asyncio.get_running_loop().time
    failure: Exception | None = None
    for place in _places(url):
        left = min(limit, deadline - clock())
        if failure and left <= _LEAST_LEFT:
            break
        try:
            # No cache of prepared statements: behind a transaction pooler the next query may meet another process.
            connection: asyncpg.Connection = await asyncpg.connect(
                **connect_arguments(place), timeout=max(left, 0.001), statement_cache_size=0
            )
        except asyncpg.TargetServerAttributeNotMatched as error:
            failure = error  # says more than that another host is down
        except (OSError, asyncpg.CannotConnectNowError) as error:
            failure = failure if isinstance(failure, asyncpg.TargetServerAttributeNotMatched) else error
        else:
            set_keepalive(connection, url)
            return connection
    raise failure or ConnectionError("no host to connect to")


def _places(url: DatabaseUrl) -> list[DatabaseUrl]:
    """Return the URL once for each of its hosts; `prefer-standby` needs to see all of them together."""
    if not url.hosts or url.driver.get("target_session_attrs") == "prefer-standby":
        return [url]
    return [url._replace(hosts=(host,), ports=(port,) if url.ports else ()) for host, port in _in_order(url)]


def _in_order(url: DatabaseUrl) -> Sequence[tuple[str, int]]:
    return random.sample(url.places, len(url.places)) if url.shuffle_hosts else url.places


async def _release(connection: asyncpg.Connection) -> None:
    """Say goodbye within a second; a dead link gets none."""
    try:
        await connection.close(timeout=_RELEASE_LIMIT)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection.terminate()


async def _pause(url: DatabaseUrl, seconds: float, *, was_down: bool) -> bool:
    """Wait for `seconds`, or until the server begins to answer; return whether it did.

    A server that answers all the time and yet fails every attempt must not use the attempts up at once: so a pause
    only ends early when the server was seen down, and after a wake-up in vain (`was_down` false) within this pause.
    """
    with anyio.move_on_after(seconds):
        while True:
            if not await answers(url):
                was_down = True
            elif was_down:
                return True
            await anyio.sleep(_PROBE_EVERY)
    return False


def _system_context(driver: Mapping[str, str]) -> ssl.SSLContext:
    """Return what trusts the system's certificates, and does otherwise as asyncpg would, which knows files only."""
    context = ssl.create_default_context()
    if "sslcert" in driver:
        context.load_cert_chain(driver["sslcert"], driver.get("sslkey"), lambda: driver.get("sslpassword", ""))
    if "sslcrl" in driver:
        context.load_verify_locations(driver["sslcrl"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if version := driver.get("ssl_min_protocol_version"):
        context.minimum_version = _tls_version(version)
    if version := driver.get("ssl_max_protocol_version"):
        context.maximum_version = _tls_version(version)
    return context


def _tls_version(name: str) -> ssl.TLSVersion:
    return ssl.TLSVersion[name.replace(".", "_")]


def _check_certificates(url: DatabaseUrl) -> None:
    """Look before asyncpg does: it answers a missing file with a FileNotFoundError that looks like a missing socket."""
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        path = url.driver.get(name)
        if path and path != "system" and not Path(path).is_file():
            raise TlsError(
                f"the file that {name} names is not there: {path}",
                advice=f"correct {name} in {url.setting}, or mount the file",
            )


def set_keepalive(connection: asyncpg.Connection, url: DatabaseUrl) -> None:
    """Have a dead peer noticed as the URL says, by default within 25 s."""
    wanted = {**_KEEPALIVE, **_USER_TIMEOUT, **url.socket}
    # asyncpg offers no public way to the socket.
    transport = getattr(connection, "_transport", None)
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6} or not wanted["keepalives"]:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, option in _TCP_OPTIONS.items():
        if wanted.get(name) and hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), wanted[name])


async def _as_a_loss(
    error: BaseException, connection: asyncpg.Connection, url: DatabaseUrl
) -> ConnectionLostError | None:
    """Return what an error says about the connection; None where it is about something else."""
    if _is_connection_loss(error):
        reason = short_reason(error.__cause__ or error)  # the server's last words, where it had time for them
        return ConnectionLostError(f"the connection to {url} broke: {reason}", advice=_START_AGAIN, outcome=_UNKNOWN)
    wanted = url.driver.get("target_session_attrs", "any") in _WRITABLE
    if wanted and getattr(error, "sqlstate", None) == _READ_ONLY and await is_standby(connection):
        return DemotedError(
            f"{url} is a standby, which takes no writes", advice=f"promote it, or name the primary in {url.setting}"
        )
    return None


def _is_connection_loss(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return is_connection_loss(error)
    return isinstance(error, OSError | asyncpg.InterfaceError) and not isinstance(error, ssl.SSLError)
