"""The example service from end to end: its routes, on a real database, behind dbinit's lifespan."""

import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.database import prepare_connection
from app.documents import SEARCH
from app.main import app
from tests.kit.patience import eventually_async
from tests.kit.process import ROOT, running

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"  # noqa: S105 - of users that the tests make
JSON = {"content-type": "application/json"}
Muse = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


def with_state(inner: ASGIApp, state: dict[str, Any]) -> ASGIApp:
    """Hand the lifespan's state to each request, as a server does."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await inner({**scope, "state": dict(state)}, receive, send)

    return serve


@pytest.fixture
def muse(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Muse:
    """The service, started and ready; to be entered in the test, as a lifespan must end in the task it began in."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MIGRATION_PATH", str(ROOT / "scripts" / "init-db.sql"))

    @asynccontextmanager
    async def start() -> AsyncIterator[httpx.AsyncClient]:
        async with app.router.lifespan_context(app) as state:
            transport = httpx.ASGITransport(with_state(app, dict(state or {})))
            async with httpx.AsyncClient(transport=transport, base_url="http://muse") as client:

                async def ready() -> bool:
                    return (await client.get("/healthz")).status_code == 200

                await eventually_async(ready)
                yield client

    return start


async def created(client: httpx.AsyncClient, path: str, **values: object) -> dict[str, Any]:
    response = await client.post(path, json=values)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    assert response.headers["location"] == f"http://muse{path}/{body['id']}"
    assert (await client.get(response.headers["location"])).json() == body
    return body


async def new_user(client: httpx.AsyncClient, username: str = "reader") -> dict[str, Any]:
    return await created(client, "/users", username=username, email=f"{username}@example.com", password=PASSWORD)


async def demo_user(client: httpx.AsyncClient) -> str:
    """A user without the work of hashing a password."""
    id_: str = (await client.get("/users", params={"prefix": "demo"})).json()["items"][0]["id"]
    return id_


async def titles(client: httpx.AsyncClient, **params: Any) -> list[str]:
    response = await client.get("/documents", params=params)
    assert response.status_code == 200, response.text
    return [item["title"] for item in response.json()["items"]]


# The service as a whole


async def test_uvicorn_serves_it_and_shows_its_log(database_url: str) -> None:
    command = (sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0")
    with running(*command, env={"DATABASE_URL": database_url}) as process:
        process.wait_for("Uvicorn running on")
        for line in ("Initializing database...", "Successfully connected to database", "Applied scripts/init-db.sql"):
            process.wait_for(f"INFO:     {line}")
        found = re.search(r"http://127\.0\.0\.1:\d+", process.err)
        assert found
        async with httpx.AsyncClient(base_url=found[0], follow_redirects=True) as client:

            async def ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await eventually_async(ready)
            assert "swagger" in (await client.get("/")).text
            assert await titles(client) == ["Welcome"]
        assert process.err.count("Initializing database...") == 1


async def test_without_its_lifespan_it_serves_nothing() -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://muse") as client:
        for path in ("/", "/docs", "/users", "/healthz"):
            assert (await client.get(path)).status_code == 503


async def test_the_api_describes_itself(muse: Muse) -> None:
    async with muse() as client:
        schema = (await client.get("/openapi.json")).json()
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    assert {tag for operation in operations for tag in operation["tags"]} == {
        "health",
        "users",
        "projects",
        "documents",
    }
    # A field that may be missing is not one that may be null.
    changes = schema["components"]["schemas"]["DocumentChanges"]
    assert "default" not in changes["properties"]["title"]
    assert "required" not in changes
    assert "password_hash" not in json.dumps(schema)


# Users


async def test_a_user_is_created_changed_and_deleted(muse: Muse) -> None:
    async with muse() as client:
        user = await new_user(client)
        assert user.keys() == {"id", "username", "email", "created_at", "updated_at"}
        path = f"/users/{user['id']}"

        changed = (await client.patch(path, json={"email": " new@example.com "})).json()
        assert changed == {**user, "email": "new@example.com", "updated_at": changed["updated_at"]}
        assert changed["updated_at"] > user["updated_at"]
        assert (await client.patch(path, json={})).json() == changed

        assert (await client.delete(path)).status_code == 204
        for response in (
            await client.get(path),
            await client.delete(path),
            await client.patch(path, json={"username": "x"}),
            await client.patch(path, json={}),
        ):
            assert response.status_code == 404


async def test_names_and_addresses_are_unique(muse: Muse) -> None:
    async with muse() as client:
        demo = await demo_user(client)
        for values, word in (
            ({"username": "admin", "email": "new@example.com"}, "username"),
            ({"username": "new", "email": "admin@example.com"}, "e-mail"),
            ({"username": "new", "email": "ADMIN@example.com"}, "e-mail"),
        ):
            response = await client.post("/users", json={**values, "password": PASSWORD})
            assert (response.status_code, word in response.json()["detail"]) == (409, True)
        response = await client.patch(f"/users/{demo}", json={"username": "admin"})
        assert response.status_code == 409


@pytest.mark.parametrize(
    "change",
    [
        {"username": ""},
        {"username": "has space"},
        {"username": "x" * 51},
        {"email": "nowhere"},
        {"email": "a@b.co\u0000"},
        {"email": "a" * 251 + "@b.co"},
        {"email": None},
        {"password": "canary"},
        {"username": "\ud800"},
        {"email": "\ud800@b.co"},
        {"misspelt": 1},
    ],
    ids=lambda change: str(change)[:40],
)
async def test_bad_input_is_refused_and_not_repeated(muse: Muse, change: dict[str, object]) -> None:
    good = {"username": "reader", "email": "reader@example.com", "password": "canary" * 3}
    async with muse() as client:
        # Half a character can be written in JSON, but not in UTF-8: json.dumps escapes it.
        response = await client.post("/users", content=json.dumps({**good, **change}), headers=JSON)
        assert response.status_code == 422
        assert "canary" not in response.text
        assert len((await client.get("/users")).json()["items"]) == 2


async def test_a_password_is_hashed_and_changed_by_whoever_knows_it(muse: Muse, connection: asyncpg.Connection) -> None:
    async with muse() as client:
        user = await new_user(client)
        path, new = f"/users/{user['id']}/password", "another long one, half a \ud83d included"

        async def change(path: str, current: str) -> int:
            body = json.dumps({"current": current, "new": new})
            return (await client.put(path, content=body, headers=JSON)).status_code

        assert await change(path, "a wrong one") == 403
        assert await change(path, PASSWORD) == 204
        assert await change(path, PASSWORD) == 403
        assert await change(path, new) == 204

        stored = await connection.fetchval("SELECT password_hash FROM users WHERE username = 'reader'")
        assert re.fullmatch(r"scrypt\$\d+\$\d+\$\d+\$[^$]+\$[^$]+", stored)
        # The seed users have no password, not even the one that looks like their hash.
        assert await change(f"/users/{await demo_user(client)}/password", "!") == 403
        assert await change(f"/users/{uuid4()}/password", PASSWORD) == 404


async def test_lists_have_pages(muse: Muse) -> None:
    async with muse() as client:
        first = (await client.get("/users", params={"limit": 1})).json()
        assert ([item["username"] for item in first["items"]], first["next_offset"]) == (["admin"], 1)
        second = (await client.get("/users", params={"limit": 1, "offset": first["next_offset"]})).json()
        assert ([item["username"] for item in second["items"]], second["next_offset"]) == (["demo"], None)
        assert (await client.get("/users", params={"offset": 5})).json() == {"items": [], "next_offset": None}
        for bad in ({"limit": 0}, {"limit": 101}, {"offset": -1}, {"offset": 10_001}, {"page": 2}):
            assert (await client.get("/users", params=bad)).status_code == 422


async def test_a_prefix_is_taken_literally(muse: Muse) -> None:
    async with muse() as client:
        assert [u["username"] for u in (await client.get("/users?prefix=de")).json()["items"]] == ["demo"]
        for pattern in ("%", "_", "\\", "d%"):
            assert (await client.get("/users", params={"prefix": pattern})).json()["items"] == []


# Projects


async def test_a_project_is_created_changed_and_deleted(muse: Muse) -> None:
    async with muse() as client:
        user = await demo_user(client)
        project = await created(client, "/projects", user_id=user, name="Thesis")
        document = await created(client, "/documents", user_id=user, project_id=project["id"], title="Chapter 1")
        path = f"/projects/{project['id']}"

        changed = (await client.patch(path, json={"description": "long"})).json()
        assert (changed["name"], changed["description"]) == ("Thesis", "long")
        assert (await client.patch(path, json={"name": "Getting started"})).status_code == 409
        assert (await client.patch(path, json={"name": None})).status_code == 422

        listed = (await client.get("/projects", params={"user_id": user})).json()["items"]
        assert [item["name"] for item in listed] == ["Getting started", "Thesis"]
        assert (await client.get("/projects", params={"user_id": str(uuid4())})).json()["items"] == []

        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
        assert (await client.get(f"/documents/{document['id']}")).json()["project_id"] is None


async def test_owners_and_projects_must_exist(muse: Muse) -> None:
    nobody = str(uuid4())
    async with muse() as client:
        user = await demo_user(client)
        for path, values, word in (
            ("/projects", {"user_id": nobody, "name": "x"}, "user"),
            ("/documents", {"user_id": nobody, "title": "x"}, "user"),
            ("/documents", {"user_id": user, "project_id": nobody, "title": "x"}, "project"),
        ):
            response = await client.post(path, json=values)
            assert (response.status_code, word in response.json()["detail"]) == (422, True)


# Documents


async def test_a_document_is_created_changed_and_deleted(muse: Muse) -> None:
    metadata = {"pages": 3, "nested": {"list": [1, None, "é"]}}
    async with muse() as client:
        document = await created(
            client,
            "/documents",
            user_id=await demo_user(client),
            title="Chapter 1",
            content="It was a dark night.",
            tags=["Draft", "fiction"],
            metadata=metadata,
        )
        assert (document["status"], document["project_id"]) == ("draft", None)
        assert (document["tags"], document["metadata"]) == (["draft", "fiction"], metadata)
        path = f"/documents/{document['id']}"

        # What is sent changes, to empty values too, and the rest stays.
        changes: list[dict[str, object]] = [
            {"status": "compiled"},
            {"tags": []},
            {"metadata": {}},
            {"content": "", "title": "One"},
        ]
        for change in changes:
            changed = (await client.patch(path, json=change)).json()
            document |= change | {"updated_at": changed["updated_at"]}
            assert changed == document
        project = (await client.get("/projects")).json()["items"][0]["id"]
        assert (await client.patch(path, json={"project_id": project})).json()["project_id"] == project
        assert (await client.patch(path, json={"project_id": None})).json()["project_id"] is None

        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
        assert (await client.patch(path, json={"title": "x"})).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        b'{"title": " "}',
        b'{"title": null}',
        b'{"title": "nul \\u0000"}',
        b'{"status": "deleted"}',
        b'{"tags": ["' + b"x" * 51 + b'"]}',
        b'{"tags": null}',
        b'{"metadata": []}',
        b'{"metadata": {"nul": "\\u0000"}}',
        b'{"metadata": {"half": "\\ud800"}}',
        b'{"metadata": {"number": NaN}}',
        b'{"metadata": {"deep": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
        b'{"id": "00000000-0000-4000-8000-000000000002"}',
        b'{"user_id": "00000000-0000-4000-8000-000000000002"}',
        b"[]",
        b"{",
    ],
    ids=lambda body: body.decode()[:30],
)
async def test_a_bad_change_is_refused(muse: Muse, change: bytes) -> None:
    path = "/documents/00000000-0000-4000-8000-000000000001"
    async with muse() as client:
        before = (await client.get(path)).json()
        response = await client.patch(path, content=change, headers=JSON)
        assert response.status_code in {400, 422}, response.text
        assert (await client.get(path)).json() == before


async def test_documents_are_found(muse: Muse) -> None:
    async with muse() as client:
        user = await demo_user(client)
        for values in (
            {"title": "On whales", "content": "They swim.", "tags": ["sea", "animal"], "status": "compiled"},
            {"title": "On ships", "content": "They meet a whale.", "tags": ["sea"], "metadata": {"lang": "en", "n": 2}},
        ):
            await created(client, "/documents", user_id=user, **values)

        assert await titles(client) == ["On ships", "On whales", "Welcome"]
        # The title counts for more; words are found in any form; websearch syntax is understood, and never an error.
        assert await titles(client, q="whale") == ["On whales", "On ships"]
        assert await titles(client, q="swimming") == ["On whales"]
        assert await titles(client, q="whale -ships") == ["On whales"]
        assert await titles(client, q='"meet a whale"') == ["On ships"]
        assert await titles(client, q="'&|!(<") == []
        assert await titles(client, tag="sea") == ["On ships", "On whales"]
        assert await titles(client, tag=["sea", "ANIMAL"]) == ["On whales"]
        assert await titles(client, status="compiled") == ["On whales"]
        assert await titles(client, metadata='{"n": 2}') == ["On ships"]
        assert await titles(client, q="whale", tag="sea", status="draft", user_id=user) == ["On ships"]
        assert await titles(client, user_id=str(uuid4())) == []
        assert await titles(client, limit=1, offset=2) == ["Welcome"]
        project = (await client.get("/projects")).json()["items"][0]["id"]
        assert await titles(client, project_id=project) == ["Welcome"]
        for bad in ({"status": "deleted"}, {"metadata": "{"}, {"metadata": "[]"}, {"user_id": "1"}, {"q": "x" * 501}):
            assert (await client.get("/documents", params=bad)).status_code == 422
        assert (await client.get("/documents", params={"q": "nul \x00"})).status_code == 422


@pytest.mark.parametrize(
    ("number", "value", "index"),
    [
        (1, "whale", "idx_documents_search"),
        (2, uuid4(), "idx_documents_user_id|idx_documents_user_status"),
        (3, uuid4(), "idx_documents_project_id"),
        (5, ["sea"], "idx_documents_tags"),
        (6, {"n": 2}, "idx_documents_metadata"),
    ],
)
async def test_a_search_uses_the_index(
    muse: Muse, connection: asyncpg.Connection, number: int, value: object, index: str
) -> None:
    async with muse():
        await prepare_connection(connection)
        await connection.execute("SET enable_seqscan = off")
        arguments: list[object] = [None, None, None, None, None, None, 21, 0]
        arguments[number - 1] = value
        plan = "\n".join(line for (line,) in await connection.fetch("EXPLAIN " + SEARCH, *arguments))
    assert re.search(index, plan), plan


async def test_a_lost_connection_is_an_outage_and_then_over(muse: Muse, connection: asyncpg.Connection) -> None:
    others = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"
    )
    async with muse() as client:
        await connection.fetch(others, connection.get_server_pid())
        answers = [(await client.get("/users")).status_code for _ in range(12)]
    assert set(answers) <= {200, 503}
    assert answers[-1] == 200
