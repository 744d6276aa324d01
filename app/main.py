"""The service: `uvicorn app.main:app`. Settings come from the environment when it starts, not at import."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from dbinit.fastapi import Gate, health_router, lifespan

from . import documents, projects, users
from .database import prepare_connection
from .errors import explain_errors


@asynccontextmanager
async def service(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Bring the schema into being and keep a pool open, for as long as the service runs."""
    show_dbinit_log()
    async with lifespan(pool_init=prepare_connection)(app) as state:
        yield state


def show_dbinit_log() -> None:
    """Let dbinit's messages appear as uvicorn's do, unless whoever starts the service configured logging for it."""
    log = logging.getLogger("dbinit")
    if not log.hasHandlers():
        log.setLevel(logging.INFO)
        for handler in logging.getLogger("uvicorn").handlers:
            log.addHandler(handler)


app = FastAPI(title="Muse", summary="Users, their projects and their documents.", lifespan=service)
app.add_middleware(Gate)
app.include_router(health_router())
app.include_router(users.router)
app.include_router(projects.router)
app.include_router(documents.router)
explain_errors(app)


@app.get("/", include_in_schema=False)
async def show_docs() -> RedirectResponse:
    """Send a visitor to the interactive documentation."""
    return RedirectResponse("docs")
