"""A real PgBouncer before a server of the tests."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dbinit.programs import give_to
from tests.kit.patience import eventually
from tests.kit.process import ROOT, running
from tests.kit.server import PASSWORD, Server, free_port

__all__ = ["pgbouncer", "pgbouncer_program", "skip_without_pgbouncer"]

_SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {pool}
server_round_robin = {in_turn:d}
max_client_conn = 200
server_login_retry = 1
logfile = {folder}/log
"""


def pgbouncer_program() -> str | None:
    """Return where the program is: on the PATH, where Debian puts it, or where `scripts/pgbouncer` does."""
    folders = [os.environ.get("PATH", ""), "/usr/sbin", str(ROOT / ".pgbouncer")]
    return shutil.which("pgbouncer", path=os.pathsep.join(folders))


def skip_without_pgbouncer() -> None:
    """Skip a test for want of PgBouncer."""
    if pgbouncer_program() is None:
        pytest.skip("NOT PROVED BEHIND PGBOUNCER: there is none here; on Debian, scripts/pgbouncer fetches it")


@contextmanager
def pgbouncer(server: Server, *, pool: int = 3, mode: str = "transaction", in_turn: bool = True) -> Iterator[int]:
    """Run a PgBouncer before a server, with its own settings.

    Args:
        server: The server.
        pool: How many connections to a database of the server it has at most, for all of its clients.
        mode: Its `pool_mode`: for how long a client keeps one of them.
        in_turn: Whether they are lent in turn, which leaves nothing to luck; otherwise the last one that was used.

    Yields:
        The port it listens on.
    """
    program = pgbouncer_program()
    assert program, "there is no PgBouncer"
    with tempfile.TemporaryDirectory(prefix="dbinit-test-") as name:
        folder, port = Path(name), free_port()
        give_to(server.account, folder)
        (folder / "users").write_text(f'"postgres" "{PASSWORD}"\n')
        give_to(server.account, folder / "users")
        settings = _SETTINGS.format(server=server.port, port=port, folder=folder, pool=pool, mode=mode, in_turn=in_turn)
        (folder / "settings").write_text(settings)
        # It does not run as root, but gives root's rights up by itself.
        account = ["-u", server.account] if server.account else []
        with running(program, *account, str(folder / "settings")) as process:
            eventually(lambda: _listens(port), say=lambda: process.err)
            yield port


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
