"""A real PostgreSQL server for the tests, on a free port and a socket of its own."""

import random
import re
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import quote

from dbinit.programs import give_to, open_to_all, reachable_binaries, run_program, server_account

EXTENSIONS = Path(__file__).parents[2] / "dbinit" / "extensions"
PASSWORD = "s3cret/canary#%"  # noqa: S105 - a canary
"""The superuser's password: hard to put into a URL, and looked for in everything that is printed."""

_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
_TALKATIVE = {"log_connections": "on", "log_line_prefix": "[%d] "}
# Below the ports that Linux, macOS and Windows give to outgoing connections: while a server is stopped, nobody
# else gets its port, and no client on this host can end up connected to itself.
_PORTS = range(15_000, 32_000)


class Server:
    """A server with its data in a temporary folder; use it as a context manager.

    Args:
        binaries: The folder of the programs.
        settings: Further settings of the server.
    """

    def __init__(self, binaries: Path, settings: dict[str, str] | None = None) -> None:
        self.account = server_account()
        # Not below pytest's own folder, which is closed to the account that runs the server.
        self.folder = Path(tempfile.mkdtemp(prefix="dbinit-test-"))
        self.folder.chmod(0o755)
        give_to(self.account, self.folder)
        self.binaries = reachable_binaries(binaries, self.folder, self.account)
        self.port = free_port()
        self.major = 0
        self._settings = settings or {}

    def __enter__(self) -> Self:
        try:
            self._create()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = "postgres", *, user: str = "postgres", password: str = PASSWORD) -> str:
        """Return a URL by TCP, with the password written as it has to be."""
        return f"postgresql://{quote(user)}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def start(self, *, wait: bool = True) -> None:
        """Start it, unless it runs; with a new port where another process has taken ours meanwhile."""
        if self.run("pg_ctl", "status", "-D", str(self.data), check=False) == 0:
            return
        for _ in range(5):
            self._configure()
            done = self.run(
                "pg_ctl", "start", "-D", str(self.data), "-l", str(self.log), "-w" if wait else "-W", check=False
            )
            if done == 0:
                return
            self.port = free_port()
        raise AssertionError(self.log.read_text())

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w", check=False)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def logins(self, database: str) -> int:
        """Count the logins to a database so far."""
        return self.log.read_text(errors="replace").count(f"connection authorized: user=postgres database={database}")

    def statements(self, database: str) -> list[str]:
        """Return what was sent to a database since its `log_statement` was set to `all`."""
        entry = re.compile(rf"^\[{database}\] LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)", re.MULTILINE)
        return entry.findall(self.log.read_text(errors="replace"))

    def run(self, program: str, *arguments: str, check: bool = True) -> int:
        return run_program(self.binaries, program, *arguments, account=self.account, check=check).returncode

    def dump(self, database: str, *options: str) -> str:
        """Return pg_dump's plain text, without the lines that differ each time."""
        lines = self.whole_dump(database, "--no-owner", "--exclude-table=*.dbinit_history", *options).split("\n")
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

    def whole_dump(self, database: str, *options: str) -> str:
        """Return pg_dump's plain text as it is."""
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres", database]
        return run_program(self.binaries, "pg_dump", *options, *where, account=self.account).stdout.decode()

    def _create(self) -> None:
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        give_to(self.account, secret)
        options = ["--username=postgres", f"--pwfile={secret}", "--auth-local=trust", "--auth-host=scram-sha-256"]
        self.run("initdb", "-D", str(self.data), "--encoding=UTF8", "--no-locale", "--no-sync", *options)
        self.major = int((self.data / "PG_VERSION").read_text())

    def _configure(self) -> None:
        settings = {**_FAST, **_TALKATIVE, **self._settings, "port": str(self.port), "listen_addresses": "127.0.0.1"}
        settings["unix_socket_directories"] = str(self.folder)
        if self.major >= 18:
            share = self.folder / "share"
            if EXTENSIONS.exists() and not share.exists():
                shutil.copytree(EXTENSIONS, share)
                open_to_all(share)
            settings["extension_control_path"] = f"$system:{share}"
        file = self.data / "postgresql.auto.conf"
        file.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
