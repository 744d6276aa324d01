"""Bad days, seeded and counted: what a start leaves behind when it is killed, cut off or raced by others."""
