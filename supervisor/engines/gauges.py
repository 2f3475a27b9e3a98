"""An engine's own metrics, in Prometheus' text format."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from collectors.reading import Seconds

from .base import EngineConfused
from .wire import Wire

MOST = 1000  # lines of one name: engines have one for each of their models, and a few labels


@dataclass(frozen=True, slots=True)
class Gauges:
    """The text as it came. Only the lines that are asked for are parsed: a thousand lines, as vLLM
    has, take tens of milliseconds."""

    engine: str
    call: str
    text: str
    lines: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", tuple(self.text.splitlines()))

    def total(self, name: str, **labels: str) -> float | None:
        """The sum over all samples of just this name that have these labels. None: there is none.

        Raises EngineConfused where such a line cannot be read.
        """
        lines = [
            line
            for line in self.lines
            if line.startswith(name) and line[len(name) : len(name) + 1] in ("{", " ", "\t")
        ]
        if len(lines) > MOST:
            why = f"{name}: more than {MOST} lines"
            raise EngineConfused(self.engine, self.call, why)
        values = []
        try:
            # Without its TYPE, a counter keeps the name that it was written with.
            for family in text_string_to_metric_families("\n".join(lines) + "\n"):
                for sample in family.samples:
                    value = float(sample.value)
                    if labels.items() <= sample.labels.items() and value == value:  # not NaN
                        values.append(value)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as bad:
            why = f"{name}: a line that is no metric: {bad}"
            raise EngineConfused(self.engine, self.call, why) from bad
        return sum(values) if values else None


async def gauges(wire: Wire, path: str = "/metrics", within: Seconds | None = None) -> Gauges:
    """A monitoring call. Raises EngineError."""
    text = await wire.text("GET", path, within=within, headers={"Accept": "text/plain"})
    return Gauges(wire.engine, f"GET {path}", text)
