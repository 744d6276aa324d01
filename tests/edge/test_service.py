"""A service under uvicorn, in each mode: from the first moment, through bad days, to the last."""

import asyncio
import signal
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI

from dbinit import DbInitError, ExitCode, StatementError
from dbinit.fastapi import Gate, health_router, lifespan
from tests.kit.faulty import FaultyProxy
from tests.kit.network import dead_port
from tests.kit.patience import eventually, eventually_async
from tests.kit.process import finished, run_dbinit
from tests.kit.server import PASSWORD, Server
from tests.kit.service import Serving, probe, serving
from tests.kit.starts import options

Write = Callable[[str], Path]
SCRIPT = """\
CREATE TABLE item (id int);
INSERT INTO item VALUES (1), (2);
"""


def settings(url: str, path: Path, **more: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "MIGRATION_PATH": str(path), "DBINIT_SENTINEL": "", **more}


def state(service: Serving) -> tuple[int, dict[str, str]]:
    answer = service.get("/healthz")
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, answer.json()


async def sessions(connection: asyncpg.Connection) -> int:
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    number = await connection.fetchval(others)
    assert isinstance(number, int)
    return number


async def alone(connection: asyncpg.Connection) -> None:
    async def is_alone() -> bool:
        return await sessions(connection) == 0

    await eventually_async(is_alone, 2.0)


# A life ---------------------------------------------------------------------------------------------


def test_background_from_a_late_server_to_a_graceful_end(
    own_server: Server, own_url: str, write: Write, tmp_path: Path
) -> None:
    own_server.stop()
    with serving(tmp_path, settings(own_url, write(SCRIPT), DB_RETRY_DELAY="30s")) as service:
        assert service.get("/livez").json() == {"status": "alive"}
        assert state(service) == (503, {"status": "starting", "phase": "connecting"})
        assert service.get("/readyz").status_code == 503
        refused = service.get("/items")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")

        own_server.start()
        service.until("/readyz", 200)
        assert state(service) == (200, {"status": "ready", "phase": "ready"})
        assert service.get("/items").json() == [1, 2]
        assert service.get("/state").json() == ["hello", "too"]

        own_server.stop()
        assert service.get("/items").status_code == 503
        assert service.get("/healthz").status_code == 200, "a database that is away for a moment is no reason to leave"
        own_server.start()
        service.until("/items", 200)

        service.process.send(signal.SIGTERM)
        end = finished(service.process)
        assert end.out.splitlines() == ["inner up", "inner down"]
        assert end.code in {0, -signal.SIGTERM}


def test_blocking_opens_the_port_once_the_schema_is_there(
    own_server: Server, own_url: str, write: Write, tmp_path: Path
) -> None:
    own_server.stop()
    env = settings(own_url, write(SCRIPT), DB_RETRY_DELAY="30s", DBINIT_MODE="blocking")
    with serving(tmp_path, env) as service:
        service.process.wait_for("Waiting for application startup")
        service.process.wait_for("failed")
        assert not service.is_open

        own_server.start()
        assert service.get("/healthz").status_code == 200
        assert service.get("/items").status_code == 200

        service.process.send(signal.SIGTERM)
        assert finished(service.process).out.splitlines() == ["inner up", "inner down"]


async def test_verify_creates_nothing_and_is_ready_once_another_process_applied(
    connection: asyncpg.Connection, database: str, server: Server, database_url: str, write: Write, tmp_path: Path
) -> None:
    role = f"reader_{database}"
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    await connection.execute(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}")
    env = settings(server.url(database, user=role), write(SCRIPT), DBINIT_MODE="verify")
    try:
        with serving(tmp_path, env) as service:
            eventually(lambda: state(service) == (503, {"status": "starting", "phase": "waiting"}))
            assert await connection.fetchval("SELECT to_regclass('dbinit_history')") is None

            assert run_dbinit(env=settings(database_url, write(SCRIPT))).code == 0
            service.until("/healthz", 200)
            assert service.get("/items").json() == [1, 2]
    finally:
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_without_a_lifespan_everything_but_liveness_stays_shut(database_url: str, write: Write, tmp_path: Path) -> None:
    with serving(tmp_path, settings(database_url, write(SCRIPT)), "--lifespan", "off") as service:
        assert service.get("/livez").status_code == 200
        assert service.get("/healthz").status_code == 503
        assert service.get("/readyz").status_code == 503
        assert service.get("/items").status_code == 503
        assert service.get("/state").status_code == 503, "the gate's doing, as nothing behind it asks for the database"


# Failing for good -----------------------------------------------------------------------------------


def failing(code: ExitCode, url: str, write: Write) -> tuple[dict[str, str], str]:
    """Return settings that end with this code, and what is said then."""
    match code:
        case ExitCode.FAILED:
            return settings(url, write(SCRIPT + "SELECT wrong;")), 'column "wrong" does not exist'
        case ExitCode.USAGE:
            return settings(url, Path("/missing.sql")), "there is no file /missing.sql"
        case _:
            nowhere = f"postgresql://x@127.0.0.1:{dead_port()}/x"
            return settings(nowhere, write(SCRIPT), DB_RETRY_ATTEMPTS="1"), "was not reached"


@pytest.mark.parametrize(
    ("mode", "loop", "code"),
    [
        ("background", "asyncio", ExitCode.FAILED),
        ("background", "uvloop", ExitCode.USAGE),
        ("background", "uvloop", ExitCode.UNREACHABLE),
        ("blocking", "uvloop", ExitCode.FAILED),
        ("blocking", "asyncio", ExitCode.USAGE),
        ("blocking", "asyncio", ExitCode.UNREACHABLE),
    ],
)
def test_a_start_that_fails_for_good_ends_the_process_with_its_code(
    mode: str, loop: str, code: ExitCode, database_url: str, write: Write, tmp_path: Path
) -> None:
    env, said = failing(code, database_url, write)
    with serving(tmp_path, {**env, "DBINIT_MODE": mode}, "--loop", loop) as service:
        end = finished(service.process)

    assert end.code == code
    assert end.err.count(said) == 1
    assert mode == "background" or "Uvicorn running" not in end.err


@pytest.mark.parametrize("mode", ["background", "blocking"])
def test_settings_that_cannot_be_used_end_the_process(mode: str, tmp_path: Path) -> None:
    with serving(tmp_path, {"DB_RETRY_DELAY": "soon"}, lifespan={"mode": mode}) as service:
        end = finished(service.process)

    assert end.code == ExitCode.USAGE
    assert end.err.count("DATABASE_URL is not set") == 1
    assert end.err.count("'soon' is not a duration") == 1


def test_a_schema_that_never_comes_ends_verify(database_url: str, write: Write, tmp_path: Path) -> None:
    env = settings(database_url, write(SCRIPT), DBINIT_MODE="verify", DBINIT_LOCK_WAIT="0")
    with serving(tmp_path, env) as service:
        end = finished(service.process)

    assert end.code == ExitCode.HISTORY
    assert end.err.count("mode verify applies nothing") == 1


@pytest.mark.parametrize("mode", ["background", "blocking"])
def test_a_service_that_is_to_stay_stays_shut(mode: str, database_url: str, write: Write, tmp_path: Path) -> None:
    env = settings(database_url, write("SELECT wrong"), DBINIT_MODE=mode, DBINIT_ON_FAILURE="stay")
    with serving(tmp_path, env) as service:
        eventually(lambda: state(service) == (503, {"status": "failed", "phase": "failed"}))
        assert service.get("/livez").status_code == 200
        refused = service.get("/items")
        assert (refused.status_code, refused.json()) == (503, {"detail": "The service did not start."})

        service.process.send(signal.SIGTERM)
        end = finished(service.process)
        assert end.err.count('column "wrong" does not exist') == 1


def test_a_service_without_settings_stays_when_it_is_told_to(tmp_path: Path) -> None:
    with serving(tmp_path, {}, lifespan={"on_failure": "stay"}) as service:
        service.until("/healthz", 503)
        assert state(service)[1]["status"] == "failed"


# Signals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "number"),
    [
        ("blocking on asyncio", signal.SIGTERM),
        ("blocking on uvloop", signal.SIGTERM),
        ("blocking on uvloop", signal.SIGINT),
        ("background on uvloop", signal.SIGTERM),
        ("background on asyncio", signal.SIGINT),
    ],
)
async def test_a_signal_during_the_start_ends_it_at_once(
    start: str,
    number: signal.Signals,
    connection: asyncpg.Connection,
    database_url: str,
    write: Write,
    tmp_path: Path,
) -> None:
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

    async def is_asleep() -> bool:
        return bool(await connection.fetchval(asleep))

    mode, loop = start.split(" on ")
    env = settings(database_url, write(SCRIPT + "SELECT pg_sleep(60);"), DBINIT_MODE=mode)
    with serving(tmp_path, env, "--loop", loop) as service:
        await eventually_async(is_asleep)
        service.process.send(number)
        end = finished(service.process, 10)  # the script would sleep for a minute

    assert end.code in {128 + number, -number, 0}
    await alone(connection)
    assert await connection.fetchval("SELECT to_regclass('item')") is None


# Looking at the database ----------------------------------------------------------------------------


def test_a_database_that_is_away_shows_where_it_is_looked_at(
    own_server: Server, own_url: str, write: Write, tmp_path: Path
) -> None:
    env = settings(own_url, write(SCRIPT))
    with serving(tmp_path, env, health={"check_database": True}) as service:
        service.until("/livez", 200)
        eventually(lambda: "inner up" in service.process.out)
        service.until("/items", 200)
        own_server.stop()

        assert state(service) == (503, {"status": "unavailable", "phase": "ready"})
        assert service.get("/livez").status_code == 200


def test_a_hundred_probes_of_a_frozen_database_are_answered_and_ask_once(
    server: Server, database: str, write: Write, tmp_path: Path
) -> None:
    with FaultyProxy(server.port) as line:
        url = server.url(database).replace(f":{server.port}/", f":{line.port}/")
        with serving(tmp_path, settings(url, write(SCRIPT)), health={"check_database": True}) as service:
            service.until("/items", 200)
            line.freeze()
            before = line.accepted
            answers = asyncio.run(probe(service.port, 100))

            assert {status for status, _ in answers} == {503}
            assert max(seconds for _, seconds in answers) < 1.0
            assert line.accepted - before <= 1


def test_details_are_shown_only_when_asked_for(database_url: str, write: Write, tmp_path: Path) -> None:
    path = write("SELECT wrong")
    env = settings(database_url, path, DBINIT_ON_FAILURE="stay")
    with serving(tmp_path, env, health={"details": True}) as service:
        eventually(lambda: state(service)[1]["status"] == "failed")
        body = service.get("/healthz").json()

    assert 0 < body.pop("elapsed") < 20
    assert body == {
        "status": "failed",
        "phase": "failed",
        "attempt": 1,
        "attempts": 5,
        "file": str(path),
        "statement": 1,
        "statements": 1,
        "migration": 0,
        "migrations": 0,
        "detail": "",
        "error": "StatementError",
    }


# Within this process --------------------------------------------------------------------------------


async def call(app: Any, scope: MutableMapping[str, Any]) -> list[MutableMapping[str, Any]]:
    """Send a scope to an ASGI application; return what it sends."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": f"{scope['type']}.connect" if scope["type"] == "websocket" else "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app({"path": "/", "headers": [], "query_string": b"", "method": "GET", **scope}, receive, send)
    return sent


async def test_the_gate_closes_websockets() -> None:
    app = FastAPI()
    app.add_middleware(Gate)

    (answer,) = await call(app, {"type": "websocket", "path": "/chat"})

    assert (answer["type"], answer["code"]) == ("websocket.close", 1013)


async def test_the_gate_opens_what_it_is_told_to_below_a_root_path() -> None:
    async def behind(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    gate = Gate(behind, open_paths=["/about"])

    for path, status in {"/api/about": 200, "/about": 200, "/api/other": 503, "/livez": 503}.items():
        answer, *_ = await call(gate, {"type": "http", "path": path, "root_path": "/api"})
        assert (path, answer["status"]) == (path, status)


def in_a_thread(app: FastAPI, holds: Callable[[dict[str, Any]], bool] = bool) -> list[MutableMapping[str, Any]]:
    """Run the lifespan in a thread until its state holds; return the health route's answer then."""

    async def run() -> list[MutableMapping[str, Any]]:
        async with app.router.lifespan_context(app) as found:
            assert found is not None
            state = dict(found)

            async def is_so() -> bool:
                return holds(state)

            await eventually_async(is_so)
            return await call(app, {"type": "http", "path": "/healthz", "state": state})

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result(30)


def service_app(url: str, path: Path, **arguments: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan(options(url, path), **arguments))
    app.include_router(health_router())
    return app


def test_outside_the_main_thread_blocking_raises(database_url: str, write: Write) -> None:
    with pytest.raises(StatementError):
        in_a_thread(service_app(database_url, write("SELECT wrong"), mode="blocking"))


def test_outside_the_main_thread_background_stays(database_url: str, write: Write) -> None:
    app = service_app(database_url, write("SELECT wrong"), mode="background")

    start, body = in_a_thread(app, lambda state: state["dbinit"].failure is not None)

    assert start["status"] == 503
    assert b'"failed"' in body["body"]


def test_outside_the_main_thread_all_is_well(database_url: str, write: Write) -> None:
    start, _ = in_a_thread(service_app(database_url, write(SCRIPT), mode="blocking"))

    assert start["status"] == 200


def test_an_error_of_the_inner_lifespan_comes_out_as_it_is(database_url: str, write: Write) -> None:
    def broken(_: FastAPI) -> Any:
        raise LookupError("of the service's own")

    with pytest.raises(LookupError, match="of the service's own"):
        in_a_thread(service_app(database_url, write(SCRIPT), inner=broken))


def test_bad_options_outside_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    app = FastAPI(lifespan=lifespan(mode="blocking"))
    app.include_router(health_router())

    with pytest.raises(DbInitError, match="DATABASE_URL is not set"):
        in_a_thread(app)
