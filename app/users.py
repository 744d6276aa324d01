"""User accounts."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request, Response

from .database import Connection, found, page_of
from .models import NewUser, Page, PasswordChange, User, UserChanges, UserFilter
from .security import hash_password, verify_password

router = APIRouter(prefix="/users", tags=["users"])

_LIST = """
    SELECT id, username, email, created_at, updated_at FROM users
    WHERE $1::text IS NULL OR username LIKE $1
    ORDER BY username LIMIT $2 OFFSET $3
"""
_READ = "SELECT id, username, email, created_at, updated_at FROM users WHERE id = $1"
_CREATE = """
    INSERT INTO users (username, email, password_hash) VALUES ($1, $2, $3)
    RETURNING id, username, email, created_at, updated_at
"""
# The row with the fields of a JSON object laid over it: any subset of them can change, in one fixed statement.
_CHANGE = """
    UPDATE users AS u SET (username, email) = (
        SELECT changed.username, changed.email FROM jsonb_populate_record(u, $2) AS changed
    )
    WHERE id = $1
    RETURNING id, username, email, created_at, updated_at
"""


@router.get("")
async def list_users(connection: Connection, wanted: Annotated[UserFilter, Query()]) -> Page[User]:
    """List users by name."""
    pattern = None if wanted.prefix is None else re.sub(r"([\\%_])", r"\\\1", wanted.prefix) + "%"
    rows = await connection.fetch(_LIST, pattern, wanted.limit + 1, wanted.offset)
    return page_of(User, rows, wanted)


@router.post("", status_code=201)
async def create_user(connection: Connection, user: NewUser, request: Request, response: Response) -> User:
    """Create a user; username and e-mail address must not be taken."""
    password_hash = await hash_password(user.password.get_secret_value())
    created = User(**found(await connection.fetchrow(_CREATE, user.username, user.email, password_hash)))
    response.headers["Location"] = str(request.url_for("read_user", user_id=created.id))
    return created


@router.get("/{user_id}")
async def read_user(connection: Connection, user_id: UUID) -> User:
    """Return a user."""
    return User(**found(await connection.fetchrow(_READ, user_id)))


@router.patch("/{user_id}")
async def change_user(connection: Connection, user_id: UUID, user: UserChanges) -> User:
    """Change what is sent and leave the rest."""
    if not (changes := user.changes()):
        return await read_user(connection, user_id)
    return User(**found(await connection.fetchrow(_CHANGE, user_id, changes)))


@router.put("/{user_id}/password", status_code=204)
async def change_password(connection: Connection, user_id: UUID, passwords: PasswordChange) -> None:
    """Change a password, which takes the current one; 403 when that is wrong."""
    row = found(await connection.fetchrow("SELECT password_hash FROM users WHERE id = $1", user_id))
    if not await verify_password(passwords.current.get_secret_value(), row["password_hash"]):
        raise HTTPException(403, "The current password is another one.")
    # Only if it is still the one that was checked: of two changes at once, the second has to begin anew.
    status = await connection.execute(
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
        user_id,
        row["password_hash"],
        await hash_password(passwords.new.get_secret_value()),
    )
    if status == "UPDATE 0":
        raise HTTPException(409, "The password was changed meanwhile.")


@router.delete("/{user_id}", status_code=204)
async def delete_user(connection: Connection, user_id: UUID) -> None:
    """Delete a user with all projects and documents."""
    found(await connection.fetchrow("DELETE FROM users WHERE id = $1 RETURNING id", user_id))
