"""Each guard is taken away: the kit that finds nothing wrong with dbinit has to find that."""

import pytest

from tests.kit.server import Server

from .guards import GUARDS, Guard, what_is_noticed


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_the_kit_notices_that_a_guard_is_gone(guard: Guard, server: Server) -> None:
    assert what_is_noticed(guard, server)
