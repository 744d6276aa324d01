r"""psql's `\copy ... from`, which becomes a COPY from stdin. Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .arguments import NO_PROGRAMS, skip_blanks
from .lexer import UnterminatedError, split
from .variables import CommandError

__all__ = ["CopyFrom", "parse_copy"]


class CopyFrom(NamedTuple):
    r"""A `\copy ... from`: the statement to send, and the file with the data, None if they follow in the script."""

    statement: str
    path: str | None


_COPY_PART = r"""[ \t-\r]*+(?P<part>"(?:[^"]|"")*+"|[.,()]|[^ \t-\r".,()]++)"""
_COPY_FILE = r"[ \t-\r]*+(?:'(?P<quoted>(?:[^']|'')*+)'|(?P<word>[^ \t-\r;']++))"
_COPY_SYNTAX = "write \\copy table (columns) from 'file' with (options), in one line"


def parse_copy(raw: str) -> CopyFrom:
    r"""Read a `\copy`, which knows no variables.

    Args:
        raw: The command from its backslash on, as the lexer cuts it out.

    Raises:
        CommandError: It is not `\copy ... from`, would start a program, or cannot be understood.
    """
    begin = skip_blanks(raw, len("\\copy"))
    word, start, end = _copy_direction(raw, begin)
    if word != "from":
        advice = "no script may write files; take it out, or use \\copy ... from"
        raise CommandError("dbinit does not run \\copy ... to", start, advice=advice)
    file = re.compile(_COPY_FILE).match(raw, end)
    if not file:
        raise _copy_error(raw, end)
    path = _copy_path(file)
    rest = raw[file.end() :].strip(" \t\n\v\f\r;")
    statement = f"COPY {raw[begin:start].rstrip()} FROM STDIN {rest}".rstrip()
    return CopyFrom(_single(statement), path)


def _copy_path(file: re.Match[str]) -> str | None:
    if file["quoted"] is not None:
        return file["quoted"].replace("''", "'")
    word = file["word"].lower()
    if word in ("stdin", "stdout"):
        return None
    if word in ("pstdin", "pstdout"):
        advice = "use stdin and let the data follow in the script, or name a file"
        raise CommandError("dbinit has no standard input for \\copy", file.start("word"), advice=advice)
    if word == "program":
        raise CommandError("\\copy ... from program starts a program", file.start("word"), advice=NO_PROGRAMS)
    return file["word"]


def _copy_direction(raw: str, position: int) -> tuple[str, int, int]:
    """Pass over table and columns, and return the word behind them, where it starts and where it ends."""
    parts = _copy_parts(raw, position)
    part, start, end = next(parts)
    if part == "binary":
        part, start, end = next(parts)
    if part == "(":
        advice = "no script may write files; take it out, or use \\copy ... from"
        raise CommandError("dbinit does not run \\copy (query) to", start, advice=advice)
    part, start, end = next(parts)
    if part == ".":
        next(parts)
        part, start, end = next(parts)
    if part == "(":
        while part != ")":
            part, start, end = next(parts)
        part, start, end = next(parts)
    if part not in ("from", "to"):
        raise _copy_error(raw, start)
    return part, start, end


def _copy_parts(raw: str, position: int) -> Iterator[tuple[str, int, int]]:
    while match := re.compile(_COPY_PART).match(raw, position):
        position = match.end()
        yield match["part"].lower(), match.start("part"), position
    raise _copy_error(raw, position)


def _copy_error(raw: str, position: int) -> CommandError:
    position = skip_blanks(raw, position)
    where = f'"{raw[position : position + 20]}"' if position < len(raw) else "its end"
    return CommandError(f"\\copy cannot be understood at {where}", position, advice=_COPY_SYNTAX)


def _single(statement: str) -> str:
    """Return a statement without comments behind it; refuse options that end it and begin another."""
    try:
        pieces = list(split(statement))
    except UnterminatedError:
        pieces = []
    if [piece.kind for piece in pieces] != ["sql"]:
        raise CommandError(
            "the options of this \\copy are not complete, or there is more than one", advice=_COPY_SYNTAX
        )
    return statement[: pieces[0].end]
