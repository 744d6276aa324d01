"""A service with a folder: open from the first moment, ready when all is applied."""

from pathlib import Path

import asyncpg

from tests.kit.patience import eventually
from tests.kit.process import finished
from tests.kit.service import serving

from .kit import CHAIN, Project

GATE = 78


async def test_a_service_starts_while_its_migrations_run(
    project: Project, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    project.write({"001_item.sql": "CREATE TABLE item (id int); INSERT INTO item VALUES (1), (2)"})
    project.write({"002_wait.sql": f"SELECT pg_advisory_xact_lock_shared({GATE});\nSELECT 1;\n"})
    env = {"DATABASE_URL": project.url, "MIGRATION_PATH": str(project.folder)}
    await connection.execute("SELECT pg_advisory_lock($1)", GATE)
    with serving(tmp_path, env, health={"details": True}) as service:
        eventually(lambda: service.get("/healthz").json()["phase"] == "applying")
        body = service.until("/healthz", 503).json()
        assert (body["status"], body["file"]) == ("starting", project.path("002_wait.sql"))
        assert service.get("/livez").status_code == 200
        assert service.get("/items").status_code == 503

        await connection.execute("SELECT pg_advisory_unlock($1)", GATE)
        assert service.until("/healthz", 200).json()["status"] == "ready"
        assert service.get("/items").json() == [1, 2]


async def test_a_service_in_verify_mode_waits_for_the_one_that_applies(project: Project, tmp_path: Path) -> None:
    project.write({**CHAIN, "004_item.sql": "CREATE TABLE item (id int)"})
    env = {"DATABASE_URL": project.url, "MIGRATION_PATH": str(project.folder), "DBINIT_MODE": "verify"}
    with serving(tmp_path, env) as service:
        eventually(lambda: service.get("/healthz").json()["phase"] == "waiting")
        assert service.get("/healthz").status_code == 503
        await project.up()
        service.until("/healthz", 200)
        assert service.get("/items").json() == []


async def test_a_service_whose_migration_fails_ends_with_the_reason(project: Project, tmp_path: Path) -> None:
    project.write({"001_item.sql": "CREATE TABLE item (id int);\nSELECT 1/0;\n"})
    env = {"DATABASE_URL": project.url, "MIGRATION_PATH": str(project.folder)}
    with serving(tmp_path, env) as service:
        end = finished(service.process)
    assert end.code == 1
    assert f"{project.path('001_item.sql')}:2:1" in end.err
