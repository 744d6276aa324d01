import gzip
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from dbinit import opening, source
from dbinit.errors import ExitCode, SourceError
from dbinit.model import Script
from dbinit.source import checksum, open_script, read_script
from dbinit.sql.context import Context
from dbinit.sql.reader import Reader
from tests.kit.configmap import mount, update


def write(folder: Path, content: bytes) -> Path:
    file = folder / "init-db.sql"
    file.write_bytes(content)
    return file


def text_of(script: Script) -> str:
    """Return the text, which is the same each time it is asked for."""
    content = b"".join(script.chunks())
    assert b"".join(script.chunks()) == content
    return content.decode()


def refusal(path: Path) -> SourceError:
    """Return why a file is refused."""
    with pytest.raises(SourceError) as caught:
        read_script(path, {})
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


def test_a_file_is_read_with_its_name_its_path_and_its_checksum(tmp_path: Path) -> None:
    file = write(tmp_path, "SELECT 'é';\n".encode())
    script = read_script(file, {})
    assert script[:3] == ("init-db.sql", str(file), checksum("SELECT 'é';\n".encode()))
    assert text_of(script) == "SELECT 'é';\n"


def test_the_text_is_kept_as_it_is_but_for_the_byte_order_mark(tmp_path: Path) -> None:
    file = write(tmp_path, b"\xef\xbb\xbfSELECT 1;\r\n\rSELECT 2;\n")
    assert text_of(read_script(file, {})) == "SELECT 1;\r\n\rSELECT 2;\n"


def test_a_file_may_be_reached_by_a_symbolic_link_as_configmaps_are(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    write(tmp_path / "..data", b"SELECT 1;")
    link = tmp_path / "schema.sql"
    link.symlink_to("..data/init-db.sql")
    assert read_script(link, {}).name == "schema.sql"


def test_a_file_of_comments_is_not_empty(tmp_path: Path) -> None:
    assert text_of(read_script(write(tmp_path, b"-- nothing yet\n"), {})) == "-- nothing yet\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{file} is empty"),
        (b" \r\n\t\n", "{file} is empty"),
        (b"\xef\xbb\xbf", "{file} is empty"),
        ("SELECT 1;".encode("utf-16"), "{file} is UTF-16, not UTF-8"),
        (b"\xfe\xff\x00S", "{file} is UTF-16, not UTF-8"),
        (b"PGDMP\x01\x0e\xff\0", "{file} is a custom-format dump, no SQL text"),
    ],
    ids=[
        "empty",
        "blank",
        "only a byte order mark",
        "UTF-16",
        "big-endian UTF-16",
        "a dump by pg_dump -Fc",
    ],
)
def test_a_file_that_is_no_sql_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = write(tmp_path, content)
    error = refusal(file)
    assert error.message == message.format(file=file)
    assert error.advice


def test_a_missing_file(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none.sql")
    assert error.message == f"there is no file {tmp_path / 'none.sql'}"
    assert "MIGRATION_PATH" in error.advice


def test_a_folder_where_a_file_is_meant(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert error.message == f"{tmp_path} is a folder, but a file of SQL is meant"
    assert "MIGRATION_PATH" in error.advice


@pytest.mark.parametrize("name", ["", "none.sql"])
def test_what_was_named_itself_is_not_to_be_set(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        open_script(tmp_path / name)
    assert "MIGRATION_PATH" not in caught.value.advice
    assert "name a file of SQL" in caught.value.advice


def test_a_file_below_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"SELECT 1;") / "more.sql"
    assert refusal(path).message == f"{path} cannot be read: Not a directory"


def test_a_link_to_itself(tmp_path: Path) -> None:
    link = tmp_path / "loop.sql"
    link.symlink_to(link)
    assert refusal(link).message.startswith(f"{link} cannot be read: ")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: Any) -> IO[bytes]:
        raise PermissionError(13, "Permission denied", str(path))

    file = write(tmp_path, b"SELECT 1;")
    # Not by the file's mode: a superuser may read any.
    monkeypatch.setattr(Path, "open", refuse)
    error = refusal(file)
    assert error.message == f"{file} cannot be read: Permission denied"
    assert "permissions" in error.advice


PLAIN = b"CREATE TABLE a (b text);\nSELECT 1;\n"


def checksum_of(folder: Path, content: bytes) -> str:
    return read_script(write(folder, content), {}).checksum


def test_the_checksum_is_the_sha256_of_the_text(tmp_path: Path) -> None:
    known = "b4e0497804e46e0a0b0b8c31975b062152d551bac49c3c2e80932567b4085dcd"  # sha256sum
    assert checksum_of(tmp_path, b"SELECT 1;\n") == known


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + PLAIN, PLAIN.replace(b"\n", b"\r\n"), PLAIN.replace(b"\n", b"\r\n", 1)],
    ids=["byte order mark", "CRLF", "one CRLF"],
)
def test_a_byte_order_mark_and_crlf_make_no_difference(tmp_path: Path, content: bytes) -> None:
    assert checksum_of(tmp_path, content) == checksum_of(tmp_path, PLAIN)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN + b"\n",
        PLAIN.rstrip(b"\n"),
        b" " + PLAIN,
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.replace(b"\n", b"\n\r"),
        PLAIN.replace(b"\n", b"\r\r\n"),
        PLAIN.replace(b"CREATE", b"create"),
        b"\xef\xbb\xbf\xef\xbb\xbf" + PLAIN,
        PLAIN + b"-- more",
    ],
    ids=["a line", "no last line end", "a blank", "CR", "LFCR", "CRCRLF", "case", "a second mark", "a comment"],
)
def test_anything_else_does(tmp_path: Path, content: bytes) -> None:
    assert checksum_of(tmp_path, content) != checksum_of(tmp_path, PLAIN)


# --- in chunks --------------------------------------------------------------------------------------------------

LONG = "-- é𝄞\r\nSELECT 'ü';\n" * 20


@pytest.fixture(params=[1, 2, 3, 5, 64])
def small_chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a few bytes at a time."""
    monkeypatch.setattr(source, "_CHUNK", request.param)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_a_chunk_may_end_within_a_character_or_a_line_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: bytes, kept: int
) -> None:
    monkeypatch.setattr(source, "_KEPT", kept)
    script = read_script(write(tmp_path, mark + LONG.encode()), {})
    assert text_of(script) == LONG
    assert script.checksum == checksum(LONG.encode()) == checksum(LONG.replace("\r\n", "\n").encode())


def test_a_small_file_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path, b"SELECT 1;")
    script = read_script(file, {})
    file.unlink()
    assert text_of(script) == "SELECT 1;"


def test_a_large_file_that_changes_meanwhile_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_KEPT", 0)
    file = write(tmp_path, b"SELECT 1;")
    script = read_script(file, {})
    file.write_bytes(b"SELECT 22;")
    with pytest.raises(SourceError, match="was changed while it was read"):
        next(script.chunks())


def test_a_large_file_that_changes_behind_its_times_is_noticed_before_it_is_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_KEPT", 0)
    file = write(tmp_path, b"SELECT 1;")
    times = file.stat()
    script = read_script(file, {})
    file.write_bytes(b"SELECT 2;")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(SourceError, match="was changed while it was read"):
        next(script.chunks())


FIRST, SECOND, THIRD = (b"SELECT 1;".ljust(1 << 14) + b"-- %d" % number for number in range(3))


@pytest.mark.parametrize("after", [FIRST + THIRD, FIRST, FIRST + SECOND + THIRD])
def test_of_a_large_file_only_what_was_hashed_is_handed_on(
    after: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_KEPT", 0)
    monkeypatch.setattr(source, "_CHUNK", len(FIRST))
    monkeypatch.setattr(source, "stamp", lambda _: None)  # as for whoever sets the times back
    file = write(tmp_path, FIRST + SECOND)
    chunks = read_script(file, {}).chunks()
    handed_on = [next(chunks)]
    file.write_bytes(after)
    with pytest.raises(SourceError, match="was changed while it was read"):
        handed_on.extend(chunks)
    assert (FIRST + SECOND).startswith(b"".join(handed_on))


class Meddled(io.FileIO):
    """A file that somebody writes to once it has been read to its end."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            Path(str(self.name)).write_bytes(b"SELECT 22;")
        return data


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, b"SELECT 1;")
    monkeypatch.setattr(opening, "_open", lambda path, **_: Meddled(path))
    assert refusal(file).message == f"{file} was changed while it was read"


# --- compressed, and from standard input ------------------------------------------------------------------------


def test_a_compressed_file_is_the_same_script(tmp_path: Path) -> None:
    file = tmp_path / "init-db.sql.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbf" + LONG.encode()))
    script = read_script(file, {})
    assert script[:3] == ("init-db.sql.gz", str(file), checksum(LONG.encode()))
    assert text_of(script) == LONG


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"SELECT 1;",
        lambda data: data[:-12],
        lambda data: data[:20] + b"\xff" * 20 + data[40:],
        lambda data: data[:-8] + b"\0\0\0\0" + data[-4:],
        lambda _: b"",
    ],
    ids=["plain", "cut off", "damaged", "wrong checksum", "empty"],
)
def test_a_damaged_compressed_file(tmp_path: Path, damage: Any) -> None:
    file = tmp_path / "init-db.sql.gz"
    file.write_bytes(damage(gzip.compress(bytes(range(1, 127)) * 50)))
    error = refusal(file)
    assert error.message.startswith((f"{file} cannot be read: ", f"{file} is empty"))
    assert error.advice


@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_standard_input_can_be_read_more_than_once(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(source, "_KEPT", kept)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LONG.encode())))
    script = read_script(Path("-"), {})
    assert script[:3] == ("-", "-", checksum(LONG.encode()))
    assert text_of(script) == LONG


def test_standard_input_may_not_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert refusal(Path("-")).message == "- is empty"


def test_a_pipe_that_nobody_writes_to_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_PIPE_LIMIT", 0)
    os.mkfifo(tmp_path / "pipe.sql")
    assert refusal(tmp_path / "pipe.sql").message.startswith(f"{tmp_path / 'pipe.sql'} is a pipe, and nobody has")


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe.sql"
    os.mkfifo(path)
    with subprocess.Popen(["/bin/sh", "-c", 'echo "SELECT 1;" > "$0"', str(path)]) as writer:
        assert text_of(read_script(path, {})) == "SELECT 1;\n"
    assert writer.returncode == 0


# --- files that a script names ----------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    return mount(tmp_path, {"main.sql": b"\\ir part.sql\nSELECT 'main 1';", "part.sql": b"SELECT 'part 1';"})


NEXT = {"main.sql": b"\\ir part.sql\nSELECT 'main 2';", "part.sql": b"SELECT 'part 2';"}


def statements_of(script: Script) -> list[str]:
    return [statement.text for statement in Reader(script, Context())]


def test_a_script_of_a_configmap_is_read_with_what_it_names(mounted: Path) -> None:
    before = read_script(mounted / "main.sql", {})
    update(mounted, NEXT)
    after = read_script(mounted / "main.sql", {})

    assert statements_of(before) == ["SELECT 'part 1'", "SELECT 'main 1'"]
    assert statements_of(after) == ["SELECT 'part 2'", "SELECT 'main 2'"]
    assert before.checksum != after.checksum


def test_two_versions_of_a_configmap_are_never_mixed(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = source._Files.find  # noqa: SLF001 - between the script and what it names is no other place to step in

    def late(*arguments: Any) -> Script:
        update(mounted, NEXT)
        return find(*arguments)

    monkeypatch.setattr(source._Files, "find", late)  # noqa: SLF001 - as above
    with pytest.raises(SourceError, match="was changed while it was read"):
        read_script(mounted / "main.sql", {})


@pytest.mark.parametrize("command", ["\\i '{}'", "\\ir '{}'", "\\include '{}'", "\\copy item from '{}'"])
@pytest.mark.parametrize(
    "named",
    [
        "{outside}/secret.sql",
        "../outside/secret.sql",
        "link.sql",
        "linked/secret.sql",
        "sub/../../outside/secret.sql",
        "/proc/self/environ",
        "/proc/self/root/{outside}/secret.sql",
        "/proc/self/cwd/../outside/secret.sql",
        "/dev/stdin",
        "~/secret.sql",
    ],
)
def test_nothing_outside_of_the_root_is_read(
    named: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "sub", outside):
        folder.mkdir(parents=True)
    (outside / "secret.sql").write_bytes(b"SELECT 'secret';")
    (root / "link.sql").symlink_to(outside / "secret.sql")
    (root / "linked").symlink_to(outside)
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(outside))
    file = write(root, (command.format(named.format(outside=outside)) + "\n").encode())

    with pytest.raises(SourceError, match="is not in the folder"):
        read_script(file, {})
