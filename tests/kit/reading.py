"""What dbinit sends: the one place where the tests of the oracle touch its reader."""

from typing import NamedTuple

from dbinit.errors import ScriptError
from dbinit.sql.reader import Reader
from tests.kit.oracle import Message
from tests.kit.scripts import script_of

WHOLE = 1 << 18
"""Bytes in a chunk of a large file."""


class Sent(NamedTuple):
    """What is sent for a script, up to what it leaves open, if it does."""

    messages: list[Message]
    unterminated: bool


def sent(text: str, chunk: int = WHOLE) -> Sent:
    """Return what dbinit would send for a script that comes in chunks of so many bytes."""
    messages: list[Message] = []
    try:
        for statement in Reader(script_of(text, chunk)):
            data = None if statement.data is None else b"".join(statement.data).decode()
            messages.append(Message(statement.text, data))
    except ScriptError as error:
        if "never closed" not in str(error):
            raise
        return Sent(messages, unterminated=True)
    return Sent(messages, unterminated=False)
