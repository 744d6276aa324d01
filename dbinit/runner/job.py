"""A request about a folder, and what has been done for it, however many connections that took."""

import logging

from dbinit.migrations.model import Folder
from dbinit.migrations.plan import Step
from dbinit.migrations.preparation import Task
from dbinit.migrations.request import Request

from .framing import Progress, Ran, done_state, log_ran
from .ledger import Ledger

__all__ = ["Job"]

logger = logging.getLogger("dbinit")


class Job:
    """A request, whose steps are counted once each, also where the answer to a commit was lost.

    Args:
        folder: The folder that it is about.
        request: What is wanted.
    """

    def __init__(self, folder: Folder, request: Request) -> None:
        self.folder = folder
        self.request = request
        self.ran: list[Ran] = []
        """What has been done, and recorded."""
        self.opened = False
        """Whether what is hooked in before all was run in a transaction of its own."""
        self._tried: dict[int, Task] = {}

    @property
    def steps(self) -> list[Step]:
        """The steps that have been taken."""
        return [found.task.step for found in self.ran]

    def add(self, progress: Progress) -> None:
        """Take what one run has done and tried."""
        self.ran += progress.ran
        self._tried |= progress.tried

    def recount(self, ledger: Ledger) -> None:
        """Count anew, by the history as it is now: behind the loss of a connection, it has the last word."""
        before = [found.task.path for found in self.ran]
        rows = {row.id: row for row in ledger.rows}
        self.ran = []
        for number, task in sorted(self._tried.items()):
            row = rows.get(number)
            if row and (row.version, row.name, row.state) == (task.step.version, task.step.name, done_state(task)):
                self.ran.append(Ran(task, row.statements, row.seconds))
        for found in self.ran:
            if found.task.path not in before:
                log_ran(found)
        for path in set(before) - {found.task.path for found in self.ran}:
            logger.warning("%s was done on a server that is gone, and the one there is now does not know of it", path)

    @property
    def kept(self) -> str:
        """Say what was done before; empty where nothing was."""
        names = ", ".join(found.task.path for found in self.ran)
        return f"Done before, and kept: {names}." if names else ""
