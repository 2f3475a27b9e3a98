"""Small traces, and the two that are shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from collectors.reading import Bytes, Seconds
from supervisor.core.snapshot import ModelId, ModelRef
from supervisor.replay.trace import TRACED, Model, Request, Trace

SHIPPED = Path(__file__).parents[2] / "benchmarks/traces"


def ref(name: str) -> ModelRef:
    return ModelRef(TRACED, ModelId(name))


def trace(
    models: Mapping[str, tuple[int, float]],
    requests: str | Sequence[tuple[float, str]],
    service: float = 0.0,
) -> Trace:
    """`models`: bytes and seconds to load; `requests`: "aba", a second apart, or each with its
    time."""
    asked = list(enumerate(requests)) if isinstance(requests, str) else requests
    return Trace(
        "small",
        [Request(float(at), ref(name), Seconds(service)) for at, name in asked],
        {ref(n): Model(Bytes(size), Seconds(load)) for n, (size, load) in models.items()},
    )
