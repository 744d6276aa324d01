"""The public API as typed code uses it. Not run: mypy reads it, and an ignore that is not needed is an error."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, assert_type

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from fastapi import APIRouter, Depends, FastAPI

import dbinit.fastapi
from dbinit import (
    Applied,
    DbInitError,
    Decision,
    ExitCode,
    Initializer,
    InitOptions,
    Mode,
    OnChange,
    OnFailure,
    Outcome,
    Phase,
    Readiness,
    Report,
    SettingsError,
    StatementError,
)

options = InitOptions(
    database_url="postgresql://localhost/db",
    migrations_path="scripts/init-db.sql",
    retry_attempts=5,
    retry_delay=timedelta(seconds=5),
)
InitOptions(database_url="", migrations_path=Path("a.sql"), on_change=OnChange.WARN, mode=Mode.VERIFY)
InitOptions(database_url="", on_change="warn", mode="verify", on_failure="stay")
assert_type(InitOptions.from_env(), InitOptions)
assert_type(InitOptions.from_env({"DATABASE_URL": ""}, migrations_path=None, retry_attempts=3), InitOptions)
InitOptions.from_env(read_text=lambda path: path.read_text())

InitOptions()  # type: ignore[call-arg]
InitOptions("postgresql://localhost")  # type: ignore[call-arg]
InitOptions(database_url="", retry_attempts="5")  # type: ignore[arg-type]
InitOptions(database_url="", retry_delay=5)  # type: ignore[arg-type]
InitOptions(database_url="", retries=5)  # type: ignore[call-arg]
InitOptions.from_env({"DB_RETRY_ATTEMPTS": 5})  # type: ignore[dict-item]
options.retry_attempts = 3  # type: ignore[misc]


def observe(readiness: Readiness) -> None:
    """Look at every part of a snapshot."""
    assert_type(readiness.phase, Phase)
    assert_type(readiness.ready, bool)
    assert_type(readiness.statement, int)
    assert_type(readiness.elapsed, float)
    assert_type(readiness.error, str)
    readiness.phase = Phase.READY  # type: ignore[misc]


async def initialize() -> Report:
    """Use an initializer by its methods."""
    initializer = Initializer(options, observer=observe)
    assert_type(initializer.readiness, Readiness)
    assert_type(await initializer.verify(), Report)
    assert_type(await initializer.status(), tuple[Decision, list[Applied]])
    await initializer.wait()
    await initializer.ping(0.5)
    report = await initializer.initialize()
    assert_type(report, Report)
    await initializer.close()
    return report


async def initialize_with() -> None:
    """Use an initializer as a context manager, and its pool."""
    async with Initializer(options) as initializer, initializer.pool(max_size=5) as pool:
        assert_type(initializer, Initializer)
        await pool.execute("SELECT 1")


def wrong_initializers() -> None:
    """Misuse it."""
    Initializer("postgresql://localhost")  # type: ignore[arg-type]
    Initializer(options, observer=print_report)  # type: ignore[arg-type]
    Initializer(options, observe)  # type: ignore[call-arg]


def print_report(report: Report, history: list[Applied]) -> None:
    """Look at every part of what a run says."""
    assert_type(report.outcome, Outcome)
    assert_type(report.statements, int)
    assert_type(report.seconds, float)
    assert_type(report.checksum, str)
    assert_type(history[0].applied_at, datetime)
    assert_type(history[0].outcome, Outcome)


def exit_code(error: DbInitError) -> int:
    """Look at every part of an error."""
    assert_type(error.exit_code, ExitCode)
    assert_type(error.advice, str)
    assert_type(error.outcome, str)
    if isinstance(error, SettingsError):
        assert_type(error.problems, tuple[str, ...])
    if isinstance(error, StatementError):
        assert_type((error.sqlstate, error.line, error.column), tuple[str, int, int])
    return error.exit_code


@asynccontextmanager
async def inner(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    """Be a lifespan of one's own, which goes on within dbinit's."""
    yield {"title": app.title}


app = FastAPI(lifespan=dbinit.fastapi.lifespan())
app = FastAPI(lifespan=dbinit.fastapi.lifespan(options, mode="verify", on_failure="stay", inner=inner))
app.add_middleware(dbinit.fastapi.Gate)
app.add_middleware(dbinit.fastapi.Gate, open_paths={"/metrics"})
app.include_router(dbinit.fastapi.health_router(details=True))
assert_type(dbinit.fastapi.health_router(), APIRouter)
lifespan: Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]] = dbinit.fastapi.lifespan(
    options, mode=Mode.BLOCKING, on_failure=OnFailure.STAY
)

dbinit.fastapi.lifespan("postgresql://localhost")  # type: ignore[arg-type]
dbinit.fastapi.lifespan(options, inner=initialize)  # type: ignore[arg-type]
app.add_middleware(dbinit.fastapi.Gate, paths={"/metrics"})  # type: ignore[call-arg]


@app.get("/pool")
async def with_pool(pool: Annotated[asyncpg.Pool, Depends(dbinit.fastapi.pool)]) -> str:
    """Take the pool."""
    return str(await pool.fetchval("SELECT 'x'"))


@app.get("/connection")
async def with_connection(connection: Annotated[PoolConnectionProxy, Depends(dbinit.fastapi.connection)]) -> str:
    """Take a connection for the length of the request."""
    return str(await connection.fetchval("SELECT 'x'"))
