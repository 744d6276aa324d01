"""Do psql and dbinit send the same? What each of them trims is allowed for, and nothing else.

psql sends the semicolon and the comments around a statement, and leaves out empty lines outside of quotes; dbinit sends
neither what stands around a statement nor leaves out anything in it. So a message of psql's has to be dbinit's
statement, line by line, with fewer empty lines at most, between blanks and comments.
"""

from itertools import zip_longest

from tests.kit.gaps import is_void, void_end
from tests.kit.oracle import Message, Oracle
from tests.kit.reading import WHOLE, sent

_LAST = "\nSELECT 'the end';"
_SENTINEL = f"\nSELECT 'more';{_LAST}"  # more of a statement that lacks its semicolon


def check(oracle: Oracle, script: str, chunk: int = WHOLE) -> None:
    """Fail unless psql and dbinit send the same for a script.

    Args:
        oracle: What runs psql.
        script: The script.
        chunk: How many bytes of it dbinit is given at a time.
    """
    assert not (report := disagreement(oracle, script, chunk)), report


def disagreement(oracle: Oracle, script: str, chunk: int = WHOLE) -> str:
    """Return what psql and dbinit send for a script if that differs, or if only one finds something open at its end.

    What is left open swallows what stands behind it; that is how psql shows it.
    """
    for text in (script, script + _SENTINEL):
        theirs = _worth_sending(oracle.sent(text))
        read = sent(text, chunk)
        ours = _worth_sending(read.messages)
        expected, swallowed = theirs, True
        if read.unterminated:
            *expected, rest = theirs or [Message("")]
            swallowed = text is script or _LAST in rest.text
        if not swallowed or not all(_is_same(oracle, *pair) for pair in zip_longest(expected, ours)):
            return _report(text, theirs, ours)
    return ""


def _worth_sending(messages: list[Message]) -> list[Message]:
    return [message for message in messages if not is_void(message.text)]


def _is_same(oracle: Oracle, theirs: Message | None, ours: Message | None) -> bool:
    if not (theirs and ours and theirs.data == ours.data):
        return False
    tail = tail_behind(theirs.text, ours.text)
    if tail is None or not is_void(tail):
        return False
    # What looks like a comment may stand in a quote that is closed only behind it.
    return not set(tail) & set("'\"$") or _is_whole(oracle, ours.text)


def tail_behind(message: str, statement: str) -> str | None:
    """Return what stands in a message of psql's behind a statement of dbinit's; None if that is another one."""
    position = void_end(message)
    *lines, last = statement[void_end(statement) :].split("\n")
    for line in lines:
        if message.startswith(f"{line}\n", position):
            position += len(line) + 1
        elif line:
            return None
    return message[position + len(last) :] if message.startswith(last, position) else None


def _is_whole(oracle: Oracle, statement: str) -> bool:
    """Tell whether psql finds nothing open at the end of a statement."""
    for setting in ("on", "off"):
        messages = oracle.sent(f"SET standard_conforming_strings = {setting};\n{statement}\n;{_LAST}")
        if messages[-1].text == _LAST.strip():
            return True
    return False


def _report(text: str, theirs: list[Message], ours: list[Message]) -> str:
    def side(name: str, messages: list[Message]) -> str:
        return "\n  ".join([f"{name} sends:", *map(repr, messages)])

    return "\n".join([f"for {text!r}", side("psql", theirs), side("dbinit", ours)])
