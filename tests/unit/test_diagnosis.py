"""What is said of an attempt to connect that has failed."""

import errno

import pytest

from dbinit.diagnosis import short_reason

FOUR = f"[Errno {errno.ECONNREFUSED}] Connect call failed ('127.0.0.1', 5432)"
SIX = f"[Errno {errno.ECONNREFUSED}] Connect call failed ('::1', 5432, 0, 0)"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 5432)"), "Connection refused (127.0.0.1:5432)"),
        (
            OSError(f"Multiple exceptions: {SIX}, {FOUR}"),
            "Connection refused ([::1]:5432), Connection refused (127.0.0.1:5432)",
        ),
        (OSError("[Errno 99999] Connect call failed ('10.0.0.1', 1)"), "error 99999 (10.0.0.1:1)"),
        (OSError("Multiple exceptions: something else"), "something else"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (TimeoutError(), "no answer in time"),
        (OSError(), "OSError"),
    ],
)
def test_an_error_of_the_system_is_said_as_other_programs_say_it(error: OSError, reason: str) -> None:
    assert short_reason(error) == reason
