from pathlib import Path

import pytest

from dbinit.errors import ExitCode, SourceError
from dbinit.model import Script
from dbinit.source import checksum, read_script


def write(folder: Path, content: bytes) -> Path:
    file = folder / "init-db.sql"
    file.write_bytes(content)
    return file


def refusal(path: Path) -> SourceError:
    """Return why a file is refused."""
    with pytest.raises(SourceError) as caught:
        read_script(path)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


def test_a_file_is_read_with_its_name_its_path_and_its_checksum(tmp_path: Path) -> None:
    file = write(tmp_path, "SELECT 'é';\n".encode())
    assert read_script(file) == Script("init-db.sql", str(file), "SELECT 'é';\n", checksum("SELECT 'é';\n"))


def test_the_text_is_kept_as_it_is_but_for_the_byte_order_mark(tmp_path: Path) -> None:
    assert read_script(write(tmp_path, b"\xef\xbb\xbfSELECT 1;\r\n\rSELECT 2;\n")).text == "SELECT 1;\r\n\rSELECT 2;\n"


def test_a_file_may_be_reached_by_a_symbolic_link_as_configmaps_are(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    write(tmp_path / "..data", b"SELECT 1;")
    link = tmp_path / "schema.sql"
    link.symlink_to("..data/init-db.sql")
    assert read_script(link).name == "schema.sql"


def test_a_file_of_comments_is_not_empty(tmp_path: Path) -> None:
    assert read_script(write(tmp_path, b"-- nothing yet\n")).text == "-- nothing yet\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{file} is empty"),
        (b" \r\n\t\n", "{file} is empty"),
        (b"\xef\xbb\xbf", "{file} is empty"),
        (b"SELECT 1;\n\nSELECT '\xe9';\n", "{file}:3: byte 0xe9 there is not UTF-8"),
        (b"SELECT 1;\n\xed\xa0\x80", "{file}:2: byte 0xed there is not UTF-8"),
        ("SELECT 1;".encode("utf-16"), "{file} is UTF-16, not UTF-8"),
        (b"\xfe\xff\x00S", "{file} is UTF-16, not UTF-8"),
        (b"SELECT 1;\nSELECT '\0';\n", "{file}:2: there is a NUL byte in it, which PostgreSQL cannot take"),
        (b"\0", "{file}:1: there is a NUL byte in it, which PostgreSQL cannot take"),
        ("SELECT 1;".encode("utf-16-le"), "{file}:1: there is a NUL byte in it, which PostgreSQL cannot take"),
        (b"PGDMP\x01\x0e\xff\0", "{file} is a custom-format dump, no SQL text"),
    ],
    ids=[
        "empty",
        "blank",
        "only a byte order mark",
        "latin-1",
        "a surrogate",
        "UTF-16",
        "big-endian UTF-16",
        "a NUL byte",
        "nothing but a NUL byte",
        "UTF-16 without a mark",
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


def test_a_file_below_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"SELECT 1;") / "more.sql"
    assert refusal(path).message == f"{path} cannot be read: Not a directory"


def test_a_link_to_itself(tmp_path: Path) -> None:
    link = tmp_path / "loop.sql"
    link.symlink_to(link)
    assert refusal(link).message.startswith(f"{link} cannot be read: ")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    # Not by the file's mode: a superuser may read any.
    monkeypatch.setattr(Path, "read_bytes", refuse)
    error = refusal(tmp_path / "init-db.sql")
    assert error.message == f"{tmp_path / 'init-db.sql'} cannot be read: Permission denied"
    assert "permissions" in error.advice


PLAIN = b"CREATE TABLE a (b text);\nSELECT 1;\n"


def checksum_of(folder: Path, content: bytes) -> str:
    return read_script(write(folder, content)).checksum


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
