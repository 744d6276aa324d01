import asyncio
import threading

import pytest

from dbinit.threads import Unawaited


@pytest.fixture
def runner() -> asyncio.Runner:
    runner = asyncio.Runner()
    runner.get_loop().set_default_executor(Unawaited())
    return runner


def test_a_loop_ends_without_waiting_for_what_it_has_begun(runner: asyncio.Runner) -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(10)
        ended.set()

    with runner, pytest.raises(TimeoutError):
        runner.run(asyncio.wait_for(asyncio.to_thread(work), 0.01))
    assert not ended.is_set()
    release.set()
    assert ended.wait(10)


def test_what_comes_of_it_is_told(runner: asyncio.Runner) -> None:
    with runner:
        assert runner.run(asyncio.to_thread(sum, (1, 2))) == 3
        with pytest.raises(ZeroDivisionError):
            runner.run(asyncio.to_thread(divmod, 1, 0))
