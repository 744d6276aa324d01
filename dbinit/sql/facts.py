"""Facts about one statement that decide how, and whether, it can be run. Pure."""

import re
from collections.abc import Iterator
from itertools import islice

__all__ = ["leading_words", "refusal"]

# A word, or what may stand between words: blanks and comments. Nested comments are rare enough between the first
# words of a statement that a few levels do.
_COMMENT = r"/\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*(?:[^*]|\*(?!/))*+\*/)*+\*/"
_GAP = rf"(?:\s|--[^\r\n]*|{_COMMENT})"
_WORD = re.compile(rf"{_GAP}*+([A-Za-z_][A-Za-z0-9_$]*)", re.ASCII)
_COPY_STREAM = re.compile(rf"\b(?:from{_GAP}++stdin|to{_GAP}++stdout)\b", re.IGNORECASE)

_TRANSACTION_CONTROL = frozenset({"BEGIN", "COMMIT", "END", "ABORT", "ROLLBACK", "START", "PREPARE"})


def leading_words(statement: str) -> Iterator[str]:
    """Yield the words a statement begins with, in capitals, up to the first thing that is no word."""
    position = 0
    while match := _WORD.match(statement, position):
        yield match[1].upper()
        position = match.end()


def refusal(statement: str) -> str:
    """Return why a statement cannot be part of a script that runs in one transaction; empty when it can."""
    words = list(islice(leading_words(statement), 3))
    if not words:
        return ""
    if words[0] in _TRANSACTION_CONTROL and _controls_transaction(words):
        return (
            f"{words[0]} controls the transaction, but dbinit runs the whole file in one of its own;"
            " take the statement out of the file"
        )
    if words[0] == "COPY" and _COPY_STREAM.search(statement):
        return "COPY from stdin or to stdout cannot be run from a file yet; use INSERT, or load the data with psql"
    return ""


def _controls_transaction(words: list[str]) -> bool:
    match words:
        case ["ROLLBACK", "TO", *_] | ["ROLLBACK", "WORK" | "TRANSACTION", "TO"]:
            return False  # to a savepoint: that stays within the transaction
        case ["PREPARE", *rest]:
            return rest[:1] == ["TRANSACTION"]  # without it, a prepared statement
    return True
