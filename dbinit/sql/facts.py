"""Facts about one statement that decide how, and whether, it can be run. Pure."""

import re
from collections.abc import Iterator
from itertools import islice

__all__ = ["changes_reading", "leading_words", "refusal", "uses_savepoints"]

# A word, or what may stand between words: blanks and comments. Nested comments are rare enough between the first
# words of a statement that a few levels do.
_COMMENT = r"/\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*(?:[^*]|\*(?!/))*+\*/)*+\*/"
_GAP = rf"(?:\s|--[^\r\n]*|{_COMMENT})"
_WORD = re.compile(rf"{_GAP}*+([A-Za-z_][A-Za-z0-9_$]*)", re.ASCII)
_COPY_STREAM = re.compile(rf"\b(?:from{_GAP}++stdin|to{_GAP}++stdout)\b", re.IGNORECASE)

# Settings by which the server's own lexer reads; as set_config() can set them too, the names are looked for anywhere.
_READING = re.compile(
    r"standard_conforming_strings|backslash_quote|client_encoding|\breset\s+all\b|\bset\s+names\b|\bdiscard\b",
    re.IGNORECASE,
)
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


def changes_reading(statement: str) -> bool:
    """Tell whether a statement may change how the server reads those behind it in the same message."""
    return _READING.search(statement) is not None


def uses_savepoints(statement: str) -> bool:
    """Tell whether a statement sets, releases or goes back to a savepoint."""
    return next(leading_words(statement), "") in {"SAVEPOINT", "RELEASE", "ROLLBACK"}
