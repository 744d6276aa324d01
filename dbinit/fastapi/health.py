"""The probes: `/livez` never looks at the database, `/healthz` and `/readyz` say whether the schema is there."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from dbinit.readiness import Phase, Readiness

from .gate import RETRY_AFTER
from .service import Service, service_of

__all__ = ["health_router"]

_NO_STORE = {"Cache-Control": "no-store"}


def health_router(*, details: bool = False, check_database: bool = False) -> APIRouter:
    """Return a router with `/livez`, `/healthz` and `/readyz`.

    Args:
        details: Also say attempt, file, statement, elapsed seconds and the error's class. They are no secrets, but
            nobody's business outside. Default: the state only.
        check_database: Once the schema is there, also ask the database for a sign of life; the answer is kept for
            5 s, asked for once however many probe, and waited for 0.6 s at most. Default: do not, as a database
            that is away for a moment would take every replica out of service.
    """
    router = APIRouter(tags=["health"])

    async def livez() -> JSONResponse:
        """Tell that the process runs."""
        return JSONResponse({"status": "alive"}, headers=_NO_STORE)

    async def healthz(request: Request) -> JSONResponse:
        """Tell whether the schema is there and requests are served."""
        service = service_of(request.scope)
        body = _describe(service, details=details)
        if check_database and body["status"] == "ready" and not await _beats(service):
            body["status"] = "unavailable"
        if body["status"] == "ready":
            return JSONResponse(body, headers=_NO_STORE)
        return JSONResponse(body, status_code=503, headers=RETRY_AFTER)

    router.get("/livez")(livez)
    router.get("/healthz")(healthz)
    router.get("/readyz")(healthz)
    return router


def _describe(service: Service | None, *, details: bool) -> dict[str, Any]:
    readiness = service.readiness if service else Readiness()
    failed = readiness.phase is Phase.FAILED or (service is not None and service.failure is not None)
    status = "failed" if failed else "ready" if service is not None and service.ready else "starting"
    body: dict[str, Any] = {"status": status, "phase": readiness.phase.value}
    if details:
        names = ("attempt", "attempts", "file", "statement", "statements", "migration", "migrations", "detail", "error")
        body.update({name: getattr(readiness, name) for name in names}, elapsed=round(readiness.elapsed, 3))
    return body


async def _beats(service: Service | None) -> bool:
    return service is not None and service.pulse is not None and await service.pulse.beats()
