"""The role that the work is done as, as SQL. Pure.

It is set for a transaction wherever there is one: behind a transaction pooler, a role of the session would reach
whoever is lent the server connection next.
"""

from .quoting import quote_name

__all__ = ["acting_as", "back_to"]


def acting_as(role: str) -> str:
    """Return what makes us `role` until the transaction ends; nothing where that is empty."""
    return f"SET LOCAL ROLE {quote_name(role)};\n" if role else ""


def back_to(role: str) -> str:
    """Return what makes us ourselves again, or `role`, whatever a script has made of us in this transaction."""
    return f"RESET SESSION AUTHORIZATION; RESET ROLE;\n{acting_as(role)}"
