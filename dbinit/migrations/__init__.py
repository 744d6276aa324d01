"""A folder of versioned migrations: its files, its order, and what is to be done about a database. Pure."""
