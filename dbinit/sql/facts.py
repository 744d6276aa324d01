"""Facts about one statement that decide how, and whether, it can be run. Pure."""

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from itertools import islice

from .lexer import UnterminatedError, split

__all__ = [
    "BLANKS",
    "NAME",
    "TABLE",
    "Company",
    "Footing",
    "chains",
    "changes_reading",
    "client_encoding",
    "company",
    "concurrently",
    "copy_quote",
    "footing",
    "generates_alone",
    "leading_words",
    "leaves_nothing",
    "may_speak",
    "needs_session",
    "reads_copy_data",
    "refusal",
    "sets_session",
    "sets_standard_strings",
    "uses_savepoints",
]

# A word, or what may stand between words: blanks and comments. Nested comments are rare enough between the first
# words of a statement that a few levels do.
_COMMENT = r"/\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*(?:[^*]|\*(?!/))*+\*/)*+\*/"
_GAP = rf"(?:\s|--[^\r\n]*|{_COMMENT})"
_WORD = re.compile(rf"{_GAP}*+([A-Za-z_][A-Za-z0-9_$]*)", re.ASCII)
BLANKS = f"{_GAP}++"
"""The pattern of what stands between words, one blank or comment at least."""
NAME = r'(?:"(?:[^"]|"")*+"|[^\W\d][\w$]*+)'
"""The pattern of a name, quoted or not."""
TABLE = rf"{NAME}(?:{_GAP}*+\.{_GAP}*+{NAME})*+"
"""The pattern of a table's or an index's name, with or without its schema's."""
_COLUMNS = r'\((?:"[^"]*+"|[^")])*+\)'
_COPY_IN = re.compile(
    rf"copy\b{_GAP}*+(?:binary\b{_GAP}*+)?{TABLE}{_GAP}*+(?:{_COLUMNS}{_GAP}*+)?from{_GAP}++std(?:in|out)\b",
    re.IGNORECASE,
)
_COPY_OUT = re.compile(rf"\bto{_GAP}++stdout\b", re.IGNORECASE)
# The options in either syntax: WITH CSV QUOTE AS '"', or (FORMAT csv, QUOTE '"').
_OPTION = re.compile(
    rf"{_GAP}++|e'(?:[^'\\]|''|\\.)*+'|'(?:[^']|'')*+'|\"[^\"]*+\"|\$(\w*)\$.*?\$\1\$|\w++|.", re.IGNORECASE | re.DOTALL
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{1,2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_STRINGS = re.compile(
    rf"set{_GAP}++(?:(?:session|local){_GAP}++)?standard_conforming_strings{_GAP}*+(?:=|\bto\b){_GAP}*+'?(\w+)'?{_GAP}*+\Z"
    rf"|reset{_GAP}++(?:all|standard_conforming_strings){_GAP}*+\Z"
    r"|select\s+(?:pg_catalog\s*\.\s*)?set_config\s*\(\s*'standard_conforming_strings'\s*,\s*'(\w+)'",
    re.IGNORECASE,
)

# Settings by which the server's own lexer reads; as set_config() can set them too, the names are looked for anywhere.
_READING = re.compile(
    r"standard_conforming_strings|backslash_quote|client_encoding|\breset\s+all\b|\bset\s+names\b|\bdiscard\b",
    re.IGNORECASE,
)
_ALONE = re.compile(
    r"(?:CREATE|DROP) (?:DATABASE|TABLESPACE|SUBSCRIPTION)\b|ALTER SYSTEM\b|VACUUM\b|DISCARD ALL\b"
    r"|CLUSTER(?: VERBOSE)?\Z|REINDEX (?:SCHEMA|DATABASE|SYSTEM)\b"
)
_CONCURRENTLY = re.compile(
    rf"(?:create{BLANKS}(?:unique{BLANKS})?index|drop{BLANKS}index|reindex\b[^;]*?){BLANKS}concurrently\b"
    rf"|reindex{_GAP}*+\([^)]*\bconcurrently\b|reindex{_GAP}*+\([^)]*\){_GAP}*+(?:schema|database|system)\b"
    rf"|alter{BLANKS}table{BLANKS}(?:if{BLANKS}exists{BLANKS})?(?:only{BLANKS})?{TABLE}(?:{_GAP}|\*)*+"
    rf"detach{BLANKS}partition{BLANKS}{TABLE}{_GAP}*+concurrently{_GAP}*\Z"
    rf"|alter{BLANKS}database\b.*\bset{BLANKS}tablespace\b",
    re.IGNORECASE | re.DOTALL,
)
# What speaks with the publisher; a change of the publications does unless it is told not to.
_SUBSCRIPTION = re.compile(
    rf"alter{BLANKS}subscription{BLANKS}{TABLE}{_GAP}*+(?:refresh{BLANKS}(?:publication|sequences)\b"
    rf"|(?:set|add|drop){BLANKS}publication\b(?!.*\brefresh{_GAP}*={_GAP}*'?(?:false|off|0)\b)"
    rf"|set{_GAP}*+\([^)]*\b(?:failover|two_phase)\b)",
    re.IGNORECASE | re.DOTALL,
)
_COMMITS = re.compile(rf"\b(?:commit|rollback)(?:{BLANKS}and{BLANKS}(?:no{BLANKS})?chain)?\Z", re.IGNORECASE)
_DEFINING = frozenset({"ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "REVOKE", "SECURITY", "SET"})
_CHANGING = frozenset({"DELETE", "INSERT", "MERGE", "UPDATE", "WITH"})
# An extension's script does what it likes; and a value added to an enum can be used in the same transaction only if
# neither it nor the type was made behind a savepoint.
_STAND_ALONE = (("CREATE", "EXTENSION"), ("CREATE", "TYPE"), ("ALTER", "TYPE"))
# CREATE TABLE AS and CREATE MATERIALIZED VIEW run a query, and a new column may take its values from a sequence.
_FILLS = re.compile(
    r"\b(?:table|materialized)\b.*?\bas\b[\s(]*(?:select|with|values|table|execute)\b|\b(?:next|set)val\b",
    re.IGNORECASE | re.DOTALL,
)
_SPEAKS = re.compile(r"\b(?:if|cascade|inherits|raise)\b|%type\b", re.IGNORECASE)
_ENCODING = re.compile(
    r"set\s+(?:(?:session|local)\s+)?(?:client_encoding\s*(?:=|\bto\b)|names)\s*['\"]?([\w-]+)"
    r"|select\s+(?:pg_catalog\s*\.\s*)?set_config\s*\(\s*'client_encoding'\s*,\s*'([\w-]+)'"
    r"|reset\s+(?:client_encoding|all)\b",
    re.IGNORECASE,
)
_CHAINS = re.compile(rf"\band{BLANKS}chain{_GAP}*\Z", re.IGNORECASE)
_TEMPORARY = re.compile(r"CREATE (?:OR REPLACE )?(?:GLOBAL |LOCAL )?TEMP(?:ORARY)?\b")
_DROPPED = re.compile(r"\bon\s+commit\s+drop\b", re.IGNORECASE)
_SET_CONFIG = re.compile(r"select\s+(?:pg_catalog\s*\.\s*)?set_config\s*\(", re.IGNORECASE)


def leading_words(statement: str) -> Iterator[str]:
    """Yield the words a statement begins with, in capitals, up to the first thing that is no word."""
    position = 0
    while match := _WORD.match(statement, position):
        yield match[1].upper()
        position = match.end()


@lru_cache(maxsize=4)
def _first_words(statement: str) -> tuple[str, ...]:
    """Return five leading words at most; each statement is asked about several times, one after the other."""
    return tuple(islice(leading_words(statement), 5))


class Footing(Enum):
    """How a statement stands to transactions."""

    PLAIN = "plain"
    """It runs inside of one, and outside in one of its own."""
    ALONE = "alone"
    """PostgreSQL refuses it inside of one."""
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"


def footing(statement: str) -> Footing:
    """Tell how a statement stands to transactions, without running it.

    The list is PostgreSQL's own, the callers of PreventInTransactionBlock(). That a CALL commits cannot be known.
    """
    words = _first_words(statement)[:4]
    match words:
        case ["BEGIN", *_] | ["START", "TRANSACTION", *_]:
            return Footing.BEGIN
        case ["COMMIT" | "END", *_]:
            return Footing.COMMIT
        case ["ROLLBACK", "TO", *_] | ["ROLLBACK", "WORK" | "TRANSACTION", "TO", *_]:
            return Footing.PLAIN  # to a savepoint: that stays within the transaction
        case ["ROLLBACK" | "ABORT", *_]:
            return Footing.ROLLBACK
        case ["DO", *_]:
            return Footing.ALONE if _commits(statement) else Footing.PLAIN
    alone = _ALONE.match(" ".join(words)) or _CONCURRENTLY.match(statement) or _SUBSCRIPTION.match(statement)
    return Footing.ALONE if alone else Footing.PLAIN


def _commits(block: str) -> bool:
    """Tell whether a DO block has a COMMIT or ROLLBACK in it, as a statement of its own or behind THEN and the like."""
    body = next((token[0] for token in _OPTION.finditer(block) if token[0][-1:] in {"'", "$"}), "")
    text = _literal(body)
    try:
        return any(_COMMITS.search(text, piece.start, piece.end) for piece in split(text))
    except UnterminatedError:
        return False  # as the server will say


def concurrently(statement: str) -> bool:
    """Tell whether a statement does its work CONCURRENTLY, for which it waits for others again and again."""
    return _CONCURRENTLY.match(statement) is not None and "concurrently" in statement.lower()


def chains(statement: str) -> bool:
    """Tell whether a COMMIT or ROLLBACK begins another transaction at once."""
    return _CHAINS.search(statement) is not None


class Company(Enum):
    """With which others a statement may share a message."""

    NONE = "none"
    DEFINITIONS = "definitions"
    """Nothing is left of it when it is rolled back, so that a message of these can be run again."""
    ROWS = "rows"
    """It may advance a sequence, which does not go back."""


def company(statement: str) -> Company:
    """Tell with which others a statement may share a message."""
    if changes_reading(statement) or uses_savepoints(statement) or reads_copy_data(statement):
        return Company.NONE
    words = _first_words(statement)[:2]
    first = words[0] if words else ""
    if first in _CHANGING:
        return Company.ROWS
    if first not in _DEFINING or words in _STAND_ALONE:
        return Company.NONE
    return Company.ROWS if _FILLS.search(statement) else Company.DEFINITIONS


def leaves_nothing(statement: str) -> bool:
    """Tell whether nothing is left of a statement once its transaction is rolled back, so that it can be run again."""
    words = _first_words(statement)[:2]
    return company(statement) is Company.DEFINITIONS or words in _STAND_ALONE[1:]


def may_speak(statement: str) -> bool:
    """Tell whether PostgreSQL often has something to say of such a statement that is no error."""
    return _SPEAKS.search(statement) is not None


def refusal(statement: str) -> str:
    """Return why a statement cannot be run from a script at all; empty when it can."""
    words = _first_words(statement)[:2]
    match words:
        case ["PREPARE", "TRANSACTION"] | ["COMMIT" | "ROLLBACK", "PREPARED"]:
            return "two-phase transactions cannot be run from a script"
        case ["DISCARD", "ALL"]:
            return "DISCARD ALL takes from the session what dbinit needs there; use RESET ALL, DISCARD TEMP and so on"
        case ["COPY", *_] if not reads_copy_data(statement) and _COPY_OUT.search(statement):
            return "COPY to stdout has nowhere to write to; take the statement out of the file"
    return ""


def client_encoding(statement: str) -> str | None:
    """Return the name of the encoding that a statement says the text behind it is in; None if it says nothing of it."""
    if statement[:1] not in "SsRr" or not (found := _ENCODING.match(statement)):
        return None
    return found[1] or found[2] or "default"


def generates_alone(query: str) -> bool:
    r"""Tell whether the statements that a query returns (`\gexec`) may be such as PostgreSQL refuses in a transaction.

    That cannot be known without running it; but such statements begin with a literal, as in
    `SELECT 'CREATE DATABASE x' WHERE NOT EXISTS (...)` or `SELECT format('DROP INDEX CONCURRENTLY %I', ...)`.
    """
    literals = (_literal(token[0]) for token in _OPTION.finditer(query) if token[0][-1:] in {"'", "$"})
    return any(footing(literal) is Footing.ALONE for literal in literals if literal)


def sets_session(statement: str) -> bool:
    """Tell whether a statement only sets something of the session, which a new session has to be told again."""
    words = _first_words(statement)[:2]
    if words[:1] == ("SELECT",):
        return _SET_CONFIG.match(statement) is not None
    return words[:1] in (("SET",), ("RESET",)) and words[1:] not in (("LOCAL",), ("TRANSACTION",), ("CONSTRAINTS",))


def needs_session(statement: str) -> bool:
    """Tell whether what a statement does is meant for its session, beyond the transaction that it is in."""
    words = _first_words(statement)
    if words[:1] in (("LISTEN",), ("LOAD",), ("PREPARE",)):
        return True
    if _TEMPORARY.match(" ".join(words)):
        return _DROPPED.search(statement) is None
    return words[:1] != ("RESET",) and sets_session(statement)


def reads_copy_data(statement: str) -> bool:
    """Tell whether a statement is a COPY from stdin, whose data follow it in the script."""
    return statement[:4].upper() == "COPY" and _COPY_IN.match(statement) is not None


def copy_quote(statement: str) -> str:
    """Return the character that quotes in the data of a COPY, and the one that escapes it if that is another.

    Empty unless the data are CSV.
    """
    found = {"quote": '"'}
    option, previous = "", ""
    for word in _copy_options(statement):
        if word.lower() == "where":
            break
        value = _literal(word)
        if option in {"quote", "escape"} and value:
            found[option] = value
        elif word.lower() == "csv" or (previous == "format" and value == "csv"):
            found["csv"] = "yes"
        previous = word.lower()
        option = option if previous == "as" else previous
    escape = found.get("escape", "")
    if "csv" not in found:
        return ""
    return found["quote"] + (escape if escape != found["quote"] else "")


def _copy_options(statement: str) -> Iterator[str]:
    start = _COPY_IN.match(statement)
    for token in _OPTION.finditer(statement, start.end() if start else len(statement)):
        if token[0].lstrip()[:2] not in {"", "--", "/*"}:
            yield token[0]


def _literal(word: str) -> str:
    """Return what a literal or a quoted name stands for; empty for anything else."""
    if word[:2].lower() == "e'":
        return _ESCAPE.sub(_unescape, word[2:-1].replace("''", "'"))
    if len(word) > 1 and word.startswith("$") and word.endswith("$"):  # a single one belongs to a name
        return word.split("$", 2)[2].rsplit("$", 2)[0]
    return word[1:-1].replace("''", "'") if word[:1] in {"'", '"'} else ""


def _unescape(match: re.Match[str]) -> str:
    if match[5]:
        return _LETTERS.get(match[5], match[5])
    code = int(match[4], 8) if match[4] else int(match[1] or match[2] or match[3], 16)
    return chr(code)


def sets_standard_strings(statement: str) -> bool | None:
    """Return what a statement sets `standard_conforming_strings` to; None for one that does not, or not plainly."""
    if not (match := _STRINGS.match(statement)):
        return None
    value = (match[1] or match[2] or "default").lower()
    if value in {"default", "on", "1"} or "true".startswith(value) or "yes".startswith(value):
        return True
    return False if value in {"of", "off", "0"} or "false".startswith(value) or "no".startswith(value) else None


def changes_reading(statement: str) -> bool:
    """Tell whether a statement may change how the server reads those behind it in the same message."""
    return _READING.search(statement) is not None


def uses_savepoints(statement: str) -> bool:
    """Tell whether a statement sets, releases or goes back to a savepoint."""
    return _first_words(statement)[:1] in (("SAVEPOINT",), ("RELEASE",), ("ROLLBACK",))
