import copy
import pickle
from collections.abc import Callable

import pytest

from dbinit.redaction import MASK, Secret

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "show",
    [str, repr, "{}".format, "{!r}".format, lambda secret: f"{[secret]}"],
)
def test_no_text_made_of_it_shows_it(show: Callable[[Secret], str]) -> None:
    text = show(Secret(CANARY))
    assert CANARY not in text
    assert MASK in text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="not to be pickled") as caught:
        pickle.dumps(Secret(CANARY), protocol)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_is_the_secret_itself(duplicate: Callable[[Secret], Secret]) -> None:
    secret = Secret(CANARY)
    assert duplicate(secret) is secret


def test_it_has_no_dictionary_to_look_into() -> None:
    assert not hasattr(Secret(CANARY), "__dict__")


def test_reveal_returns_the_text() -> None:
    assert Secret(CANARY).reveal() == CANARY


def test_scrub_masks_every_occurrence() -> None:
    assert Secret(CANARY).scrub(f"<{CANARY}> and {CANARY}") == f"<{MASK}> and {MASK}"


def test_an_empty_secret_scrubs_nothing() -> None:
    assert Secret("").scrub("text") == "text"


def test_secrets_compare_by_what_they_hide() -> None:
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret("another")
    assert Secret(CANARY) != CANARY
    assert len({Secret(CANARY), Secret(CANARY)}) == 1
