"""The text of a file that comes as bytes, in an encoding that may change on the way. Pure."""

import codecs
from collections.abc import Iterator

from dbinit.errors import SourceError

from .encodings import UTF8

__all__ = ["STRANGE", "Feed", "transcoded"]

# A byte that is no text in the encoding becomes a lone surrogate, from which it can be told again: whether that matters
# is seen once it is known what the byte belongs to.
_KEEP = "surrogateescape"
STRANGE = r"[\udc80-\udcff]"
"""The pattern of a byte that was no text; its value is the character's code less 0xDC00."""


class Feed:
    """Makes text of bytes, a chunk at a time.

    Args:
        chunks: The bytes, in order; a chunk may end anywhere. A byte order mark of UTF-8 at their beginning is dropped.
        encoding: Python's name of the encoding they begin in.
    """

    def __init__(self, chunks: Iterator[bytes], encoding: str = UTF8) -> None:
        self._chunks = chunks
        self.encoding = encoding
        self._decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == UTF8 else encoding)(_KEEP)

    def text(self) -> str:
        """Return more of the text; it is empty at the end."""
        for chunk in self._chunks:
            if text := self._decoder.decode(chunk):
                return text
        return self._decoder.decode(b"", final=True)

    def change(self, rest: str, encoding: str) -> str:
        """Go on in another encoding.

        Args:
            rest: What has been read as text and belongs to the other encoding already.
            encoding: Its name.

        Returns:
            `rest` as it should have been read.
        """
        data = self.taken_back(rest)
        self.encoding = encoding
        return self.put_back(data)

    def taken_back(self, rest: str) -> bytes:
        """Return the bytes of what has been read last, and of what was begun; go on with `chunk()`."""
        begun, _ = self._decoder.getstate()
        return rest.encode(self.encoding, _KEEP) + begun

    def chunk(self) -> bytes:
        """Return more bytes, as they are; none at the end."""
        return next(filter(None, self._chunks), b"")

    def put_back(self, data: bytes) -> str:
        """Return bytes as text again; go on with `text()`."""
        self._decoder = codecs.getincrementaldecoder(self.encoding)(_KEEP)
        return self._decoder.decode(data)


def transcoded(data: Iterator[bytes], encoding: str, path: str, line: int) -> Iterator[bytes]:
    """Yield data of another encoding in UTF-8.

    Args:
        data: The data, in chunks.
        encoding: Python's name of their encoding.
        path: What to call them in messages.
        line: The number of their first line.

    Raises:
        SourceError: A byte of them is no text in that encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in data:
            yield decoder.decode(chunk).encode()
            line += chunk.count(b"\n")
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError as error:
        line += error.object.count(b"\n", 0, error.start)
        byte = error.object[error.start]
        raise SourceError(f"{path}:{line}: byte 0x{byte:02x} there is not {encoding}", advice="correct it") from None
