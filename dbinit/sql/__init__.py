"""psql's language: reading it, placing an offset in it, and knowing facts about a statement."""
