"""Folders that cannot be used: one clear error each, before anything is touched."""

import asyncio
import json
import os
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from dbinit import ExitCode, SourceError
from tests.kit.network import dead_port

from .kit import CHAIN, Project, relations

MISTAKES: dict[str, tuple[dict[str, str | bytes], str]] = {
    "two of one version": ({"01_other.sql": "SELECT 1"}, "001_one.sql"),
    "an unknown annotation": (
        {"004_x.sql": "-- dbinit: frobnicate\nSELECT 1"},
        "004_x.sql:1:1: there is no annotation",
    ),
    "it depends on itself": ({"004_x.sql": "-- dbinit: depends 4\nSELECT 1"}, "004_x.sql:1:1: it depends on itself"),
    "it depends on nobody known": ({"004_x.sql": "-- dbinit: depends 9\nSELECT 1"}, "004_x.sql:1:1: it depends on 9"),
    "a down without an up": ({"004_x.down.sql": "SELECT 1"}, "004_x.down.sql"),
    "an empty file": ({"004_x.sql": ""}, "004_x.sql"),
    "only comments": ({"004_x.sql": "-- nothing\n"}, "004_x.sql:1:1: there is no SQL statement"),
    "an empty down": ({"004_x.sql": "SELECT 1;\n-- dbinit: down\n"}, "004_x.sql:2:1: there is no SQL statement"),
    "two ways back": ({"004_x.sql": "SELECT 1;\n-- dbinit: down\nSELECT 1", "004_x.down.sql": "SELECT 1"}, "004_x"),
    "no text": ({"004_x.sql": b"SELECT '\xff'"}, "004_x.sql:1:9"),
    "a name that is none": ({"four.sql": "SELECT 1"}, "four.sql: this is no name of a migration"),
    "a name that only Windows takes for one": ({"004_x.SQL": "SELECT 1"}, "004_x.SQL: this is no name of a migration"),
    "more than 64 bits": ({"18446744073709551616_x.sql": "SELECT 1"}, "has more than 64 bits"),
    "no number of seconds": ({"004_x.sql": "-- dbinit: lock-timeout soon\nSELECT 1"}, "004_x.sql:1:1: lock-timeout"),
    "files of another tool": ({"V4__x.sql": "SELECT 1"}, "V4__x.sql"),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_named_and_nothing_changed(
    name: str, project: Project, connection: asyncpg.Connection
) -> None:
    files, said = MISTAKES[name]
    project.write({**CHAIN, **files})
    with pytest.raises(SourceError) as caught:
        await project.up()
    assert said in caught.value.message
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0


async def test_one_that_is_only_begun_keeps_nobody_from_looking_and_going_back(
    project: Project, connection: asyncpg.Connection
) -> None:
    project.write(CHAIN)
    await project.up()
    (created,) = json.loads(project.run("new", "add tags", "--json").out)["created"]

    status = project.run("status", "--exit-code")
    assert status.code == ExitCode.HISTORY
    assert "pending" in status.out
    assert f"up would refuse: {created}:1:1: there is no SQL statement" in status.out

    assert project.run("down").code == ExitCode.OK
    assert await relations(connection) == {"one", "two"}
    for command in ("up", "plan"):
        end = project.run(command)
        assert end.code == ExitCode.USAGE
        assert f"{created}:1:1: there is no SQL statement" in end.err
    assert await relations(connection) == {"one", "two"}


@pytest.mark.parametrize("attempts", [1, 0], ids=["where connecting fails", "where it is still tried"])
async def test_a_mistake_waits_for_no_database_and_is_what_is_told(attempts: int, tmp_path: Path) -> None:
    project = Project(tmp_path / "folder", f"postgresql://nobody@127.0.0.1:{dead_port()}/none")
    project.write({"001_empty.sql": ""})
    async with asyncio.timeout(10):
        with pytest.raises(SourceError, match="there is no SQL statement"):
            await project.up(retry_attempts=attempts, retry_delay=timedelta(minutes=1))


def test_all_mistakes_are_named_at_once(project: Project) -> None:
    project.write({**CHAIN, "004_x.sql": "-- dbinit: frobnicate\nSELECT 1", "005_y.sql": "", "four.sql": "SELECT 1"})
    end = project.run()
    assert end.code == ExitCode.USAGE
    assert all(name in end.err for name in ("004_x.sql:1:1", "005_y.sql", "four.sql"))


def test_what_only_a_folder_can_do_is_refused_for_a_file(project: Project) -> None:
    project.write({"init-db.sql": "SELECT 1"})
    for options in (["--jobs", "2"], ["--target", "1"], ["--dry-run"]):
        end = project.run("up", "--path", project.path("init-db.sql"), *options)
        assert end.code == ExitCode.USAGE
        assert "--jobs, --dry-run and --single-transaction are for a folder of migrations" in end.err


def test_a_folder_without_migrations(project: Project) -> None:
    project.write({"README.md": "nothing here"})
    end = project.run()
    assert end.code == ExitCode.USAGE
    assert str(project.folder) in end.err


def test_a_folder_that_is_not_there(project: Project) -> None:
    assert project.run().code == ExitCode.USAGE
    assert project.run("down").code == ExitCode.USAGE


def test_a_link_that_leads_out_of_the_folder(project: Project, tmp_path: Path) -> None:
    secret = tmp_path / "secret.sql"
    secret.write_text("SELECT 1")
    project.write(CHAIN)
    (project.folder / "004_x.sql").symlink_to(secret)
    end = project.run()
    assert end.code == ExitCode.USAGE
    assert "leads out of the folder" in end.err


def test_a_link_that_leads_to_no_file(project: Project) -> None:
    project.write(CHAIN)
    (project.folder / "004_x.sql").symlink_to(project.folder / "gone.sql")
    end = project.run("status")
    assert end.code == ExitCode.USAGE
    assert f"{project.path('004_x.sql')} is a link that leads to no file" in end.err


def test_what_the_folders_own_tool_passes_over_is_told(project: Project) -> None:
    project.write({"001_one.up.sql": "CREATE TABLE one ()"})
    (project.folder / "later").mkdir()
    project.write({"later/002_two.up.sql": "CREATE TABLE two ()"})
    end = project.run("status", "--json")
    assert "golang-migrate passes over 1 file that may be meant as migrations" in end.err
    assert project.path("later/002_two.up.sql") in end.err
    assert len(json.loads(end.out)["migrations"]) == 1


def test_what_is_no_file_is_passed_over(project: Project) -> None:
    project.write(CHAIN)
    (project.folder / "004_x.sql").mkdir()
    (project.folder / "notes.txt").symlink_to(project.folder / "gone.txt")
    os.mkfifo(project.folder / "005_y.sql")
    end = project.run("status", "--json")
    assert end.code == ExitCode.OK, end.err
    assert len(json.loads(end.out)["migrations"]) == len(CHAIN)


@pytest.mark.parametrize("words", ["up", "new more"])
def test_a_folder_or_a_file_that_may_not_be_read(words: str, project: Project) -> None:
    project.write(CHAIN)
    for path in (project.folder, project.folder / "002_two.sql"):
        path.chmod(0)
        end = project.run_powerless(*words.split())
        path.chmod(0o700)
        assert end.code == ExitCode.USAGE
        assert f"{path} cannot be read: Permission denied" in end.err


def test_a_file_in_a_folder_that_may_not_be_entered(project: Project) -> None:
    project.write(CHAIN)
    file, project.folder = project.folder / "002_two.sql", project.folder / "002_two.sql"
    file.parent.chmod(0)
    end = project.run_powerless()
    file.parent.chmod(0o700)
    assert end.code == ExitCode.USAGE
    assert f"{file} cannot be read: Permission denied" in end.err
