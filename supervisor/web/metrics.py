"""The metrics as Prometheus reads them: in its own text format, and as OpenMetrics.

On the loop only what changes from turn to turn is taken down, which takes a millisecond or two. The
rest is worked out and written in a thread, which lets the loop have its turn after each family.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from supervisor.tally import Durations

from .facts import MOST_MODELS, facts, of_moment
from .labels import clean
from .names import NAMES, PREFIX, Name, markdown_table
from .site import Fact, Site

__all__ = ["NAMES", "OPENMETRICS", "PREFIX", "Page", "markdown_table"]

OPENMETRICS = "application/openmetrics-text"
TURN = 500  # facts that are sorted before the loop has its turn

_openmetrics: Callable[[Collector], bytes] = openmetrics.generate_latest


class Page(Collector):
    """What the metrics say at one moment."""

    def __init__(self, site: Site, most: int = MOST_MODELS) -> None:
        """`most` models keep their names."""
        self._facts, self._moment = facts(site)
        self._most = most

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics for whoever accepts it. May be called in
        another thread."""
        # A registry of its own: no process-wide one, and nothing that outlives this answer.
        registry = CollectorRegistry()
        registry.register(self)
        if OPENMETRICS in accept:
            return _openmetrics(registry), openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    def collect(self) -> Iterator[Metric]:
        rest = () if self._moment is None else of_moment(self._moment, self._most)
        return families(chain(self._facts, rest))


def families(found: Iterable[Fact]) -> Iterator[Metric]:
    """The facts in the order of NAMES; those without a fact are left out. Each family is written
    before the next is asked for, so that in between the loop can have its turn."""
    grouped: dict[str, list[Fact]] = {row.name: [] for row in NAMES}
    for i, fact in enumerate(found):
        grouped[fact[0]].append(fact)
        if not i % TURN:
            time.sleep(0)  # whoever waits for the interpreter need not wait for the whole page
    for row in NAMES:
        if grouped[row.name]:
            yield _family(row, grouped[row.name])
            time.sleep(0)


def _family(row: Name, found: Iterable[Fact]) -> Metric:
    name = PREFIX + row.name
    if row.type == "histogram":
        histogram = HistogramMetricFamily(name, row.help, labels=row.labels)
        for _, labels, value in found:
            assert isinstance(value, Durations)
            histogram.add_metric([clean(x) for x in labels], _buckets(value), value.total)
        return histogram
    if row.type == "info":
        info = InfoMetricFamily(name.removesuffix("_info"), row.help)
        for _, labels, _ in found:
            info.add_metric((), dict(zip(row.labels, map(clean, labels), strict=True)))
        return info
    kind = CounterMetricFamily if row.type == "counter" else GaugeMetricFamily
    family = kind(name, row.help, labels=row.labels)
    for _, labels, value in found:
        assert not isinstance(value, Durations)
        family.add_metric([clean(x) for x in labels], value)
    return family


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    bounds = [str(float(b)) for b in durations.bounds]
    return [*zip(bounds, durations.counts, strict=True), ("+Inf", durations.count)]
