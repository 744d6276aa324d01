"""What goes in and what comes out, as pydantic models.

Whatever the database checks as well (an address' form, a unique name) is checked there only.
"""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Json, JsonValue, SecretStr, StringConstraints

Username = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=50)]
Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=255)]
Password = Annotated[SecretStr, Field(min_length=12, max_length=128)]
ProjectName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Description = Annotated[str, StringConstraints(max_length=10_000)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
# What PostgreSQL can index for a search ends at 1 MiB of words and positions.
Content = Annotated[str, StringConstraints(max_length=100_000)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=50)]
Tags = Annotated[list[Tag], Field(max_length=50)]
Metadata = dict[str, JsonValue]
Status = Literal["draft", "compiling", "compiled", "error"]


class Input(BaseModel):
    """What a client sends; a misspelt field is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")

    def changes(self) -> dict[str, Any]:
        """Return the fields that were sent, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)


def unchanged() -> Any:
    """Stand in for a field that a PATCH leaves out.

    The value is never used, as only `changes()` is. A default factory, unlike a default, stays out of the OpenAPI
    schema, where a null would be a lie: these fields may be missing, not null.
    """


class Output(BaseModel):
    """What every row has."""

    id: UUID
    created_at: datetime
    updated_at: datetime


class NewUser(Input):
    """An account to create."""

    username: Username
    email: Email
    password: Password


class UserChanges(Input):
    """What may change about an account; a password has a route of its own."""

    username: Username = Field(default_factory=unchanged)
    email: Email = Field(default_factory=unchanged)


class PasswordChange(Input):
    """The password as it is, and as it shall be."""

    current: SecretStr = Field(max_length=128)
    new: Password


class User(Output):
    """An account, without its password's hash."""

    username: str
    email: str


class NewProject(Input):
    """A project to create."""

    user_id: UUID
    name: ProjectName
    description: Description = ""


class ProjectChanges(Input):
    """What may change about a project."""

    name: ProjectName = Field(default_factory=unchanged)
    description: Description = Field(default_factory=unchanged)


class Project(Output):
    """A project."""

    user_id: UUID
    name: str
    description: str


class NewDocument(Input):
    """A document to create."""

    user_id: UUID
    project_id: UUID | None = None
    title: Title
    content: Content = ""
    status: Status = "draft"
    metadata: Metadata = {}
    tags: Tags = []


class DocumentChanges(Input):
    """What may change about a document; only `project_id` may be null."""

    project_id: UUID | None = None
    title: Title = Field(default_factory=unchanged)
    content: Content = Field(default_factory=unchanged)
    status: Status = Field(default_factory=unchanged)
    metadata: Metadata = Field(default_factory=unchanged)
    tags: Tags = Field(default_factory=unchanged)


class DocumentSummary(Output):
    """A document without its content, as lists show it."""

    user_id: UUID
    project_id: UUID | None
    title: str
    status: Status
    metadata: dict[str, Any]
    tags: list[str]


class Document(DocumentSummary):
    """A document with its content."""

    content: str


class Paging(Input):
    """Which part of a list to return."""

    limit: int = Field(default=20, ge=1, le=100)
    # PostgreSQL reads and throws away what it skips: beyond this, narrow the search instead.
    offset: int = Field(default=0, ge=0, le=10_000)


class UserFilter(Paging):
    """Which users to list."""

    prefix: str | None = Field(default=None, max_length=50, description="How the username begins.")


class ProjectFilter(Paging):
    """Which projects to list."""

    user_id: UUID | None = None


class DocumentFilter(Paging):
    """Which documents to find; all that is given must apply."""

    q: str | None = Field(
        default=None,
        max_length=500,
        description='Words in title or content; "a phrase", or, and -without are understood.',
    )
    user_id: UUID | None = None
    project_id: UUID | None = None
    status: Status | None = None
    tag: Tags | None = Field(default=None, description="May be repeated: all of them must be there.")
    metadata: Json[Metadata] | None = Field(default=None, description="A JSON object that must be contained.")


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next_offset: int | None = Field(description="Where the next part begins; null on the last one.")
