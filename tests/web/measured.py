"""A daemon that has seen and done a little of everything, and what its metrics say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from collectors.reading import Seconds, gib
from supervisor.alerting import Alerting
from supervisor.config.alerted import ActionConfig, AlertsConfig, Kind
from supervisor.config.config import load as read
from supervisor.config.fleet import FleetConfig
from supervisor.core.plan import Evict, Load, Trigger, Why
from supervisor.core.policy import ModelPolicy, Watchdog
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import Installed, Reservation
from supervisor.core.verdict import Judgement, Verdict
from supervisor.core.watch import watch
from supervisor.fleet.glance import Glance
from supervisor.fleet.hosts import HostId, Presence
from supervisor.neighbours import Neighbours, Seen
from supervisor.overrides import Overrides
from supervisor.reloading import Reloading
from supervisor.tally import ERROR_BUCKETS, Durations
from supervisor.tls.certificates import Certificate, Files
from supervisor.tls.validity import Validity
from supervisor.web.metrics import Page
from supervisor.web.server import Site
from tests.builders import engine, ref, resident, share

from .fakes import EPOCH, GPU, NOW, World, gateway, site


class Held(Alerting):
    """Pins hold because an alert fires."""

    @property
    def holds(self) -> list[dict[str, Any]]:
        return [{"kind": "pin"}, {"kind": "pin"}]


def glance(name: str, presence: Presence = Presence.HERE, age: float = 0.5, **of: Any) -> Glance:
    told: dict[str, Any] = {
        "total": gib(24), "headroom": gib(8), "promised": gib(0), "ready": 1, "in_flight": 2,
        "waiting": 0, "address": f"http://{name}:8553", "rests": None,
    }  # fmt: skip
    return Glance(HostId(name), presence, Seconds(age), "1.2.3", **told | of)


def neighbours(*hosts: Glance, **of: Any) -> Neighbours:
    """What the agent said two seconds ago."""
    found = hosts or (
        glance("gpu1", promised=gib(3)),
        glance("gpu2", Presence.SILENT, 3.0, headroom=-gib(1)),
        glance("gpu3", Presence.DRAINED, rests="it is drained", address=None),
    )
    counts = {"ready": 7, "load": 2, "queued": 1}
    last = Seen(
        Seconds(NOW - 2), HostId("gpu1"), "ray", True, ("gpu2 is silent",), found, 1, counts
    )
    config = FleetConfig(name="gpu1", said=True)
    return Neighbours(config, lambda: NOW, replace(last, **of), None)


def seen(world: World) -> Site:
    """A site whose loop has seen `world`, and done a little."""
    of = site(world, gateway=gateway(), neighbours=neighbours())
    loop = of.loop
    config = read(None, {}, {}, kinds=frozenset(), places=[])
    overrides = Overrides(config, loop, loop.journal.shelves["overrides"])
    loop.policy = replace(
        loop.policy,
        watchdog=Watchdog(True, Seconds(90), True, Seconds(300)),
        models={"qwen3:8b": ModelPolicy(pinned=True)},
    )
    alerting = Held(AlertsConfig(actions=(ActionConfig("room", Kind.EVICT),)), of.door)
    alerting.counts.update({"done": 2, "duplicate": 1})
    alerting.actions["evict", "done"] = 2
    alerting.received_at = EPOCH - 30
    valid = Validity(EPOCH - 86400, EPOCH + 60 * 86400)
    served = Certificate("gateway", Files(Path("cert.pem"), Path("key.pem")), valid=valid)
    of = replace(of, reloading=Reloading(overrides, wall=lambda: EPOCH), alerting=alerting)
    of = replace(of, certificates=(served,))
    loop.reservations = (Reservation(ref("gemma3:4b"), (share(3, GPU),)),)
    loop.snapshot = world.snapshot(reservations=loop.reservations)
    loop.findings = watch(loop.snapshot, loop.policy)
    loop.witnesses.footprints.counted = {ref("qwen3:8b"): (share(7, GPU),)}
    errors = loop.witnesses.footprints.learned.errors
    errors[ref("x").engine] = Durations(ERROR_BUCKETS)
    errors[ref("x").engine].add(0.2)
    counts = loop.counts
    counts.samples, counts.failed_samples, counts.clock_steps, counts.lag = 42, 1, 2, 0.003
    counts.ticks.add(0.003)
    counts.decisions[Trigger.RELIEF.value] = 1
    loop.witnesses.departures.returns.counts["ollama"] = 1
    verdict = Judgement(Verdict.RECOVERED, gib(6), gib(6), True)
    evict = Evict(ref("old"), (share(6, GPU),), Why.MAKES_ROOM)
    counts.add(
        Trigger.RELIEF,
        Outcome("d-1", EPOCH, evict, Result.DONE, took=Seconds(0.7), judgement=verdict),
    )
    load = Load(ref("gemma3:4b"), (share(3, GPU),))
    counts.add(Trigger.DEMAND, Outcome("d-2", EPOCH, load, Result.DONE, took=Seconds(4.5)))
    return of


def crowd(models: int, engines: int, name: str = "family/model-{}:8b-q4") -> Site:
    """So many models, spread over so many engines, each asked for thrice."""
    world = World()
    world.engines = tuple(engine(f"e{i}") for i in range(engines))
    refs = [ref(name.format(i), f"e{i % engines}") for i in range(models)]
    world.hold(*(resident(r.model, 0.01, pool=GPU, engine=r.engine) for r in refs))
    world.installed = [Installed(r, gib(1)) for r in refs]
    of = seen(world)
    of.loop.witnesses.footprints.counted = {r: (share(0.02, GPU),) for r in refs}
    for r in refs:
        for status in (200, 499, 503):
            of.gateway.counts.answered(r, "openai", status, 0.2, 3.5, 100)  # type: ignore[union-attr]
    return of


def text(of: Site, most: int = 500) -> str:
    return Page(of, most).text()[0].decode()


def samples(of: Site, most: int = 500) -> dict[str, float]:
    """Every line: name and labels to number."""
    lines = (line for line in text(of, most).split("\n") if line and line[0] != "#")
    return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines)}
