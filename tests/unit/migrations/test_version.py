import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbinit.migrations.version import Version

NUMBERS = st.integers(min_value=0, max_value=2**64 - 1)


def test_versions_compare_as_numbers_and_keep_their_text() -> None:
    texts = ["10", "9", "001.2", "1", "1_10", "20240131120000"]
    assert [str(found) for found in sorted(map(Version.parse, texts))] == [
        "1",
        "001.2",
        "1_10",
        "9",
        "10",
        "20240131120000",
    ]


@pytest.mark.parametrize(
    ("one", "other"), [("001", "1"), ("1.0", "1"), ("1_1", "1.1"), ("0.0", "0"), ("1.01.0", "1.1")]
)
def test_other_ways_to_write_a_version_make_no_other_version(one: str, other: str) -> None:
    assert Version.parse(one) == Version.parse(other)
    assert hash(Version.parse(one)) == hash(Version.parse(other))
    assert Version.parse(one).key == Version.parse(other).key


@pytest.mark.parametrize("text", ["", "x", "1.", ".1", "1..2", "-1", "+1", "1 ", "１", "1\n"])  # noqa: RUF001 - on purpose
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        Version.parse(text)


@pytest.mark.parametrize("text", [str(2**64), "9" * 5000, f"1.{2**64}"])
def test_a_version_of_more_than_64_bits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="more than 64 bits"):
        Version.parse(text)


@given(NUMBERS, NUMBERS)
def test_the_order_is_that_of_the_numbers(one: int, other: int) -> None:
    assert (Version.parse(f"0{one}") < Version.parse(str(other))) is (one < other)
    assert (Version.parse(f"0{one}").key == Version.parse(str(other)).key) is (one == other)
