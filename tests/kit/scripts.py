"""Scripts that come from no file, and the files that they name."""

from collections.abc import Mapping

from dbinit.errors import SourceError
from dbinit.model import Script, Use


def script_of(
    content: str | bytes, size: int = 7, path: str = "init-db.sql", files: Mapping[str, str | bytes] | None = None
) -> Script:
    """Return a script that comes in chunks of `size` bytes, and may name the `files`."""
    data = content.encode() if isinstance(content, str) else content

    def find(name: str, _: Use, /) -> Script:
        if not files or name not in files:
            raise SourceError(f"there is no file {name}")
        return script_of(files[name], size, name, files)

    return Script(
        name=path,
        path=path,
        checksum="",
        chunks=lambda: (data[start : start + size] for start in range(0, len(data), size)),
        find=find,
        key=path,
    )
