"""A folder, empty to begin with, for a fresh database."""

from pathlib import Path

import pytest

from .kit import Project


@pytest.fixture
def project(tmp_path: Path, database_url: str) -> Project:
    return Project(tmp_path / "migrations", database_url)
