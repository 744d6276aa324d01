"""The tools that dbinit's migrations are measured against, each used as its owner shows it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.kit.server import Server

_PROGRAMS = Path(sys.executable).parent

_ALEMBIC_ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine
url = context.get_x_argument(as_dictionary=True)["url"].replace("postgresql:", "postgresql+psycopg:")
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
_ALEMBIC_MIGRATION = '''
from alembic import op
revision, down_revision = "{number:03}", {before!r}
def upgrade():
    op.execute("""{sql}""")
'''
_POGO_CONFIGURATION = '[tool.pogo]\nmigrations = "./migrations"\ndatabase_config = ""\n'
_TREK = """
import asyncio, sys, asyncpg
from asyncpg_trek import Direction, execute, plan
from asyncpg_trek.asyncpg import AsyncpgBackend
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    backend = AsyncpgBackend(connection)
    await execute(backend, await plan(backend, sys.argv[2], sys.argv[3], Direction.up))
    await connection.close()
asyncio.run(main())
"""


class Migrator(NamedTuple):
    """A tool.

    Attributes:
        name: What the table calls it.
        lay_out: Writes migrations into a folder as the tool wants them.
        command: Returns what applies them to the database with a URL; it is run in that folder.
        has_history: Whether it knows what was applied.
    """

    name: str
    lay_out: Callable[[Path, Sequence[str]], None]
    command: Callable[[Server, str, int], list[str]]
    has_history: bool = True


def native(folder: Path, migrations: Sequence[str]) -> None:
    """Write migrations as dbinit and psql take them."""
    for number, sql in enumerate(migrations, start=1):
        (folder / f"{number:03}_step.sql").write_text(sql)


def _dbmate(folder: Path, migrations: Sequence[str]) -> None:
    (folder / "db" / "migrations").mkdir(parents=True)
    for number, sql in enumerate(migrations, start=1):
        (folder / f"db/migrations/{number:03}_step.sql").write_text(f"-- migrate:up\n{sql}\n-- migrate:down\n")


def _yoyo(folder: Path, migrations: Sequence[str]) -> None:
    for number, sql in enumerate(migrations, start=1):
        (folder / f"{number:03}.step.sql").write_text(sql)


def _alembic(folder: Path, migrations: Sequence[str]) -> None:
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s\n")
    (folder / "env.py").write_text(_ALEMBIC_ENVIRONMENT)
    (folder / "versions").mkdir()
    for number, sql in enumerate(migrations, start=1):
        text = _ALEMBIC_MIGRATION.format(number=number, before=f"{number - 1:03}" if number > 1 else None, sql=sql)
        (folder / f"versions/{number:03}_step.py").write_text(text)


def _pogo(folder: Path, migrations: Sequence[str]) -> None:
    (folder / "migrations").mkdir()
    (folder / "pyproject.toml").write_text(_POGO_CONFIGURATION)
    before = ""
    for number, sql in enumerate(migrations, start=1):
        name = f"20260101_{number:03}_step"
        text = f"-- step\n-- depends: {before}\n-- migrate: apply\n{sql}\n-- migrate: rollback\n"
        (folder / f"migrations/{name}.sql").write_text(text)
        before = name


def _trek(folder: Path, migrations: Sequence[str]) -> None:
    revisions = ["initial", *(f"r{number}" for number in range(1, len(migrations) + 1))]
    for before, after, sql in zip(revisions, revisions[1:], migrations, strict=False):
        (folder / f"20260101_{before}_up_{after}.sql").write_text(sql)


def _psql(server: Server, url: str) -> list[str]:
    return [str(server.binaries / "psql"), url, "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1"]


def _psql_once(server: Server, url: str, count: int) -> list[str]:
    files = [word for number in range(1, count + 1) for word in ("-f", f"{number:03}_step.sql")]
    return [*_psql(server, url), *files]


def _psql_each(server: Server, url: str, _: int) -> list[str]:
    return ["sh", "-ec", 'for file in *.sql; do "$@" -f "$file"; done', "sh", *_psql(server, url)]


DBINIT = Migrator(
    "dbinit", native, lambda _, url, __: [sys.executable, "-m", "dbinit", "-q", "--url", url, "--path", "."]
)
PEERS = (
    Migrator(
        "dbmate",
        _dbmate,
        lambda _, url, __: [str(_PROGRAMS / "dbmate"), "--no-dump-schema", "--url", f"{url}?sslmode=disable", "up"],
    ),
    Migrator(
        "asyncpg-trek (one transaction)",
        _trek,
        lambda _, url, count: [sys.executable, "-c", _TREK, url, ".", f"r{count}"],
    ),
    Migrator(
        "alembic (one transaction)",
        _alembic,
        lambda _, url, __: [sys.executable, "-m", "alembic", "-x", f"url={url}", "upgrade", "head"],
    ),
    Migrator(
        "yoyo",
        _yoyo,
        lambda _, url, __: [
            *(sys.executable, "-m", "yoyo", "apply", "--batch", "--no-config-file", "--database"),
            *(url.replace("postgresql:", "postgresql+psycopg:"), "."),
        ],
    ),
    Migrator("pogo-migrate", _pogo, lambda _, url, __: [str(_PROGRAMS / "pogo"), "apply", "--database", url]),
    Migrator("psql, all -f (one transaction)", native, _psql_once, has_history=False),
    Migrator("psql, a process a file", native, _psql_each, has_history=False),
)
