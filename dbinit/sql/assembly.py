r"""From what stands in a script, and the values of its variables, to the messages that psql would send. Pure."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from .expansion import unescape
from .facts import Footing, footing, reads_copy_data
from .lexer import UnterminatedError, references, split
from .patchwork import Patch, Patchwork
from .statement import Statement, unrunnable

__all__ = ["assemble"]

_BLANKS = " \t\n\v\f\r"


def assemble(patches: Sequence[Patch], *, standard_conforming_strings: bool) -> Iterator[Statement]:
    r"""Yield the statements that a stretch of a script is, once the values of its variables stand in it.

    Usually it is one. A value may have made several of it. Those that `\;` joins stay together if they may share a
    message, in a transaction of their own.

    Args:
        patches: The stretch, without its semicolon.
        standard_conforming_strings: How plain strings are read.

    Raises:
        ScriptError: A value leaves something open, or has a command in it.
    """
    whole = Patchwork(patches)
    if all(patch.verbatim for patch in patches):
        parts = [whole.cut(0, len(whole.text.rstrip(_BLANKS)))]
    else:
        parts = _split(whole, standard_conforming_strings=standard_conforming_strings)
    for part in parts:
        if part.text:
            yield from _unescaped(part, standard_conforming_strings=standard_conforming_strings)


def _unescaped(part: Patchwork, *, standard_conforming_strings: bool) -> Iterator[Statement]:
    r"""Yield what becomes of a message without its `\;` and `\:`."""
    strings = standard_conforming_strings
    try:
        spans = _spans(part.text, strings=strings)
    except UnterminatedError:  # it is not whole, as the server will say
        yield _statement(part)
        return
    parts = [_plain(part, start, end, strings=strings) for start, end in spans]
    if len(parts) > 1 and all(_can_share(one.text) for one in parts):
        whole = _plain(part, spans[0][0], len(part.text), strings=strings)
        yield _statement(whole.cut(0, len(whole.text.rstrip(_BLANKS + ";"))), together=True)
    else:
        yield from map(_statement, parts)


def _spans(text: str, *, strings: bool) -> list[tuple[int, int]]:
    r"""Return where the statements of a message begin and end, as its `\;` separate them.

    Its `\:` stay as they are meanwhile: a colon that is put in may make a dollar quote of what stands behind it.
    """
    found = [mark.start for mark in references(text, standard_conforming_strings=strings) if mark.form == r"\;"]
    pieces = [text[start:end] for start, end in pairwise([0, *(at + 1 for at in found), len(text)])]
    separated = " ".join([*(piece[:-1] for piece in pieces[:-1]), pieces[-1]])
    return [(piece.start, piece.end) for piece in split(separated, standard_conforming_strings=strings)]


def _plain(part: Patchwork, start: int, end: int, *, strings: bool) -> Patchwork:
    """Return a stretch of a message with plain characters for its escapes."""
    plain = unescape(part.text, start, end, standard_conforming_strings=strings)
    return part.replaced(plain.pieces) if plain else part.cut(start, end)


def _split(whole: Patchwork, *, standard_conforming_strings: bool) -> list[Patchwork]:
    found = []
    try:
        for piece in split(whole.text, standard_conforming_strings=standard_conforming_strings):
            if piece.kind == "command":
                raise unrunnable(*whole.origin(piece.start), "this becomes a psql command", "take it out of the value")
            found.append(whole.cut(piece.start, piece.end))
    except UnterminatedError as error:
        message = f"with the values of its variables, this statement has a {error.what} that is never closed"
        advice = "write :'name' where a literal is meant, and :\"name\" where a name is"
        raise unrunnable(*whole.origin(error.offset), message, advice) from None
    return [part for part in found if part.text]


def _can_share(statement: str) -> bool:
    return footing(statement) is Footing.PLAIN and not reads_copy_data(statement)


def _statement(part: Patchwork, *, together: bool = False) -> Statement:
    source, offset = part.origin(0)
    return Statement(part.text, source, offset, together=together, patchwork=part)
