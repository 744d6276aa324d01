"""Histories of other tools: whose a table is, and what its rows say was applied of a folder. Pure."""

__all__: list[str] = []
