"""What dashboards are made of: boards, rows of panels, and the queries that those show."""

from __future__ import annotations

from dataclasses import dataclass

HERE = 'job=~"$job", instance=~"$instance"'
POOL = f'{HERE}, pool=~"$pool"'
ENGINE = f'{HERE}, engine=~"$engine"'
MODEL = f'{ENGINE}, model=~"$model"'

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"
BLUE, GREY = "blue", "#8e8e8e"
WIDTH = 24  # of Grafana's grid

Steps = tuple[tuple[float, str], ...]
Words = tuple[tuple[int, str, str], ...]


@dataclass(frozen=True, slots=True)
class Query:
    """`column`: the title of its values in a table, where it may have a unit, colours and words
    of its own; a table does not show the values of a query without one."""

    expr: str
    legend: str = ""
    dashed: bool = False  # a limit, rather than an amount
    colour: str = ""
    column: str = ""
    unit: str = "none"
    steps: Steps = ()
    words: Words = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """`steps` colour values from a bound up, and what is below the first is `lowest`; `words`
    stand for values. `labels` are the first columns of a table, label by title. `bars` for what
    happens now and then: each counts about a minute. `each_pool`: once a pool."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "none"
    type: str = "timeseries"
    width: int = 12
    height: int = 8
    stacked: bool = False
    bars: bool = False
    each_pool: bool = False
    least: float | None = None
    most: float | None = None
    lowest: str = GREEN
    steps: Steps = ()
    words: Words = ()
    labels: tuple[tuple[str, str], ...] = ()
    link: str = ""  # the first column of a table leads to the board of this uid


@dataclass(frozen=True, slots=True)
class Variable:
    """What is chosen at the top of a page. `all`: everything at once may be, and is at first."""

    name: str
    label: str
    query: str
    all: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A line through all panels, at every moment at which `expr` is 1."""

    name: str
    expr: str
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """`file` and the end of its uid are `name`."""

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    marks: tuple[Mark, ...]
    rows: tuple[Row, ...]


# -- variables and marks that several boards have

JOB = Variable("job", "Job", "label_values(ullage_build_info, job)")
INSTANCE = Variable(
    "instance", "Instance", 'label_values(ullage_build_info{job=~"$job"}, instance)'
)
ONE_INSTANCE = Variable(INSTANCE.name, INSTANCE.label, INSTANCE.query, all=False)
POOLS = Variable("pool", "Pool", f"label_values(ullage_memory_capacity_bytes{{{HERE}}}, pool)")
ENGINES = Variable("engine", "Engine", f"label_values(ullage_engine_up{{{HERE}}}, engine)")
MODELS = Variable("model", "Model", f"label_values(ullage_model_resident{{{ENGINE}}}, model)")

EVICTIONS = Mark(
    "Evictions",
    "sum by (instance, engine, trigger) "
    f'(changes(ullage_evictions_total{{{HERE}, result="done"}}[$__rate_interval])) > bool 0',
    ORANGE,
    "{{engine}} unloaded: {{trigger}}",
)
RESTARTS = Mark(
    "Starts of the daemon",
    f"resets(ullage_samples_total{{{HERE}}}[$__rate_interval]) > bool 0",
    BLUE,
    "the daemon of {{instance}} started",
)
FIRING = Mark(
    "Alerts",
    f'ALERTS{{{HERE}, alertname=~"Ullage.+", alertstate="firing"}}',
    RED,
    "{{alertname}}",
)
MARKS = (EVICTIONS, RESTARTS, FIRING)

STATES: Words = (
    (0, "not there", GREY),
    (1, "loading", YELLOW),
    (2, "loaded", GREEN),
    (3, "sleeping", BLUE),
    (4, "leaving", ORANGE),
    (5, "unknown", RED),
)
PRESSURE: Words = ((0, "none", GREEN), (1, "below the reserve", YELLOW), (2, "badly so", RED))
UP: Words = ((0, "down", RED), (1, "up", GREEN))
YES: Words = ((0, "no", GREEN), (1, "yes", YELLOW))


# -- queries that several panels have


def per_device(metric: str, more: str = "", legend: str = "{{name}} {{uuid}}") -> Query:
    """A device's metric with the device's name, which stands in its info only."""
    name = f"on (instance, uuid) group_left (name) ullage_device_info{{{POOL}}}"
    return Query(f"{metric}{{{POOL}{more}}} * {name}", legend)


def increase(metric: str, by: str, here: str = HERE, more: str = "") -> str:
    return f"sum by ({by}) (increase({metric}{{{here}{more}}}[$__rate_interval]))"


def rate(metric: str, by: str, here: str = HERE, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{here}{more}}}[$__rate_interval]))"


def over_all(metric: str, by: str, here: str = HERE, more: str = "") -> str:
    """How many there were in all the time that is shown."""
    return f"round(sum by ({by}) (increase({metric}{{{here}{more}}}[$__range])))"


def at_most(share: float, histogram: str, here: str, by: str = "le, engine") -> str:
    """What `share` of all that `histogram` counted took at most."""
    return f"histogram_quantile({share:g}, {rate(f'{histogram}_bucket', by, here)})"


def halves(histogram: str, here: str, word: str = "{{engine}}") -> tuple[Query, Query]:
    """The median and the 95th percentile by engine."""
    return (
        Query(at_most(0.5, histogram, here), f"half {word}"),
        Query(at_most(0.95, histogram, here), f"19 of 20 {word}", dashed=True),
    )
