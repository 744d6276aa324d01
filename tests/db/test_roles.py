"""The roles of docs/operating.md, word for word: each may do what it is there for, and no more."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from dbinit import Initializer, InitOptions, Outcome, PrivilegeError, SchemaMissingError, SettingsError, StatementError
from dbinit.folders import Up
from tests.kit.databases import execute, fresh_database
from tests.kit.process import run_dbinit
from tests.kit.server import Server

DOCS = Path(__file__).parents[2] / "docs" / "operating.md"
ROLES = ("app_owner", "app_migrator", "app", "app_reader")
OWNERS = """
SELECT c.relname, pg_get_userbyid(c.relowner) FROM pg_class c
WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)' AND relkind IN ('r', 'i')
"""

PLAIN = "CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY);"
STEPWISE = """\
CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY);
BEGIN; SET LOCAL ROLE app_owner; CREATE TABLE other (); COMMIT;
CREATE INDEX CONCURRENTLY item_id ON item (id);
"""


def documented(heading: str) -> str:
    """Return the SQL below a heading of the documentation."""
    section = DOCS.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    (found,) = re.findall(r"^```sql\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert isinstance(found, str)
    return found


class Place(NamedTuple):
    """A database with the documented roles, and a folder for files."""

    server: Server
    database: str
    folder: Path

    def url(self, user: str) -> str:
        return f"postgresql://{user}@/{self.database}?host={self.server.folder}&port={self.server.port}"

    def options(self, path: Path, **changes: object) -> InitOptions:
        chosen = {
            "database_url": self.url("app"),
            "migration_url": self.url("app_migrator"),
            "role": "app_owner",
            "history_schema": "dbinit",
            "migrations_path": path,
            "retry_attempts": 1,
            "lock_wait": "0",
            "sentinel": "",
        }
        return InitOptions(**{**chosen, **changes})  # type: ignore[arg-type]

    def write(self, **files: str) -> Path:
        """Write a file, or a folder of several; return its path."""
        folder = self.folder / ("migrations" if len(files) > 1 else "scripts")
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.sql").write_text(text)
        return folder / f"{next(iter(files))}.sql" if len(files) == 1 else folder

    async def owners(self) -> dict[str, str]:
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            return {row[0]: row[1] for row in await connection.fetch(OWNERS)}
        finally:
            await connection.close()


@pytest.fixture
def place(server: Server, tmp_path: Path) -> Iterator[Place]:
    with fresh_database(server) as name:
        asyncio.run(execute(server, documented("Roles"), name))
        yield Place(server, name, tmp_path)
    asyncio.run(execute(server, f"DROP ROLE {', '.join(ROLES)}"))


async def start(options: InitOptions, *, request: Up | None = None) -> Outcome:
    initializer = Initializer(options)
    try:
        return (await (initializer.migrate(request) if request else initializer.initialize())).outcome
    finally:
        await initializer.close()


async def verify(options: InitOptions) -> Outcome:
    initializer = Initializer(options)
    try:
        return (await initializer.verify()).outcome
    finally:
        await initializer.close()


@pytest.mark.parametrize("script", [PLAIN, STEPWISE], ids=["in one transaction", "step by step"])
async def test_a_file(script: str, place: Place) -> None:
    options = place.options(place.write(init=script))

    with pytest.raises(SchemaMissingError):
        await verify(options)
    assert await start(options) is Outcome.APPLIED
    assert await start(options) is Outcome.CURRENT
    assert await verify(options) is Outcome.CURRENT
    assert set((await place.owners()).values()) == {"app_owner"}


FOLDER = {
    "001_item": PLAIN + "CREATE TABLE visits (hook name);",
    "002_index": "CREATE INDEX CONCURRENTLY item_id ON item (id);",
    "003_other": "CREATE TABLE other (); DO $$ BEGIN RAISE NOTICE 'made with care'; END $$;",
    "before_all": "CREATE TABLE before_all ();",
    "after_each": "CREATE TABLE IF NOT EXISTS after_each ();",
    "after_all": "CREATE TABLE after_all ();",
}


@pytest.mark.parametrize("jobs", [1, 2])
async def test_a_folder(jobs: int, place: Place) -> None:
    options = place.options(place.write(**FOLDER), jobs=jobs)

    with pytest.raises(SchemaMissingError):
        await verify(options)
    assert await start(options) is Outcome.APPLIED
    assert await start(options) is Outcome.CURRENT
    assert await verify(options) is Outcome.CURRENT
    owners = await place.owners()
    assert set(owners.values()) == {"app_owner"}
    assert {"item", "item_id", "other", "before_all", "after_each", "after_all", "dbinit_migrations"} <= set(owners)


async def test_a_folder_in_one_transaction_and_in_none(place: Place) -> None:
    files = {name: text for name, text in FOLDER.items() if name in {"001_item", "003_other"}}
    options = place.options(place.write(**files))

    assert await start(options, request=Up(dry_run=True)) is Outcome.REHEARSED
    assert await place.owners() == {}
    assert await start(options, request=Up(single_transaction=True)) is Outcome.APPLIED
    assert set((await place.owners()).values()) == {"app_owner"}


async def test_the_history_of_another_tool_is_taken_over(place: Place) -> None:
    """Only the owner may read it, which the login is not."""
    theirs = "CREATE TABLE schema_migrations AS SELECT 1::bigint AS version, false AS dirty"
    await execute(place.server, f"SET ROLE app_owner; {theirs}", place.database)
    folder = place.write(**{"000001_item.up": PLAIN, "000001_item.down": "DROP TABLE item;"})
    env = {
        "DATABASE_URL": place.url("app_migrator"),
        "DBINIT_ROLE": "app_owner",
        "DBINIT_HISTORY_SCHEMA": "dbinit",
        "MIGRATION_PATH": str(folder),
    }

    end = await asyncio.to_thread(run_dbinit, "import", env=env)

    assert end.code == 0, end.said
    assert (await place.owners())["dbinit_migrations"] == "app_owner"


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
async def test_who_may_only_read_the_history_verifies_and_asks_for_the_status(folder: bool, place: Place) -> None:  # noqa: FBT001
    path = place.write(**FOLDER) if folder else place.write(init=PLAIN)
    reading = place.options(path, database_url=place.url("app_reader"), migration_url=None)

    with pytest.raises(SchemaMissingError):
        await verify(reading)
    assert await start(place.options(path)) is Outcome.APPLIED
    assert await verify(reading) is Outcome.CURRENT

    env = {"DATABASE_URL": place.url("app_reader"), "MIGRATION_PATH": str(path), "DBINIT_HISTORY_SCHEMA": "dbinit"}
    end = await asyncio.to_thread(run_dbinit, "status", "--exit-code", env=env)
    assert end.code == 0, end.said


async def test_the_service_has_its_rows_and_nothing_else(place: Place) -> None:
    options = place.options(place.write(init=PLAIN))
    assert await start(options) is Outcome.APPLIED

    initializer = Initializer(options)
    async with initializer.pool() as pool, pool.acquire() as connection:
        assert await connection.fetchval("SELECT current_user") == "app"
        await connection.execute("INSERT INTO item DEFAULT VALUES; DELETE FROM item")
        for refused in (
            "CREATE TABLE mine ()",
            "ALTER TABLE item ADD COLUMN mine int",
            "DELETE FROM dbinit.dbinit_history",
            "SET ROLE app_owner",
            "CREATE SCHEMA mine",
            "CREATE TEMPORARY TABLE mine ()",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(refused)
    await initializer.ping(5)
    await initializer.close()


async def test_what_migrates_is_nobody_without_its_role(place: Place) -> None:
    with pytest.raises(PrivilegeError):
        await start(place.options(place.write(init=PLAIN), role=None))


@pytest.mark.parametrize(
    ("role", "said"),
    [("no such", 'role "no such" does not exist'), ("postgres", 'permission denied to set role "postgres"')],
)
async def test_a_role_that_cannot_be_had_is_one_error_before_anything_is_applied(
    role: str, said: str, place: Place
) -> None:
    for path in (place.write(init=PLAIN), place.write(**FOLDER)):
        with pytest.raises(SettingsError) as caught:
            await start(place.options(path, role=role))

        (problem,) = caught.value.problems
        assert problem.startswith(f"DBINIT_ROLE: app_migrator cannot act as {role}: {said}; ")
    assert await place.owners() == {}


@pytest.mark.parametrize("end", ["", "SELECT wrong;"], ids=["well", "badly"])
async def test_no_session_is_left_with_the_role(end: str, place: Place) -> None:
    await execute(place.server, f"ALTER DATABASE {place.database} SET log_statement = 'all'")
    with pytest.raises(StatementError, match="wrong") if end else nullcontext():
        await start(place.options(place.write(init=STEPWISE + end)))

    sent = place.server.statements(place.database)
    of_the_session = [text for text in sent if re.fullmatch("SET ROLE .*|RESET .*ROLE", text)]
    assert of_the_session == ['SET ROLE "app_owner"', "RESET SESSION AUTHORIZATION; RESET ROLE"]


@pytest.mark.parametrize("name", ['a "quoted" name', "dotted.name", "Capitals", "o'clock", "back\\slash"])
async def test_names_from_settings_are_taken_as_they_are(name: str, place: Place) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    await execute(
        place.server,
        f"CREATE ROLE {quoted}; GRANT {quoted} TO app_migrator; GRANT USAGE, CREATE ON SCHEMA public TO {quoted};"
        f" CREATE SCHEMA {quoted} AUTHORIZATION {quoted}; CREATE TABLE {quoted}.{quoted} ()",
        place.database,
    )
    try:
        folder = place.write(**{"001_a": "CREATE TABLE a ();", "002_b": "CREATE TABLE b ();"})
        for path in (place.write(init=PLAIN), folder):
            options = place.options(path, role=name, history_schema=name, sentinel=f"{quoted}.missing")
            assert await start(options) is Outcome.APPLIED
            assert await start(options) is Outcome.CURRENT
        owners = await place.owners()
        assert {owners[table] for table in ("item", "a", "dbinit_history", "dbinit_migrations")} == {name}

        adopting = place.options(
            place.write(init=PLAIN), role=name, sentinel=f"{quoted}.{quoted}", history_schema="public"
        )
        assert await start(adopting) is Outcome.ADOPTED
    finally:
        await execute(
            place.server, f"DROP SCHEMA {quoted} CASCADE; DROP OWNED BY {quoted}; DROP ROLE {quoted}", place.database
        )
