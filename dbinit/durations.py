"""Durations as people write them in an environment: Go's `1m30s`, `500ms`, or plain seconds."""

import re
from datetime import timedelta

__all__ = ["format_duration", "parse_duration"]

# Go's time.ParseDuration, https://pkg.go.dev/time#ParseDuration
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# Kept as text, and compiled when there is a duration to be read: most starts go without.
_PART = r"(?a)(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_PLAIN = r"(?a)\d+(?:\.\d*)?|\.\d+"


def parse_duration(text: str) -> timedelta:
    """Read a duration of zero or more: `5s`, `500ms`, `1m30s`, `1.5h`, or plain seconds such as `5`.

    Raises:
        ValueError: The text is no such duration.
    """
    text = text.strip()
    if re.fullmatch(_PLAIN, text):
        seconds = float(text)
    else:
        parts = list(re.finditer(_PART, text))
        if not parts or "".join(part.group() for part in parts) != text:
            raise ValueError(f"{text!r} is not a duration; write it like 5s, 500ms, 1m30s, or 5 for seconds")
        seconds = sum(float(part[1]) * _UNITS[part[2]] for part in parts)
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{text!r} is too long a duration") from None


def format_duration(seconds: float) -> str:
    """Write `seconds` in the form that `parse_duration` reads, rounded for people: `340ms`, `1.5s`, `2m5s`."""
    if round(seconds, 3) < 1:
        return f"{round(seconds * 1000)}ms"
    if round(seconds, 1) < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if minutes else ""
    return text + (f"{rest}s" if rest else "")
