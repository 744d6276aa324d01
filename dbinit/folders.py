"""The names for folders of migrations, beside those of `dbinit`: requests, hooks, errors, and how things stand.

`await Initializer(options).migrate(Down(2))` carries such a request out.
"""

from .migrations.model import Hook
from .migrations.preparation import Task
from .migrations.problems import FolderError, PlanError
from .migrations.request import Baseline, Down, Import, Redo, Repair, Up
from .migrations.standing import Standing, Status
from .migrations.version import Version
from .runner.hooks import HookCall, HookError, Hooks
from .runner.work import Standings

__all__ = [
    "Baseline",
    "Down",
    "FolderError",
    "Hook",
    "HookCall",
    "HookError",
    "Hooks",
    "Import",
    "PlanError",
    "Redo",
    "Repair",
    "Standing",
    "Standings",
    "Status",
    "Task",
    "Up",
    "Version",
]
