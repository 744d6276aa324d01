"""Blanks and comments, read as plainly as can be: nothing here is shared with what is tested."""

BLANKS = " \t\n\v\f\r"


def gap_end(text: str, start: int = 0) -> int:
    """Return where the blanks and comments end that stand at `start`; one that is not closed is none."""
    while start < len(text):
        if text[start] in BLANKS:
            start += 1
        elif text.startswith("--", start):
            start = min(_find(text, "\n", start), _find(text, "\r", start))
        elif text.startswith("/*", start) and (end := _comment_end(text, start)):
            start = end
        else:
            break
    return start


def void_end(text: str, start: int = 0) -> int:
    """Return where the blanks, comments and semicolons end that stand at `start`."""
    while text.startswith(";", position := gap_end(text, start)):
        start = position + 1
    return position


def is_void(text: str) -> bool:
    """Tell whether a text holds nothing that could be run."""
    return void_end(text) == len(text)


def _find(text: str, sign: str, start: int) -> int:
    found = text.find(sign, start)
    return len(text) if found < 0 else found


def _comment_end(text: str, start: int) -> int:
    depth = 0
    while start < len(text):
        sign = text[start : start + 2]
        depth += {"/*": 1, "*/": -1}.get(sign, 0)
        start += 2 if sign in ("/*", "*/") else 1
        if not depth:
            return start
    return 0
