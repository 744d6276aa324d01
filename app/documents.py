"""Documents: text with a status, tags, and metadata of the client's own making."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from .database import Connection, found, page_of
from .models import Document, DocumentChanges, DocumentFilter, DocumentSummary, NewDocument, Page

router = APIRouter(prefix="/documents", tags=["documents"])

# A condition whose parameter is null falls away when the statement is planned, as PostgreSQL plans it for the values
# at hand; what remains can use the indexes. `words` is the expression of idx_documents_search, to the letter.
SEARCH = """
    SELECT d.id, user_id, project_id, title, status, metadata, tags, created_at, updated_at
    FROM documents AS d
    CROSS JOIN LATERAL (
        SELECT setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', content), 'B')
    ) AS indexed (words)
    WHERE ($1::text IS NULL OR words @@ websearch_to_tsquery('english', $1))
      AND ($2::uuid IS NULL OR user_id = $2)
      AND ($3::uuid IS NULL OR project_id = $3)
      AND ($4::text IS NULL OR status = $4)
      AND ($5::text[] IS NULL OR tags @> $5)
      AND ($6::jsonb IS NULL OR metadata @> $6)
    ORDER BY ts_rank(words, websearch_to_tsquery('english', $1)) DESC, created_at DESC, id
    LIMIT $7 OFFSET $8
"""
_CREATE = """
    INSERT INTO documents (user_id, project_id, title, content, status, metadata, tags)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    RETURNING *
"""
_CHANGE = """
    UPDATE documents AS d SET (project_id, title, content, status, metadata, tags) = (
        SELECT c.project_id, c.title, c.content, c.status, c.metadata, c.tags
        FROM jsonb_populate_record(d, $2) AS c
    )
    WHERE id = $1
    RETURNING *
"""


@router.get("")
async def search_documents(connection: Connection, wanted: Annotated[DocumentFilter, Query()]) -> Page[DocumentSummary]:
    """Find documents: the best match first where words are given, else the newest."""
    rows = await connection.fetch(
        SEARCH,
        wanted.q,
        wanted.user_id,
        wanted.project_id,
        wanted.status,
        wanted.tag,
        wanted.metadata,
        wanted.limit + 1,
        wanted.offset,
    )
    return page_of(DocumentSummary, rows, wanted)


@router.post("", status_code=201)
async def create_document(
    connection: Connection, document: NewDocument, request: Request, response: Response
) -> Document:
    """Create a document, in a project or in none."""
    row = await connection.fetchrow(
        _CREATE,
        document.user_id,
        document.project_id,
        document.title,
        document.content,
        document.status,
        document.metadata,
        document.tags,
    )
    created = Document(**found(row))
    response.headers["Location"] = str(request.url_for("read_document", document_id=created.id))
    return created


@router.get("/{document_id}")
async def read_document(connection: Connection, document_id: UUID) -> Document:
    """Return a document with its content."""
    return Document(**found(await connection.fetchrow("SELECT * FROM documents WHERE id = $1", document_id)))


@router.patch("/{document_id}")
async def change_document(connection: Connection, document_id: UUID, document: DocumentChanges) -> Document:
    """Change what is sent and leave the rest; a `project_id` of null takes it out of its project."""
    if not (changes := document.changes()):
        return await read_document(connection, document_id)
    return Document(**found(await connection.fetchrow(_CHANGE, document_id, changes)))


@router.delete("/{document_id}", status_code=204)
async def delete_document(connection: Connection, document_id: UUID) -> None:
    """Delete a document with its files."""
    found(await connection.fetchrow("DELETE FROM documents WHERE id = $1 RETURNING id", document_id))
