"""What the dashboard is made of: panels, and the queries that they show."""

from __future__ import annotations

from dataclasses import dataclass

HERE = 'instance=~"$instance"'
POOL = f'{HERE}, pool=~"$pool"'


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str
    dashed: bool = False  # a limit, rather than an amount
    table: bool = False  # now, and not over time


@dataclass(frozen=True, slots=True)
class Panel:
    """`steps` colour values from a bound up; `words` stand for values. `each_pool`: once a pool."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str
    type: str = "timeseries"
    width: int = 12
    stacked: bool = False
    each_pool: bool = False
    least: float | None = None
    most: float | None = None
    steps: tuple[tuple[float, str], ...] = ()
    words: tuple[tuple[int, str, str], ...] = ()


def per_device(metric: str) -> Query:
    """A device's metric with the device's name, which stands in its info only."""
    name = f"on (instance, uuid) group_left (name) ullage_device_info{{{POOL}}}"
    return Query(f"{metric}{{{POOL}}} * {name}", "{{name}} {{uuid}}")


def increase(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (increase({metric}{{{HERE}{more}}}[$__rate_interval]))"
