from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbinit.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("0", 0),
        ("2.5", 2.5),
        (".5", 0.5),
        ("5.", 5),
        ("5s", 5),
        (" 5s ", 5),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("1h2m3s4ms", 3723.004),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("250μs", 0.00025),
        ("5000ns", 0.000005),
        ("1s1s", 2),
    ],
)
def test_reads_go_durations_and_plain_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "5 s",
        "-5s",
        "+5s",
        "-1",
        "5x",
        "5S",
        "1d",
        "1m 30s",
        "1,5s",
        "1e3",
        "inf",
        "nan",
        ".",
        "\N{ARABIC-INDIC DIGIT FIVE}s",
    ],
)
def test_refuses_what_is_no_duration_and_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; write it like 5s, 500ms, 1m30s, or 5 for seconds"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 20 + "h", "9" * 400])
def test_refuses_a_duration_beyond_all_measure(text: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.34, "340ms"),
        (0.9994, "999ms"),
        (0.9996, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (60, "1m"),
        (125, "2m5s"),
        (3600, "1h"),
        (3661, "1h1m1s"),
        (7205, "2h5s"),
    ],
)
def test_writes_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e6))
def test_what_is_written_can_be_read_again(seconds: float) -> None:
    rounding = 0.0005 if seconds < 1 else 0.05 if seconds < 60 else 0.5
    assert abs(parse_duration(format_duration(seconds)).total_seconds() - seconds) <= rounding + 1e-6
