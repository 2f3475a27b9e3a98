"""What the gateway tells of itself: to the page, the command line, Prometheus and the doctor."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from supervisor.config.gated import GatewayConfig
from supervisor.core.snapshot import ModelRef, Snapshot
from supervisor.doctor import Advice

from . import advice
from .counts import Counts, Fact
from .fleet_counts import FleetCounts
from .tokens import Tokens

SIDES = ("clients", "engines", "idle")  # idle: to engines, kept open for the next request


class Live(Protocol):
    """What it is doing at this moment. `fault` is why it does not listen, where it does not."""

    @property
    def addresses(self) -> Sequence[str]: ...
    @property
    def fault(self) -> str | None: ...
    def in_flight(self) -> Mapping[ModelRef, int]:
        """Requests that engines work on."""

    def held(self) -> Iterable[tuple[ModelRef, int, float]]:
        """How many wait for each model, and for how many seconds the first of them has."""

    def connections(self) -> Mapping[str, int]:
        """How many are open on each of SIDES."""

    def traces(self) -> tuple[int, int] | None:
        """How many were sent, and lost. None: there are none."""


class Across(Protocol):
    """What it does across the fleet. `trouble` is why there is none now, where there should be."""

    @property
    def counts(self) -> FleetCounts: ...
    @property
    def trouble(self) -> str | None: ...


@dataclass(slots=True)
class Shown:
    """`clock` is that of the tokens."""

    config: GatewayConfig
    counts: Counts
    tokens: Tokens
    live: Live
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    fleet: Across | None = None
    address: str | None = None  # where other hosts are told to reach it

    def state(self) -> dict[str, Any]:
        """Its part of `GET /api/v1/state`. Seconds are rounded to milliseconds."""
        live = self.live
        held = sorted(live.held())
        fleet = self.fleet
        across = None
        if fleet is not None:
            across = {"in_flight": fleet.counts.under_way, "trouble": fleet.trouble}
        return {
            "fleet": across,
            "addresses": list(live.addresses),
            "fault": live.fault,
            "in_flight": [
                {"model": str(ref), "count": n} for ref, n in sorted(live.in_flight().items()) if n
            ],
            "held": [
                {"model": str(ref), "count": n, "longest": round(longest, 3)}
                for ref, n, longest in held
                if n
            ],
            "refused": {why: n for why, n in sorted(self.counts.refusals.items()) if n},
            "tokens": [
                {
                    "name": caller.name,
                    "in_flight": caller.in_flight,
                    "requests": caller.requests,
                    "idle": self._idle(caller.used_at),
                    "expires": None if caller.token is None else caller.token.expires,
                }
                for caller in self.tokens.callers
            ],
        }

    def facts(self, engines: Iterable[str]) -> Iterator[Fact]:
        """Its part of the metrics."""
        live = self.live
        yield "gateway_up", (), live.fault is None and bool(live.addresses)
        if self.fleet is not None:
            yield from self.fleet.counts.facts()
        yield from self.counts.facts(engines)
        for ref, n in self._labelled(live.in_flight().items()):
            yield "requests_in_flight", ref, n
        held = list(live.held())
        for ref, n in self._labelled((ref, n) for ref, n, _ in held):
            yield "requests_held", ref, n
        longest: dict[ModelRef, float] = {}
        for ref, _, seconds in held:
            label = self.counts.label(ref)
            longest[label] = max(longest.get(label, 0.0), seconds)
        for label, seconds in sorted(longest.items()):
            yield "requests_held_longest_seconds", label, round(seconds, 3)
        connections = live.connections()
        for side in SIDES:
            yield "gateway_connections", (side,), connections.get(side, 0)
        if (traces := live.traces()) is not None:
            yield "traces_sent_total", (), traces[0]
            yield "traces_lost_total", (), traces[1]
        for caller in self.tokens.callers:
            yield "caller_requests_total", (caller.name,), caller.requests
            yield "caller_requests_in_flight", (caller.name,), caller.in_flight

    def advice(self, snapshot: Snapshot) -> Sequence[Advice]:
        """What the doctor has to say of it."""
        known = tuple(c.token for c in self.tokens.callers if c.token is not None)
        config = replace(self.config, tokens=known, guests=())
        trouble = None if self.fleet is None else self.fleet.trouble
        fault, address = self.live.fault, self.address
        return advice.examine(config, snapshot, fault, self.wall(), trouble, address)

    def _idle(self, used_at: float | None) -> float | None:
        return None if used_at is None else round(max(0.0, self.clock() - used_at), 3)

    def _labelled(
        self, found: Iterable[tuple[ModelRef, int]]
    ) -> Iterator[tuple[tuple[str, str], int]]:
        """Summed up by label; what is not known any more is not there."""
        sums: Counter[ModelRef] = Counter()
        for ref, n in found:
            sums[self.counts.label(ref)] += n
        for ref, n in sorted(sums.items()):
            yield (ref.engine, ref.model), n
