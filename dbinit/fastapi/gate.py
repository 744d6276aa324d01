"""The gate: 503 on every route but the probes until the schema exists."""

from collections.abc import Collection

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .service import Service, service_of

__all__ = ["RETRY_AFTER", "Gate", "why_not"]

RETRY_AFTER = {"Retry-After": "1", "Cache-Control": "no-store"}
_PROBES = ("/livez", "/healthz", "/readyz")
_TRY_AGAIN_LATER = 1013  # WebSocket close code, https://www.iana.org/assignments/websocket


def why_not(service: Service | None) -> str:
    """Say to whoever asks for a route why it is not served."""
    return "The service did not start." if service and service.failure else "The service is starting."


class Gate:
    """ASGI middleware for `app.add_middleware(Gate)`; without a lifespan it stays shut.

    Args:
        app: The application behind it.
        open_paths: Paths that are let through at any time, without the root path. Default: the three probes.
    """

    def __init__(self, app: ASGIApp, *, open_paths: Collection[str] = _PROBES) -> None:
        self._app = app
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 503."""
        if scope["type"] == "lifespan" or self._may_pass(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER, "reason": "starting"})
        else:
            response = JSONResponse({"detail": why_not(service_of(scope))}, status_code=503, headers=RETRY_AFTER)
            await response(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        service = service_of(scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return path in self._open_paths or (service is not None and service.ready)
