"""A FastAPI service under test: uvicorn as a process on a port of its own choice."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.kit.patience import eventually
from tests.kit.process import Process, running

APP = """\
import json, os
from contextlib import asynccontextmanager
from fastapi import APIRouter, Depends, FastAPI, Request
from dbinit.fastapi import Gate, connection, health_router, lifespan

@asynccontextmanager
async def inner(app):
    print("inner up", flush=True)
    if "PIDS" in os.environ:
        with open(os.environ["PIDS"], "a") as file:
            print(os.getpid(), file=file)
    yield {"greeting": "hello"}
    print("inner down", flush=True)

@asynccontextmanager
async def of_router(app):
    yield {"router": "too"}

router = APIRouter(lifespan=of_router)

@router.get("/state")
async def state(request: Request):
    return [request.state.greeting, request.state.router]

@router.get("/items")
async def items(connection=Depends(connection)):
    return [row["id"] for row in await connection.fetch("SELECT id FROM item ORDER BY id")]

app = FastAPI(lifespan=lifespan(inner=inner, **json.loads(os.environ["LIFESPAN"])))
app.include_router(router)
app.include_router(health_router(**json.loads(os.environ["HEALTH"])))
app.add_middleware(Gate)
"""


def get(url: str) -> httpx.Response:
    """Ask on a connection of its own, by no proxy, and without the certificates, which take longest to load."""
    return httpx.get(url, timeout=10, trust_env=False, verify=False)  # noqa: S501 - there is no TLS here


class Serving:
    """A running service."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @property
    def is_open(self) -> bool:
        return "Uvicorn running on" in self.process.err

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        self.process.wait_for("Uvicorn running on")
        found = re.search(r"Uvicorn running on (\S+)", self.process.err)
        assert found
        return found[1]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def get(self, path: str) -> httpx.Response:
        return get(self.url + path)

    def until(self, path: str, status: int, limit: float = 40.0) -> httpx.Response:
        """Ask until the answer has this status; return it."""
        eventually(lambda: self.get(path).status_code == status, limit, lambda: self.get(path).text + self.process.err)
        return self.get(path)


@contextmanager
def serving(
    folder: Path,
    env: Mapping[str, str],
    *arguments: str,
    health: Mapping[str, Any] | None = None,
    lifespan: Mapping[str, Any] | None = None,
) -> Iterator[Serving]:
    """Run the service with uvicorn.

    Args:
        folder: Where its module is written to.
        env: Its environment.
        arguments: Further ones of uvicorn's.
        health: Arguments for `health_router`.
        lifespan: Arguments for `lifespan`.
    """
    (folder / "service.py").write_text(APP)
    chosen = {"HEALTH": json.dumps(health or {}), "LIFESPAN": json.dumps(lifespan or {})}
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "service:app",
        "--app-dir",
        str(folder),
        "--port",
        "0",
        "--no-access-log",
    ]
    with running(*command, *arguments, env={**env, **chosen}) as process:
        yield Serving(process)


async def probe(port: int, number: int) -> list[tuple[int, float]]:
    """Ask so many times at once, by hand to be quick; return each answer's status and the seconds it took."""
    lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(number)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, float]:
        began = time.monotonic()
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status = await reader.readline()
        took = time.monotonic() - began
        writer.close()
        return int(status.split()[1]), took

    return await asyncio.gather(*(ask(*line) for line in lines))
