"""Starts in this process, with settings that suit a test: one attempt, unless it asks for more."""

from pathlib import Path
from typing import Any

from dbinit import Initializer, InitOptions, Report


def options(url: str, path: Path, **changes: Any) -> InitOptions:
    return InitOptions(database_url=url, migrations_path=path, **{"retry_attempts": 1, **changes})


async def initialize(url: str, path: Path, **changes: Any) -> Report:
    """Initialize a database and let go of it."""
    initializer = Initializer(options(url, path, **changes))
    try:
        return await initializer.initialize()
    finally:
        await initializer.close()
