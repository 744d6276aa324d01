"""Names and values as SQL, which means the same whatever `standard_conforming_strings` is. Pure."""

__all__ = ["quote_literal", "quote_name", "quote_value"]


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
