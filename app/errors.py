"""Turns what the database refuses into answers that a client can act on, without the database's own words."""

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

_BY_CONSTRAINT = {
    "users_username_key": "The username is taken.",
    "users_email_key": "The e-mail address is taken.",
    "idx_users_email_lower": "The e-mail address is taken.",
    "valid_email": "This is not an e-mail address.",
    "projects_user_id_name_key": "The user has a project of this name.",
    "projects_user_id_fkey": "There is no user with this id.",
    "documents_user_id_fkey": "There is no user with this id.",
    "documents_project_id_fkey": "There is no project with this id.",
}

# By class, as Starlette finds the handler of the nearest base class. The limits are those of index entries and of
# nesting; a value that no column takes (a NUL in a text) is a DataError.
_REFUSALS = (
    asyncpg.CheckViolationError,
    asyncpg.DataError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.ProgramLimitExceededError,
)
_OUTAGES = (asyncpg.OperatorInterventionError, asyncpg.PostgresConnectionError)


def explain_errors(app: FastAPI) -> None:
    """Register the handlers."""
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(asyncpg.UniqueViolationError)(_taken)
    for refusal in _REFUSALS:
        app.exception_handler(refusal)(_refused)
    for outage in _OUTAGES:
        app.exception_handler(outage)(_unavailable)


async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Say what is wrong and where, but do not repeat the input as FastAPI would: it may hold a password."""
    problems = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in error.errors()]
    return JSONResponse({"detail": problems}, 422)


async def _taken(_request: Request, error: asyncpg.PostgresError) -> JSONResponse:
    return JSONResponse({"detail": _sentence(error, "There is one already.")}, 409)


async def _refused(_request: Request, error: asyncpg.PostgresError) -> JSONResponse:
    return JSONResponse({"detail": _sentence(error, "The database cannot store this value.")}, 422)


async def _unavailable(_request: Request, _error: asyncpg.PostgresError) -> JSONResponse:
    return JSONResponse({"detail": "The database is not available."}, 503, {"Retry-After": "1"})


def _sentence(error: asyncpg.PostgresError, otherwise: str) -> str:
    return _BY_CONSTRAINT.get(getattr(error, "constraint_name", None) or "", otherwise)
