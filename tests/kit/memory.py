"""Where temporary files go: into memory, where there is room.

Databases are made and dropped by the thousand, and each is three hundred files: a disk is many times as slow at that.
"""

import os
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's file system in memory, open to all as /tmp is
_ROOM = 2 << 30  # bytes; a run of three workers takes a quarter of it


def use_memory() -> None:
    """Let this process and its children make temporary files in memory, unless somebody has said where they go."""
    if "TMPDIR" not in os.environ and _has_room():
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # so that it is looked up again


def _has_room() -> bool:
    if not _MEMORY.is_dir():
        return False
    found = os.statvfs(_MEMORY)
    return not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize >= _ROOM
