import pytest

from dbinit.wording import counted, one_line, printable


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows")])
def test_one_is_one(number: int, text: str) -> None:
    assert counted(number, "row") == text


def test_a_terminal_gets_nothing_to_obey() -> None:
    assert printable("a\x1b[2J\u202eb\rc\x9b\n\td é") == "a\\x1b[2J\\u202eb\\rc\\x9b\n\td é"


def test_a_name_is_one_line() -> None:
    assert one_line("a\nb\x1b é\udcff") == "a\\nb\\x1b é\\udcff"
    assert one_line("plain name.sql") == "plain name.sql"
