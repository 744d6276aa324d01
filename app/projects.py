"""Projects: a user's named collections of documents."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from .database import Connection, found, page_of
from .models import NewProject, Page, Project, ProjectChanges, ProjectFilter

router = APIRouter(prefix="/projects", tags=["projects"])

_LIST = """
    SELECT * FROM projects
    WHERE $1::uuid IS NULL OR user_id = $1
    ORDER BY name, id LIMIT $2 OFFSET $3
"""
_CREATE = "INSERT INTO projects (user_id, name, description) VALUES ($1, $2, $3) RETURNING *"
_CHANGE = """
    UPDATE projects AS p SET (name, description) = (
        SELECT changed.name, changed.description FROM jsonb_populate_record(p, $2) AS changed
    )
    WHERE id = $1
    RETURNING *
"""


@router.get("")
async def list_projects(connection: Connection, wanted: Annotated[ProjectFilter, Query()]) -> Page[Project]:
    """List projects by name, everybody's or one user's."""
    rows = await connection.fetch(_LIST, wanted.user_id, wanted.limit + 1, wanted.offset)
    return page_of(Project, rows, wanted)


@router.post("", status_code=201)
async def create_project(connection: Connection, project: NewProject, request: Request, response: Response) -> Project:
    """Create a project; a user's projects have different names."""
    row = await connection.fetchrow(_CREATE, project.user_id, project.name, project.description)
    created = Project(**found(row))
    response.headers["Location"] = str(request.url_for("read_project", project_id=created.id))
    return created


@router.get("/{project_id}")
async def read_project(connection: Connection, project_id: UUID) -> Project:
    """Return a project."""
    return Project(**found(await connection.fetchrow("SELECT * FROM projects WHERE id = $1", project_id)))


@router.patch("/{project_id}")
async def change_project(connection: Connection, project_id: UUID, project: ProjectChanges) -> Project:
    """Change what is sent and leave the rest."""
    if not (changes := project.changes()):
        return await read_project(connection, project_id)
    return Project(**found(await connection.fetchrow(_CHANGE, project_id, changes)))


@router.delete("/{project_id}", status_code=204)
async def delete_project(connection: Connection, project_id: UUID) -> None:
    """Delete a project; its documents stay."""
    found(await connection.fetchrow("DELETE FROM projects WHERE id = $1 RETURNING id", project_id))
