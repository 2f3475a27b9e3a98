"""How long a model is to stay after a request, as Ollama's clients say it."""

from __future__ import annotations

import re
from math import inf, isnan
from typing import Any, Final

_LONGEST: Final = 64  # characters: nobody says a time with more
_PART: Final = re.compile(r"([0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


def seconds_of(value: Any) -> float | None:
    """Seconds, of a number or of Go's "1h30m"; infinite if it is negative. None where it says
    nothing, or nothing that Ollama understands: it will say so itself."""
    if isinstance(value, str):
        sign = -1.0 if value.startswith("-") else 1.0
        text = value[1:] if value[:1] in ("-", "+") else value
        if text == "0":
            return 0.0
        if not text or len(text) > _LONGEST or _PART.sub("", text):
            return None
        value = sign * sum(float(n) * _SECONDS[unit] for n, unit in _PART.findall(text))
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        seconds = float(value)
    except OverflowError:  # of whole numbers there are longer ones
        return inf
    return None if isnan(seconds) else inf if seconds < 0 else seconds
