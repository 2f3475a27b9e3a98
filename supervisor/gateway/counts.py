"""What the gateway has done, counted for metrics: plain numbers, put together when asked for.

Labels are bounded: models that are known keep their names, up to a limit; all others, and those
that are asked for and do not exist, are one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import accumulate

from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.tally import Durations

MOST_MODELS = 500  # that keep their names
OTHERS = "_other"
NOBODY = ModelRef(EngineId("_none"), ModelId(OTHERS))  # of requests that reached no model

# Upper bounds, in seconds. Answers of a small model begin in a millisecond, of a long prompt after
# minutes; whole answers and waits take up to as long as a client has patience.
FIRST_BYTE = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
DURATION = (0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
HOLD = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)

# Why a request is refused, as a metric and the state tell it; whatever else comes is "other".
WHYS = (
    "full", "waited", "no_room", "load_failed", "cooling_down", "stopping", "engine_down", "limit",
    "unknown_model", "wrong_api", "wrong_type", "bad_request", "too_large", "too_slow", "loop",
    "host", "origin", "token", "expired", "not_allowed", "unknown_engine", "which_engine", "paused",
    "drained", "host_lost", "overloaded", "fault", "other",
)  # fmt: skip
RESULTS = ("done", "failed")
DRAINS = ("done", "late")

Fact = tuple[str, tuple[str, ...], float | Durations]

_CODES = {int(status): str(int(status)) for status in HTTPStatus} | {499: "499", 529: "529"}


def code_of(status: int) -> str:
    """As a label. An engine may answer with any number: those that nobody knows are one of their
    kind."""
    return _CODES.get(status) or f"{status // 100}xx"


class Histogram:
    """Seconds by size: how many were at most each of `bounds`, and above the one before."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def durations(self) -> Durations:
        """As it stands now, each bound with all below it."""
        found = Durations(self.bounds)
        *found.counts, found.count = accumulate(self.counts)
        found.total = self.total
        return found


class OfModel:
    """Requests of one model, by API and status."""

    __slots__ = ("answers", "engine")

    def __init__(self, engine: OfEngine) -> None:
        self.engine = engine
        self.answers: dict[tuple[str, int], int] = {}


class OfEngine:
    __slots__ = ("duration", "first_byte", "held", "loads", "retries", "sent", "spoke")

    def __init__(self) -> None:
        self.first_byte = Histogram(FIRST_BYTE)
        self.spoke = Histogram(FIRST_BYTE)
        self.duration = Histogram(DURATION)
        self.held = Histogram(HOLD)
        self.loads: Counter[str] = Counter()
        self.retries = 0
        self.sent = 0


class Counts:
    """One for a gateway. Nothing here waits or raises; a request costs about a microsecond."""

    def __init__(self, most: int = MOST_MODELS) -> None:
        self._most = most
        self._models: dict[ModelRef, OfModel] = {}
        self._engines: dict[str, OfEngine] = {}
        self._names = 0
        self.refusals: Counter[str] = Counter()
        self.drains: Counter[str] = Counter()
        self.clients_gone = 0

    # -- what happens

    def answered(
        self,
        ref: ModelRef | None,
        api: str,
        status: int,
        first_byte: float | None,
        took: float,
        sent: int,
        spoke: float | None = None,
    ) -> None:
        """A request has ended. `ref` None: it reached no model. Seconds since the request was
        whole; `first_byte` None: there was none; `spoke` None: it was no stream, or said nothing.
        `sent` are the bytes of the answer's body."""
        mine = self._models.get(ref or NOBODY) or self._model(ref or NOBODY)
        key = (api, status)
        mine.answers[key] = mine.answers.get(key, 0) + 1
        if ref is None:
            return
        engine = mine.engine
        engine.duration.add(took)
        engine.sent += sent
        if first_byte is not None:
            engine.first_byte.add(first_byte)
        if spoke is not None:
            engine.spoke.add(spoke)

    def refused(self, why: str) -> None:
        self.refusals[why if why in WHYS else "other"] += 1

    def held(self, ref: ModelRef, seconds: float) -> None:
        """A request was held for so long: until it was let through, refused, or its client left."""
        self._engine(ref.engine).held.add(seconds)

    def loaded(self, ref: ModelRef, *, ok: bool) -> None:
        """A load that was made for who waits has come to its end."""
        self._engine(ref.engine).loads["done" if ok else "failed"] += 1

    def drained(self, *, in_time: bool) -> None:
        """A model at work was kept from new requests until it could leave, or the time was over."""
        self.drains["done" if in_time else "late"] += 1

    def retried(self, ref: ModelRef) -> None:
        """A request was sent once more, because its engine had not begun to answer."""
        self._engine(ref.engine).retries += 1

    def gone(self) -> None:
        """A client left before its answer was whole."""
        self.clients_gone += 1

    # -- what it comes to

    def facts(self, engines: Iterable[str] = ()) -> Iterator[Fact]:
        """As `web/facts.py` has them. `engines` are those there are, and are there as 0."""
        for ref, mine in sorted(self._models.items()):
            found: Counter[tuple[str, str]] = Counter()
            for (api, status), count in mine.answers.items():
                found[api, code_of(status)] += count
            for (api, code), count in sorted(found.items()):
                yield "requests_total", (ref.engine, ref.model, api, code), count
        for name in sorted({*engines, *self._engines}):
            engine = self._engines.get(name) or OfEngine()
            yield "request_first_byte_seconds", (name,), engine.first_byte.durations()
            yield "time_to_first_token_seconds", (name,), engine.spoke.durations()
            yield "request_duration_seconds", (name,), engine.duration.durations()
            yield "request_hold_seconds", (name,), engine.held.durations()
            yield "response_bytes_total", (name,), engine.sent
            yield "request_retries_total", (name,), engine.retries
            for result in RESULTS:
                yield "gateway_loads_total", (name, result), engine.loads[result]
        for why in WHYS:
            yield "request_refusals_total", (why,), self.refusals[why]
        for result in DRAINS:
            yield "gateway_drains_total", (result,), self.drains[result]
        yield "request_clients_gone_total", (), self.clients_gone

    def label(self, ref: ModelRef) -> ModelRef:
        """By what name a model is told of: its own, or that of all beyond the limit."""
        if ref in self._models or (ref.model and self._names < self._most):
            return ref
        return ModelRef(ref.engine, ModelId(OTHERS))

    def _engine(self, name: str) -> OfEngine:
        found = self._engines.get(name)
        if found is None:
            found = self._engines[name] = OfEngine()
        return found

    def _model(self, ref: ModelRef) -> OfModel:
        """That of a model which is asked for for the first time, or that of all further ones, and
        of requests whose model only their engine knows."""
        if ref.model != OTHERS:
            if self._names >= self._most or not ref.model:
                other = ModelRef(ref.engine, ModelId(OTHERS))
                return self._models.get(other) or self._model(other)
            self._names += 1
        engine = OfEngine() if ref == NOBODY else self._engine(ref.engine)
        mine = self._models[ref] = OfModel(engine)
        return mine
