"""The kit itself: what it looks at tells what is wrong, and its table is put where it belongs."""

import asyncio
from pathlib import Path

import asyncpg

from dbinit import ExitCode
from tests.kit.server import Server

from .campaign import Round, Tally
from .cuts import CUTS
from .kills import KILLS
from .report import write_report
from .scene import End, Scene, Stage
from .state import differences, read_state
from .workload import FOLDER

_HARM = {
    "DELETE FROM journal WHERE mark = 'm03b'": "records without marks",
    "INSERT INTO journal VALUES ('m05a')": "marks without a record",
    "DROP TABLE m07": "tables without a record",
    "CREATE TABLE m13 ()": "tables without a record",
    "DELETE FROM dbinit_migrations WHERE name = 'm12'": "tables without a record: frozenset({'m12'})",
    "UPDATE dbinit_migrations SET state = 'unfinished', statements = 3 WHERE name = 'm10'": "half there: 010_m10.sql",
    "INSERT INTO dbinit_migrations SELECT (jsonb_populate_record(h, '{\"id\": 99}')).* FROM dbinit_migrations AS h"
    " WHERE name = 'm06'": "recorded 2 times: m06",
}


def test_harm_is_seen(server: Server) -> None:
    with Stage.prepared(server, FOLDER) as stage, stage.scene() as scene:
        assert asyncio.run(scene.start()) == End(ExitCode.OK)
        scene.check_as_it_is()
        for harm, finding in _HARM.items():
            assert finding in "; ".join(asyncio.run(_seen_after(scene, harm))), harm


async def _seen_after(scene: Scene, harm: str) -> list[str]:
    """Do harm, look, and undo it."""
    connection = await asyncpg.connect(scene.url)
    try:
        harmed = connection.transaction(isolation="repeatable_read")
        await harmed.start()
        await connection.execute(harm)
        found = differences(await read_state(connection), FOLDER)
        await harmed.rollback()
        return found
    finally:
        await connection.close()


def test_the_table_is_put_between_its_marks(tmp_path: Path) -> None:
    file = tmp_path / "reliability.md"
    file.write_text("before\n<!-- table: begin -->\nold\n<!-- table: end -->\nbehind\n")
    tallies = [
        Tally(KILLS, 7, [Round(hit=True), Round(hit=False)], 90),
        Tally(CUTS, 1, [Round(hit=True, unaided=True)], 6),
    ]

    write_report(tallies, file)

    lines = file.read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("before", "behind", 8)
    assert lines[4].endswith("| 2 | 1 | - | 0 | 7 to 8 | 1.5 |")
    assert lines[5].endswith("| 1 | 1 | 1 | 0 | 1 to 1 | 0.1 |")
