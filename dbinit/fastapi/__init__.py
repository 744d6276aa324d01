"""dbinit for FastAPI: a lifespan, health routes, a gate that stays shut until the schema exists, and a pool."""

from .dependencies import connection, pool
from .gate import Gate
from .health import health_router
from .lifespan import lifespan

__all__ = ["Gate", "connection", "health_router", "lifespan", "pool"]
