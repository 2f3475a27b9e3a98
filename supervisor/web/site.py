"""What the web needs to know of the daemon, in one value."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.door import Door
from supervisor.loop import Loop
from supervisor.overrides import Overrides


@dataclass(frozen=True, slots=True)
class Site:
    """`started_at` is on the loop's monotonic clock, in seconds.

    `allowed_hosts` are names by which clients may call this machine, besides loopback's and
    `bound_host`. `token` None: reading is free, changing is for this machine only.
    """

    door: Door
    version: str
    started_at: float = 0.0
    token: str | None = None
    allowed_hosts: frozenset[str] = frozenset()
    bound_host: str = "127.0.0.1"
    overrides: Overrides | None = None

    @property
    def loop(self) -> Loop:
        return self.door.loop
