"""An engine's own metrics, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from collectors.reading import Seconds

from .base import EngineConfused
from .wire import Wire


@dataclass(frozen=True, slots=True)
class Gauges:
    """Samples by their full name, as (labels, value), in the order of the text."""

    samples: Mapping[str, tuple[tuple[Mapping[str, str], float], ...]]

    def total(self, name: str, **labels: str) -> float | None:
        """The sum over all samples of `name` that have these labels. None: there is none."""
        found = [
            value
            for own, value in self.samples.get(name, ())
            if labels.items() <= own.items() and value == value  # not NaN
        ]
        return sum(found) if found else None


async def gauges(wire: Wire, path: str = "/metrics", within: Seconds | None = None) -> Gauges:
    """A monitoring call. Raises EngineError; text that is no metrics is EngineConfused."""
    text = await wire.text("GET", path, within=within, headers={"Accept": "text/plain"})
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, float(sample.value)))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as bad:
        raise EngineConfused(wire.engine, f"GET {path}", f"no metrics: {bad}") from bad
    return Gauges({name: tuple(found) for name, found in samples.items()})
