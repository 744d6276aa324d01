"""What stands for a migration tool that cannot be had: psql, in the order that the tool's source gives.

The order is written down beside each folder, in a file of its name: nothing here reads a folder by rules. The history
that is left behind has the tool's own layout.
"""

import io
import re
import subprocess
import tomllib
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dbinit.embedded import installed_binaries
from tests.kit.process import environment
from tests.kit.tools import ToolError

_LIMIT = 60.0
_LINES = re.compile(r"(?P<file>[^:]*)(?::(?P<first>\d+)-(?P<last>\d+))?")


@dataclass(frozen=True)
class Psql:
    """psql, connected to a database."""

    url: str

    def query(self, text: str) -> list[str]:
        """Send a text to the server as it is, in one message; return the lines of the result."""
        return self._run("--command", text)

    def script(self, text: str, *, transaction: bool) -> None:
        """Run a text statement by statement."""
        self._run(*["--single-transaction"] * transaction, "--file=-", text=text)

    def _run(self, *arguments: str, text: str = "") -> list[str]:
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        done = subprocess.run(
            [installed_binaries() / "psql", *options, *arguments, self.url],
            env=environment({"PGCLIENTENCODING": "UTF8"}),
            input=text.encode(),
            capture_output=True,
            timeout=_LIMIT,
            check=False,
        )
        if done.returncode:
            raise ToolError(f"psql: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode().splitlines()


@dataclass(frozen=True)
class Entry:
    """A migration, as it is written down.

    Attributes:
        version: Its version as the tool records it; empty for a repeatable one.
        up: The file that applies it, and which of its lines, if not all.
        down: What takes it back, likewise.
        transaction: Whether the tool runs it in a transaction.
        replaces: Whether the tool puts in the values of placeholders.
    """

    version: str
    up: str
    down: str = ""
    transaction: bool = True
    replaces: bool = True

    @property
    def file(self) -> str:
        return self.up.partition(":")[0]


@dataclass(frozen=True)
class StandIn(ABC):
    """What all of them have in common.

    Attributes:
        name: The tool's name.
        tables: Where it keeps its history, as a pattern of pg_dump's.
        order: The file in which the order is written down.
        placeholders: What stands for `${name}`.
    """

    name: str
    tables: str
    order: Path
    placeholders: dict[str, str] = field(default_factory=dict)
    _creation: ClassVar[str]
    _history: ClassVar[str]

    def up(self, url: str, folder: Path) -> None:
        psql = Psql(url)
        psql.query(self._creation)
        done = self._applied(psql)
        pending = [entry for entry in self._entries() if entry.file not in done and (folder / entry.file).exists()]
        for entry in pending:
            self._apply(psql, folder, entry)

    def down(self, url: str, folder: Path) -> None:
        psql = Psql(url)
        done = self._applied(psql)
        for entry in reversed(self._entries()):
            if entry.file in done and entry.down:
                self._revert(psql, folder, entry)

    def recorded(self, url: str) -> list[str]:
        """Return the history in a database, whoever wrote it, without the times and names."""
        return Psql(url).query(self._history)

    def _entries(self) -> list[Entry]:
        return [Entry(**fields) for fields in self._written["migrations"]]

    @property
    def _written(self) -> dict[str, Any]:
        return tomllib.loads(self.order.read_text())

    def _text(self, folder: Path, place: str, *, replaces: bool = True) -> str:
        """Return a file, or some of its lines, with the values of the placeholders put in."""
        match = _LINES.fullmatch(place)
        assert match
        lines = (folder / match["file"]).read_bytes().decode("utf-8-sig").splitlines(keepends=True)
        text = "".join(lines[int(match["first"] or 1) - 1 : int(match["last"] or len(lines))])
        for name, value in self.placeholders.items() if replaces else ():
            text = re.sub(re.escape(f"${{{name}}}"), value, text, flags=re.IGNORECASE)
        return text

    @abstractmethod
    def _applied(self, psql: Psql) -> set[str]:
        """Return the files of what the history says is applied."""

    @abstractmethod
    def _apply(self, psql: Psql, folder: Path, entry: Entry) -> None:
        """Apply a migration, and record it."""

    @abstractmethod
    def _revert(self, psql: Psql, folder: Path, entry: Entry) -> None:
        """Take a migration back, and record that."""


class GolangMigrate(StandIn):
    """It sends a file as one query, and calls the database dirty while it runs."""

    _creation: ClassVar[str] = (
        "CREATE TABLE IF NOT EXISTS schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)"
    )
    _history: ClassVar[str] = "SELECT version, dirty FROM schema_migrations"

    def _applied(self, psql: Psql) -> set[str]:
        (reached,) = psql.query("SELECT coalesce(max(version), -1) FROM schema_migrations")
        return {entry.file for entry in self._entries() if int(entry.version) <= int(reached)}

    def _apply(self, psql: Psql, folder: Path, entry: Entry) -> None:
        self._run(psql, self._text(folder, entry.up), entry.version)

    def _revert(self, psql: Psql, folder: Path, entry: Entry) -> None:
        versions = ["-1", *(other.version for other in self._entries())]
        self._run(psql, self._text(folder, entry.down), versions[versions.index(entry.version) - 1])

    def _run(self, psql: Psql, text: str, version: str) -> None:
        psql.query(f"TRUNCATE schema_migrations; INSERT INTO schema_migrations VALUES ({version}, true)")
        psql.query(text)
        psql.query("UPDATE schema_migrations SET dirty = false; DELETE FROM schema_migrations WHERE version = -1")


class Goose(StandIn):
    """It sends statement after statement, and records a migration in its transaction."""

    _creation: ClassVar[str] = (
        "CREATE TABLE IF NOT EXISTS goose_db_version (id integer PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,"
        " version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp NOT NULL DEFAULT now());"
        " INSERT INTO goose_db_version (version_id, is_applied)"
        " SELECT 0, true WHERE NOT EXISTS (SELECT FROM goose_db_version)"
    )
    _history: ClassVar[str] = "SELECT id, version_id, is_applied FROM goose_db_version ORDER BY id"

    def _applied(self, psql: Psql) -> set[str]:
        done = psql.query("SELECT version_id FROM goose_db_version WHERE is_applied")
        return {entry.file for entry in self._entries() if entry.version in done}

    def _apply(self, psql: Psql, folder: Path, entry: Entry) -> None:
        row = f"INSERT INTO goose_db_version (version_id, is_applied) VALUES ({entry.version}, true);"
        psql.script(f"{self._text(folder, entry.up)}\n{row}", transaction=entry.transaction)

    def _revert(self, psql: Psql, folder: Path, entry: Entry) -> None:
        row = f"DELETE FROM goose_db_version WHERE version_id = {entry.version};"
        psql.script(f"{self._text(folder, entry.down)}\n{row}", transaction=entry.transaction)


class Flyway(StandIn):
    """It has callbacks, repeatable migrations and checksums, and records what it takes back in rows of their own."""

    _creation: ClassVar[str] = (
        "CREATE TABLE IF NOT EXISTS flyway_schema_history (installed_rank integer PRIMARY KEY, version varchar(50),"
        " description varchar(200) NOT NULL, type varchar(20) NOT NULL, script varchar(1000) NOT NULL,"
        " checksum integer, installed_by varchar(100) NOT NULL, installed_on timestamp NOT NULL DEFAULT now(),"
        " execution_time integer NOT NULL, success boolean NOT NULL)"
    )
    _history: ClassVar[str] = (
        "SELECT installed_rank, version, description, type, script, checksum, success FROM flyway_schema_history"
        " ORDER BY installed_rank"
    )

    def _applied(self, psql: Psql) -> set[str]:
        undone = "SELECT FROM flyway_schema_history AS later WHERE later.version = row.version AND later.type LIKE 'U%'"
        return set(psql.query(f"SELECT script FROM flyway_schema_history AS row WHERE NOT EXISTS ({undone})"))

    def up(self, url: str, folder: Path) -> None:
        psql = Psql(url)
        psql.script(self._hook(folder, "before_all"), transaction=True)
        super().up(url, folder)
        psql.script(self._hook(folder, "after_all"), transaction=True)

    def _hook(self, folder: Path, name: str) -> str:
        file = self._written.get("hooks", {}).get(name)
        return self._text(folder, file) if file else ""

    def _apply(self, psql: Psql, folder: Path, entry: Entry) -> None:
        text = self._text(folder, entry.up, replaces=entry.replaces)
        pieces = [self._hook(folder, "before_each"), text, "\n;", self._hook(folder, "after_each")]
        # A repeatable migration has its checksum after the values are put in.
        original = text if not entry.version else self._text(folder, entry.up, replaces=False)
        kind = "SQL_BASELINE" if Path(entry.file).name.startswith("B") else "SQL"
        checksum = str(_checksum(original))
        pieces.append(_row(entry, entry.file, kind, checksum))
        try:
            psql.script("".join(pieces), transaction=entry.transaction)
        except ToolError:
            if not entry.transaction:
                psql.query(_row(entry, entry.file, kind, checksum, success=False))
            raise

    def _revert(self, psql: Psql, folder: Path, entry: Entry) -> None:
        row = _row(entry, entry.down, "UNDO_SQL", "NULL")
        psql.script(f"{self._text(folder, entry.down)}\n;{row}", transaction=entry.transaction)


def _row(entry: Entry, script: str, kind: str, checksum: str, *, success: bool = True) -> str:
    version = f"'{entry.version}'" if entry.version else "NULL"
    description = Path(entry.file).stem.partition("__")[2].replace("_", " ")
    return (
        "INSERT INTO flyway_schema_history SELECT coalesce(max(installed_rank), 0) + 1,"
        f" {version}, '{description}', '{kind}', '{script}', {checksum}, 'flyway', now(), 1, {success}"
        " FROM flyway_schema_history;"
    )


def _checksum(text: str) -> int:
    """Return Flyway's checksum: CRC-32 of the lines without their ends, as a number with a sign."""
    lines = (line.rstrip("\n") for line in io.StringIO(text, newline=None))
    code = 0
    for line in lines:
        code = zlib.crc32(line.encode(), code)
    return code - 2**32 if code >= 2**31 else code
