import inspect
import random
import socket
import ssl
from collections.abc import Callable
from itertools import islice

import asyncpg
import pytest
from asyncpg import connect_utils, exceptions
from hypothesis import given
from hypothesis import strategies as st

from dbinit.backoff import MAX_DELAY, Verdict, classify, delays, is_tls_refusal


def no_jitter() -> float:
    """Make each pause as long as it can be."""
    return 1.0


def seeded(seed: int) -> Callable[[], float]:
    """Give the same numbers in every run."""
    return random.Random(seed).random  # noqa: S311 - jitter is no secret


def test_pauses_double_up_to_the_cap() -> None:
    assert list(islice(delays(5, no_jitter), 6)) == [5, 10, 20, 30, 30, 30]


def test_the_cap_is_the_callers_choice() -> None:
    assert list(islice(delays(1, no_jitter, cap=3), 4)) == [1, 2, 3, 3]


def test_a_first_pause_above_the_cap_is_cut() -> None:
    assert next(delays(600, no_jitter)) == MAX_DELAY


def test_no_pause_is_shorter_than_half_of_what_was_asked_for() -> None:
    assert list(islice(delays(5, lambda: 0.0), 4)) == [2.5, 5, 10, 15]


def test_no_delay_stays_no_delay() -> None:
    assert list(islice(delays(0, seeded(1)), 3)) == [0, 0, 0]


def test_the_same_random_numbers_give_the_same_pauses() -> None:
    first, second = (list(islice(delays(5, seeded(42)), 9)) for _ in range(2))
    assert first == second
    assert first != list(islice(delays(5, seeded(43)), 9))


def test_pauses_never_overflow() -> None:
    assert next(islice(delays(5, no_jitter), 5000, None)) == MAX_DELAY


@given(initial=st.floats(min_value=0, max_value=1e9), cap=st.floats(min_value=0.001, max_value=1e6), seed=st.integers())
def test_each_pause_lies_between_half_and_all_of_the_doubled_one(initial: float, cap: float, seed: int) -> None:
    pauses = islice(delays(initial, seeded(seed), cap=cap), 12)
    for number, pause in enumerate(pauses):
        full = min(initial * 2**number, cap)
        assert full / 2 <= pause <= full


def server_error(state: str) -> asyncpg.PostgresError:
    """Build what asyncpg raises when the server answers with this code."""
    error = asyncpg.PostgresError.new({"S": "FATAL", "C": state, "M": "the server's words"})
    assert isinstance(error, asyncpg.PostgresError)
    return error


def untrusted_certificate() -> ssl.SSLCertVerificationError:
    return ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")


# What asyncpg raises, by what went wrong.
TRANSIENT = {
    "refused, one address": ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 5432)"),
    "refused, several addresses": OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] ..."),
    "unknown host name": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "accepted, then silent": TimeoutError(),
    "end of file": ConnectionError("unexpected connection_lost() call"),
    "reset": ConnectionResetError(104, "Connection reset by peer"),
    "closed in the middle": exceptions.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    "starting up": exceptions.CannotConnectNowError("the database system is starting up"),
    "shutting down": server_error("57P01"),
    "crashed": server_error("57P02"),
    "no slots left": exceptions.TooManyConnectionsError("sorry, too many clients already"),
    "no host unreachable for ever": OSError(113, "No route to host"),
    "socket not there yet": FileNotFoundError(2, "No such file or directory"),
    "class 08": server_error("08006"),
    "a pooler's server is starting up": exceptions.ProtocolViolationError("the database system is starting up"),
    "a pooler's server is away": exceptions.ProtocolViolationError("server login has been failing"),
    "a pooler is full": exceptions.ProtocolViolationError("no more connections allowed (max_client_conn)"),
    "rejected by the server for now": server_error("08004"),
}
GRACE = {"no such database": exceptions.InvalidCatalogNameError('database "x" does not exist')}
ROLE = {"only a standby is left": exceptions.TargetServerAttributeNotMatched("None of the hosts match")}
PERMANENT = {
    "wrong password": exceptions.InvalidPasswordError("password authentication failed"),
    "no entry in pg_hba.conf": exceptions.InvalidAuthorizationSpecificationError("no pg_hba.conf entry"),
    "no right to connect": exceptions.InsufficientPrivilegeError("permission denied for database"),
    "protocol violation (a pooler and server_settings)": server_error("08P01"),
    "unknown setting of the session": server_error("42704"),
    "no TLS on the server": ConnectionError('PostgreSQL server at "host:5432" rejected SSL upgrade'),
    "untrusted certificate": untrusted_certificate(),
    "no TLS version in common": ssl.SSLError(1, "unsupported protocol"),
    "bad DSN": exceptions.ClientConfigurationError("invalid DSN"),
    "bad port in the DSN": ValueError("Port could not be cast to integer value"),
    "misuse of the driver": exceptions.InterfaceError("connection is closed"),
    "protocol out of step": exceptions.ProtocolError("unexpected message"),
    "a code that nobody knows": server_error("ZZ999"),
    "a bug of our own": KeyError("name"),
}


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        pytest.param(error, verdict, id=situation)
        for verdict, errors in (
            (Verdict.TRANSIENT, TRANSIENT),
            (Verdict.GRACE, GRACE),
            (Verdict.ROLE, ROLE),
            (Verdict.PERMANENT, PERMANENT),
        )
        for situation, error in errors.items()
    ],
)
def test_what_a_failed_attempt_says_about_the_next(error: Exception, verdict: Verdict) -> None:
    assert classify(error) is verdict


def test_a_certificate_failure_is_permanent_although_it_is_an_oserror() -> None:
    assert isinstance(untrusted_certificate(), OSError)
    assert classify(untrusted_certificate()) is Verdict.PERMANENT


def test_a_session_ended_by_an_administrator_is_worth_another_try() -> None:
    error = exceptions.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    error.__cause__ = exceptions.AdminShutdownError("terminating connection due to administrator command")
    assert classify(error) is Verdict.TRANSIENT


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (PERMANENT["no TLS on the server"], True),
        (TRANSIENT["end of file"], False),
        (ConnectionResetError(104, "rejected SSL upgrade"), False),
        (OSError("rejected SSL upgrade"), False),
    ],
)
def test_a_tls_refusal_is_told_from_other_broken_connections(error: Exception, refused: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_tls_refusal(error) is refused


def test_asyncpg_still_words_a_tls_refusal_as_it_is_looked_for() -> None:
    assert "rejected SSL upgrade" in inspect.getsource(connect_utils)
