"""Puts the gateway together. Touches nothing outside the process yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from supervisor.certificates import Certificate
from supervisor.config.config import Config, EngineConfig
from supervisor.config.fleet import FleetConfig
from supervisor.config.gated import GatewayConfig
from supervisor.core.snapshot import ModelRef
from supervisor.core.types import ModelType
from supervisor.loop import Loop
from supervisor.telemetry.otlp import Sender, exporter
from supervisor.telemetry.tracing import Tracing

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

log = logging.getLogger("ullage.gateway")


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
        names=Names(loop.sampler.engines, own.aliases, said),
        admission=Admission(loop, own, counts),
        counts=counts,
        links=Links(limits),
        keys=Keys(engines),
        marks=Marks(fleet.token, fleet.name),
        clock=clock,
        wall=wall,
    )
    gate.unbelieved = fleet.gateway and fleet.token is None
    if gate.unbelieved:
        log.warning(
            "fleet.gateway is true, and without fleet.token_file no other host would believe this"
            " one: it serves alone what is asked here"
        )
    elif fleet.gateway:
        near = gate.admission.loaded, gate.links, gate.marks
        gate.fleet = Fleet(fleet, loop, *near, counts, clock=clock)
    return Gateway(gate, limits)


def shown(gateway: Gateway) -> Shown:
    """What the page, the command line and Prometheus are told of it."""
    gate = gateway.gate
    return Shown(
        gate.config, gate.counts, gate.tokens, gateway, gate.clock, gate.wall, gate.fleet,
        gate.unbelieved,
    )  # fmt: skip
