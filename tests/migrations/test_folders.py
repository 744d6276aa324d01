"""The folders in `folders` are what the tools take.

They hold the same library in each format, with what makes readers stumble: bodies with semicolons, indexes that are
built concurrently, comments that look like marks, CRLF, versions of more than 32 bits, in an order that is not that of
the names.
"""

import pytest

from tests.kit.tools import Program, Tool
from tests.migrations.conftest import HOOKS, STAND_INS, Database, folder_of, skip_without


def test_the_tool_applies_its_folder_and_takes_it_back(tool: Tool, theirs: Database, empty: str) -> None:
    tool.up(theirs.url, folder_of(tool))
    assert "CREATE TABLE public.author" in theirs.dump(tool)
    tool.down(theirs.url, folder_of(tool))
    assert theirs.dump(tool, HOOKS) == empty


def test_the_tool_applies_its_folder_again(tool: Tool, theirs: Database) -> None:
    if tool.name == "flyway":
        pytest.skip("Flyway does not run a repeatable migration again when what it needs was taken back")
    tool.up(theirs.url, folder_of(tool))
    first = theirs.dump(tool)
    tool.down(theirs.url, folder_of(tool))
    tool.up(theirs.url, folder_of(tool))
    assert theirs.dump(tool) == first


@pytest.mark.parametrize("program", STAND_INS, ids=lambda program: program.name)
def test_psql_does_what_the_tool_itself_does(program: Program, theirs: Database, ours: Database) -> None:
    skip_without(program)
    stand_in = STAND_INS[program]
    program.up(theirs.url, folder_of(program))
    stand_in.up(ours.url, folder_of(program))
    assert ours.dump(program) == theirs.dump(program)
    assert stand_in.recorded(ours.url) == stand_in.recorded(theirs.url)
