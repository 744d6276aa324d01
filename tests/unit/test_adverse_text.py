"""Reading takes time in proportion to the text, whatever stands in it."""

import time
from contextlib import suppress

import pytest

from dbinit.sql.lexer import UnterminatedError, split
from dbinit.sql.text import hide_passwords
from tests.kit.adverse import adverse

SIZE = 200_000
LIMIT = 10.0
"""Seconds for that: several times what the slowest takes, and far less than where it grows by the square."""


@pytest.mark.parametrize("standard", [True, False], ids=["standard", "lenient"])
@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in adverse(SIZE)])
def test_takes_no_longer_than_the_text_is_long(text: str, *, standard: bool) -> None:
    began = time.process_time()
    with suppress(UnterminatedError):
        for piece in split(text, standard_conforming_strings=standard):
            assert piece.start <= piece.end <= piece.next <= SIZE
    assert time.process_time() - began < LIMIT


@pytest.mark.parametrize("part", ["://a:", "password=", "password=''", "password--", "password/*"])
def test_neither_does_hiding_passwords(part: str) -> None:
    began = time.process_time()
    hide_passwords((part * SIZE)[:SIZE])
    assert time.process_time() - began < LIMIT
