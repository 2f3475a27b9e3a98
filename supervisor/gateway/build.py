"""Puts the gateway together. Touches nothing outside the process yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from supervisor.config.config import Config, EngineConfig
from supervisor.config.fleet import FleetConfig
from supervisor.config.gated import GatewayConfig
from supervisor.core.snapshot import ModelRef
from supervisor.core.types import ModelType
from supervisor.loop import Loop
from supervisor.telemetry.otlp import Sender, exporter
from supervisor.telemetry.tracing import Tracing
from supervisor.tls.authorities import trusting
from supervisor.tls.certificates import Certificate

from .admission import Admission
from .counts import Counts
from .fleet import Fleet
from .gate import Gate
from .guard import Guard
from .keys import Keys
from .limits import Limits
from .marks import Marks
from .names import Names
from .server import Gateway
from .sessions import Sessions
from .shown import Shown
from .tokens import Tokens
from .upstream import Links


def build(config: Config, loop: Loop) -> Gateway:
    """The gateway of a daemon. `loop` hears of requests from now on."""
    gateway = assemble(config.gateway, config.engines, loop, fleet=config.fleet)
    own = config.gateway
    gateway.certificate = Certificate.of("gateway", own.tls_cert, own.tls_key)
    telemetry = config.telemetry
    if telemetry.traces is not None:
        url = telemetry.traces
        gateway.sender = Sender(lambda: exporter(url), url)
        trace(gateway.gate, Tracing(gateway.sender.put, telemetry.sample))
    return gateway


def trace(gate: Gate, tracing: Tracing) -> None:
    """From now on its requests are traced."""
    gate.tracing = tracing
    gate.loop.journal.listeners.append(tracing.decisions.hear)


def assemble(
    own: GatewayConfig,
    engines: Iterable[EngineConfig],
    loop: Loop,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    fleet: FleetConfig | None = None,
) -> Gateway:
    limits = Limits(body=own.max_body, bodies=own.max_bodies, silence=own.engine_timeout)
    counts = Counts()

    def said(ref: ModelRef) -> ModelType | None:
        found: ModelType | None = loop.policy.said(ref, "type")
        return found

    fleet = fleet or FleetConfig()
    gate = Gate(
        config=own,
        loop=loop,
        guard=Guard(own),
        tokens=Tokens(own.admits, own.aliases, clock=clock, wall=wall),
        sessions=Sessions(clock),
        names=Names(loop.sampler.engines, own.aliases, said, lambda: loop.beginning.searching),
        admission=Admission(loop, own, counts),
        counts=counts,
        links=Links(limits, None if fleet.ca is None else trusting(fleet.ca)),
        keys=Keys(engines),
        marks=Marks(fleet.tokens, fleet.name),
        clock=clock,
        wall=wall,
    )
    if fleet.gateway:
        near = gate.admission.loaded, gate.links, gate.marks
        gate.fleet = Fleet(fleet, loop, *near, counts, clock=clock)
    return Gateway(gate, limits, fleet=fleet)


def shown(gateway: Gateway) -> Shown:
    """What the page, the command line and Prometheus are told of it."""
    gate = gateway.gate
    return Shown(
        gate.config, gate.counts, gate.tokens, gateway, gate.clock, gate.wall, gate.fleet,
        gateway.fleet.address,
    )  # fmt: skip
