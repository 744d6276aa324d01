"""Names and values as SQL, which means the same whatever `standard_conforming_strings` is. Pure."""

import re

__all__ = ["quote_literal", "quote_name", "quote_value", "split_name"]

_PART = r'"(?:[^"]|"")+"|[^".]+'
_NAME = re.compile(rf"(?:({_PART})\.)?({_PART})")


def quote_name(name: str) -> str:
    """Return a name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return a text as a literal, with a blank before an E that keeps it apart from a letter."""
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def quote_value(value: str | float | None) -> str:
    """Return a text, a number or NULL."""
    if value is None:
        return "NULL"
    return quote_literal(value) if isinstance(value, str) else repr(value)


def split_name(text: str) -> tuple[str, str]:
    """Return the schema, or an empty text, and the name of a table; parts may stand in double quotes, as in SQL.

    What stands without quotes is taken as it is: capitals are not made small.

    Raises:
        ValueError: It is no such name.
    """
    if (match := _NAME.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is no name of a table")
    schema, name = (_plain(part or "") for part in match.groups())
    return schema, name


def _plain(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part
