"""What is to be done: the history and the file go in, a decision comes out. Pure."""

from collections.abc import Sequence
from enum import Enum

from .model import Applied, OnChange, Outcome

__all__ = ["Decision", "decide"]


class Decision(Enum):
    """What to do about a file."""

    APPLY = "apply"
    """It was never applied."""
    RERUN = "rerun"
    """It was applied and edited since, and is meant to be idempotent."""
    SKIP = "skip"
    """This very file was applied."""
    OLDER = "older"
    """This very file was applied, and a newer version of it since: the image was rolled back, or is being replaced."""
    WARN = "warn"
    """It was edited since, and only a warning is wanted."""
    REFUSE = "refuse"
    """It was edited since, and that is an error."""
    RESUME = "resume"
    """It controls its own transactions, and was interrupted on the way."""
    ADOPT = "adopt"
    """There is no history, but the sentinel table: the schema was created before dbinit came."""


_ON_CHANGE = {OnChange.RERUN: Decision.RERUN, OnChange.WARN: Decision.WARN, OnChange.FAIL: Decision.REFUSE}


def decide(
    script: str, checksum: str, history: Sequence[Applied], *, sentinel_found: bool, on_change: OnChange
) -> Decision:
    """Decide about one file.

    Args:
        script: The file's name in the history.
        checksum: Its checksum now.
        history: The whole history, oldest first.
        sentinel_found: Whether the sentinel table exists; it counts only while the history is empty.
        on_change: What to do about an edited file.
    """
    if not history and sentinel_found:
        return Decision.ADOPT
    rows = [row for row in history if row.script == script]
    if rows and rows[-1].outcome is Outcome.UNFINISHED:
        return Decision.RESUME
    applied = [row.checksum for row in rows]
    if not applied:
        return Decision.APPLY
    if applied[-1] == checksum:
        return Decision.SKIP
    # Running an old version again would take back what a newer one did, under the replicas that need it.
    return Decision.OLDER if checksum in applied else _ON_CHANGE[on_change]
