"""Traces of requests, read from files. Every mistake is told with its file and line.

`NAME.csv` (or `.csv.gz`) has a line a request: arrival_s, model, service_s, in order of arrival.
What the models hold and take to load is in `NAME.models.csv` beside it (seed, model, size_bytes,
load_s; a seed is one way to hand sizes to models), or in columns of the trace itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from collectors.reading import Bytes, Seconds
from supervisor.core.snapshot import EngineId, ModelId, ModelRef

from .lines import Line, Lines, Mistakes, TraceError, number, size

__all__ = ["Model", "Recorded", "Request", "Trace", "TraceError", "capacity", "read"]

TRACED = EngineId("trace")  # the engine of models that come without one
WITHOUT_SEED = 0  # of sizes that stand in the trace itself
MOST_MODELS = 10_000
_ASKED = ("arrival_s", "model", "service_s")
_SIZED = ("size_bytes", "load_s")


class Request(NamedTuple):
    """`at`: seconds from the start of the trace; `service`: how long its model works on it."""

    at: float
    ref: ModelRef
    service: Seconds


class Model(NamedTuple):
    size: Bytes
    load: Seconds  # to load it again


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order, and every model that they ask for."""

    name: str
    requests: Sequence[Request]
    models: Mapping[ModelRef, Model]
    seed: int = WITHOUT_SEED


@dataclass(frozen=True, slots=True)
class Recorded:
    """What files hold: the requests, and by seed what the models are like."""

    name: str
    requests: Sequence[Request]
    assignments: Mapping[int, Mapping[ModelRef, Model]] = field(default_factory=dict)

    def trace(self, seed: int | None = None) -> Trace:
        """With the sizes of `seed`, by default of the first. Raises TraceError."""
        if seed is None:
            seed = min(self.assignments)
        if seed not in self.assignments:
            known = ", ".join(map(str, sorted(self.assignments)))
            raise TraceError([f"{self.name} has no sizes of seed {seed}; there are {known}"])
        return Trace(self.name, self.requests, self.assignments[seed], seed)


def capacity(models: Mapping[ModelRef, Model], ratio: float) -> Bytes:
    """What all models hold, divided by `ratio`; never less than what the largest does."""
    sizes = [m.size for m in models.values()]
    return Bytes(max(int(sum(sizes) / ratio), max(sizes, default=0)))


def read(path: Path) -> Recorded:
    """The trace in `path`, with all assignments there are. Raises TraceError."""
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    with Lines.of(path) as lines:
        columns = lines.header(_ASKED, _SIZED)
        found = _requests(lines, columns)
    beside = path.with_name(f"{name}.models.csv")
    if found.sized:
        assignments = {WITHOUT_SEED: found.sized}
    elif beside.exists():
        assignments = _assignments(beside)
    else:
        raise TraceError(
            [f"{path}:1: no sizes: neither columns {' and '.join(_SIZED)}, nor a file {beside}"]
        )
    _complete(path, beside, found, assignments)
    return Recorded(name, found.requests, assignments)


@dataclass(slots=True)
class _Found:
    requests: list[Request] = field(default_factory=list)
    first: dict[ModelRef, int] = field(default_factory=dict)  # the line that first asks for it
    sized: dict[ModelRef, Model] = field(default_factory=dict)


def _requests(lines: Lines, columns: Sequence[str]) -> _Found:
    found, mistakes = _Found(), Mistakes(lines.path)
    names: dict[str, ModelRef] = {}
    previous = 0.0
    for line in lines.rows(mistakes):
        at = number(line, "arrival_s", mistakes)
        service = number(line, "service_s", mistakes)
        model = line["model"]
        if at is not None and at < previous:
            mistakes.add(line, f"arrival_s goes back, to {at:g} after {previous:g}: sort by it")
        if at is None or service is None or at < previous:
            continue
        previous = at
        ref = names.get(model)
        if ref is None:
            ref = names[model] = ModelRef(TRACED, ModelId(model))
            found.first[ref] = line.number
            if len(names) > MOST_MODELS:
                raise TraceError([f"{line.where}: more than {MOST_MODELS:,} models"])
        if len(columns) > len(_ASKED):
            _size_once(line, ref, found, mistakes)
        found.requests.append(Request(at, ref, Seconds(service)))
    mistakes.told()
    if not found.requests:
        raise TraceError([f"{lines.path}:{lines.number}: there is no request in it"])
    return found


def _size_once(line: Line, ref: ModelRef, found: _Found, mistakes: Mistakes) -> None:
    """The sizes of a line; every line has to say the same of a model."""
    told = _model(line, mistakes)
    if told is None:
        return
    if found.sized.setdefault(ref, told) != told:
        where = found.first[ref]
        mistakes.add(line, f"{ref.model} has another size or load_s than in line {where}")


def _model(line: Line, mistakes: Mistakes) -> Model | None:
    held, load = size(line, "size_bytes", mistakes), number(line, "load_s", mistakes)
    return None if held is None or load is None else Model(Bytes(held), Seconds(load))


def _assignments(path: Path) -> dict[int, dict[ModelRef, Model]]:
    found: dict[int, dict[ModelRef, Model]] = {}
    mistakes = Mistakes(path)
    with Lines.of(path) as lines:
        lines.header(("seed", "model", *_SIZED), ())
        for line in lines.rows(mistakes):
            seed = number(line, "seed", mistakes)
            told = _model(line, mistakes)
            if seed is None or told is None:
                continue
            if seed != int(seed):
                mistakes.add(line, f"seed is a whole number, not {line['seed']}")
                continue
            models = found.setdefault(int(seed), {})
            ref = ModelRef(TRACED, ModelId(line["model"]))
            if ref in models:
                mistakes.add(line, f"{ref.model} is there twice for seed {int(seed)}")
            models[ref] = told
            if len(models) > MOST_MODELS:
                raise TraceError([f"{line.where}: more than {MOST_MODELS:,} models"])
        mistakes.told()
        if not found:
            raise TraceError([f"{path}:{lines.number}: there is no model in it"])
    return found


def _complete(
    path: Path, beside: Path, found: _Found, assignments: Mapping[int, Mapping[ModelRef, Model]]
) -> None:
    """Every model that is asked for has a size, in every assignment."""
    mistakes = Mistakes(path)
    for ref, at in found.first.items():
        lacks = [str(seed) for seed, models in assignments.items() if ref not in models]
        if lacks:
            seeds = f"seed {', '.join(lacks)} of {beside.name}"
            name = ref.model or "the model without a name"
            mistakes.at(at, f"{name} has no size: it is missing from {seeds}")
    mistakes.told()


def names(refs: Iterable[ModelRef]) -> dict[ModelRef, str]:
    """As people say them: without an engine where all are the trace's own."""
    return {r: r.model if r.engine == TRACED else str(r) for r in refs}
