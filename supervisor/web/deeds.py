"""What the metrics say of what was done: decisions, unloads and loads, what came of them, and the
alerts that were received."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.alerting import Alerting
from supervisor.alerting.alert import Outcome
from supervisor.config.alerted import HELD
from supervisor.core.plan import DISMISSED, Trigger, Why
from supervisor.core.record import Result
from supervisor.core.verdict import Verdict
from supervisor.loop import Loop
from supervisor.tally import ERROR_BUCKETS, LOAD_BUCKETS, UNLOAD_BUCKETS, Durations

from .site import Fact

# Engines that are gone keep their counts, up to so many names: those of pods change each day.
MOST_ENGINES = 100

# An attribute of an enumeration takes long, and these are needed for each engine.
TRIGGERS = tuple(t.value for t in Trigger)
VERDICTS = tuple(v.name.lower() for v in Verdict)
OUTCOMES = tuple(o.value for o in Outcome)
RESULTS = tuple(r.value for r in Result)
# Why a model is made to go; all other reasons are why one stays.
REASONS = tuple(w.name.lower() for w in (Why.MAKES_ROOM, Why.ASKED, *DISMISSED.values()))


def deeds(loop: Loop, engines: set[str]) -> Iterator[Fact]:
    """`engines` are those there are; what may happen to them is there as 0."""
    counts = loop.counts
    errors = {str(e): found for e, found in loop.witnesses.footprints.learned.errors.items()}
    for trigger in TRIGGERS:
        yield "decisions_total", (trigger,), counts.decisions[trigger]
    for engine in _named(loop, engines):
        for trigger in TRIGGERS:
            for result in RESULTS:
                key = (engine, trigger, result)
                yield "evictions_total", key, counts.evictions[key]
            of = (engine, trigger)
            yield "eviction_promised_bytes_total", of, counts.promised[of]
            yield "eviction_reclaimed_bytes_total", of, counts.returned[of]
        for reason in REASONS:
            yield "eviction_reasons_total", (engine, reason), counts.reasons[engine, reason]
        for verdict in VERDICTS:
            yield "eviction_verdicts_total", (engine, verdict), counts.verdicts[engine, verdict]
        yield "departures_total", (engine,), loop.witnesses.departures.counts[engine]
        yield "reloads_soon_total", (engine,), loop.witnesses.departures.returns.counts[engine]
        for result in RESULTS:
            yield "model_loads_total", (engine, result), counts.loads[engine, result]
            yield "model_cancels_total", (engine, result), counts.cancels[engine, result]
        unloads = copied(counts.unload_seconds.get(engine), UNLOAD_BUCKETS)
        yield "eviction_duration_seconds", (engine,), unloads
        loads = copied(counts.load_seconds.get(engine), LOAD_BUCKETS)
        yield "model_load_duration_seconds", (engine,), loads
        yield "load_estimate_error_ratio", (engine,), copied(errors.get(engine), ERROR_BUCKETS)


def copied(found: Durations | None, bounds: tuple[float, ...]) -> Durations:
    """As it is at this moment, to be written in another thread."""
    copy = Durations(bounds)
    if found is not None:
        copy.counts, copy.count, copy.total = list(found.counts), found.count, found.total
    return copy


def _named(loop: Loop, engines: set[str]) -> list[str]:
    counts = loop.counts
    told = {e for e, _, _ in counts.evictions} | {e for e, _ in counts.loads}
    gone = sorted((told | set(loop.witnesses.departures.counts)) - engines)
    return sorted(engines | set(gone[: max(0, MOST_ENGINES - len(engines))]))


def alerts(alerting: Alerting) -> Iterator[Fact]:
    for outcome in OUTCOMES:
        yield "alerts_total", (outcome,), alerting.counts[outcome]
    kinds = {action.kind.value for action in alerting.config.actions}
    for kind in sorted(kinds | {kind for kind, _ in alerting.actions}):
        for outcome in OUTCOMES:
            yield "alert_actions_total", (kind, outcome), alerting.actions[kind, outcome]
    held = [hold["kind"] for hold in alerting.holds]
    for kind in sorted(k.value for k in HELD):
        yield "alert_holds", (kind,), held.count(kind)
    if alerting.received_at is not None:
        yield "alert_last_timestamp_seconds", (), alerting.received_at
