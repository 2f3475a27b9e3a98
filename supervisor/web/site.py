"""What the web needs to know of the daemon, in one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from supervisor.alerting import Alerting
from supervisor.config.fleet import FleetConfig
from supervisor.core.snapshot import Snapshot
from supervisor.doctor import Advice
from supervisor.door import Door
from supervisor.feed import Feed
from supervisor.loop import Loop
from supervisor.neighbours import Neighbours
from supervisor.overrides import Overrides
from supervisor.reloading import Reloading
from supervisor.tally import Durations
from supervisor.timeline import Timeline
from supervisor.tls.certificates import Certificate

from .callers import Callers

Fact = tuple[str, tuple[str, ...], float | Durations]


class Gateway(Protocol):
    """What is shown of the gateway, which is a room of its own."""

    def state(self) -> dict[str, Any]:
        """Its part of the state, as JSON."""

    def facts(self, engines: Iterable[str]) -> Iterable[Fact]:
        """Its part of the metrics."""

    def advice(self, snapshot: Snapshot) -> Sequence[Advice]:
        """Its part of what the doctor says."""


@dataclass(frozen=True, slots=True)
class Site:
    """`started_at` is on the loop's monotonic clock, in seconds.

    `allowed_hosts` are names by which clients may call this machine, besides loopback's and
    `bound_host`. `callers` knows who may ask for what. `gateway` None: there is none.
    `certificates` are those of the listeners that speak TLS. `neighbours` None: there is no fleet.
    `aliases` are the gateway's.
    """

    door: Door
    version: str
    alerting: Alerting
    started_at: float = 0.0
    callers: Callers = field(default_factory=Callers)
    allowed_hosts: frozenset[str] = frozenset()
    bound_host: str = "127.0.0.1"
    overrides: Overrides | None = None
    reloading: Reloading | None = None
    gateway: Gateway | None = None
    feed: Feed = field(default_factory=Feed)
    timeline: Timeline = field(default_factory=Timeline)
    certificates: Sequence[Certificate] = ()
    fleet: FleetConfig = FleetConfig()
    neighbours: Neighbours | None = None
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def loop(self) -> Loop:
        return self.door.loop
