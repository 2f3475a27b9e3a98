"""How long a model is to stay after a request, as Ollama's clients say it."""

from __future__ import annotations

import re
from math import inf, isnan
from typing import Any, Final

_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
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
        if not text or _PART.sub("", text):
            return None
        value = sign * sum(float(n) * _SECONDS[unit] for n, unit in _PART.findall(text))
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or isnan(value):
        return None
    return inf if value < 0 else float(value)
