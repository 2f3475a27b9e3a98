"""What the agent of this host knows of the fleet, asked now and then: for the page and metrics.

Nothing is decided by it. An agent that does not answer, or that says what cannot be read, costs
this daemon nothing but that it has nothing to show.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from collectors.reading import Seconds

from .config.fleet import FleetConfig
from .fleet.checked import Checked
from .fleet.glance import Glance, glances
from .fleet.hosts import HostId, Presence
from .fleet.words import read_directory
from .printable import printable

EVERY = Seconds(5.0)
PATIENCE = Seconds(2.0)
MOST = 32 * 1024**2  # bytes: a thousand hosts with a hundred models each are half of that
MOST_HOSTS = 64  # that keep their names in metrics; every daemon tells of all of them
SHOWN = 100  # on the page
OTHERS = "_other"
RESULTS = ("ready", "coming", "load", "alone", "queued", "unknown")

Fact = tuple[str, tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer of the agent's. `at` is when it came, on our monotonic clock. `placements`: how
    many there were since the agent's start, by what came of them."""

    at: Seconds
    own: HostId
    backend: str
    connected: bool
    trouble: tuple[str, ...]
    hosts: tuple[Glance, ...]
    promises: int
    placements: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Neighbours:
    """`fault` is why nothing is known now, where nothing is."""

    config: FleetConfig
    clock: Callable[[], float] = time.monotonic
    seen: Seen | None = None
    fault: str | None = "the agent has not been asked yet"

    async def look(self) -> None:
        """Ask once."""
        try:
            async with asyncio.timeout(PATIENCE):
                text = await _asked(str(self.config.socket))
            at = Seconds(self.clock())
            # A large fleet takes tens of milliseconds to be read: not on the loop.
            self.seen, self.fault = await asyncio.to_thread(read, text, at), None
        except (TimeoutError, httpx.TimeoutException):
            self._lost(f"no answer within {PATIENCE:g} s")
        except httpx.HTTPError as error:
            self._lost(str(error) or type(error).__name__)
        except ValueError as error:
            self._lost(f"its answer cannot be read: {error}")

    def _lost(self, why: str) -> None:
        self.seen, self.fault = None, f"the agent at {self.config.socket}: {why}"

    # -- what is made of it

    def state(self) -> dict[str, Any]:
        """Its part of the state. Ages in seconds, as they are now."""
        told: dict[str, Any] = {"host": self.config.name, "fault": self.fault}
        seen = self.seen
        if seen is None:
            empty = dict.fromkeys(("backend", "connected", "heard"))
            rest = {"trouble": [], "hosts": [], "left_out": 0, "promises": 0}
            return told | empty | rest
        since = self._since(seen)
        return told | {
            "backend": seen.backend,
            "connected": seen.connected,
            "heard": round(since, 3),
            "trouble": list(seen.trouble),
            "hosts": [_row(host, since) for host in seen.hosts[:SHOWN]],
            "left_out": max(0, len(seen.hosts) - SHOWN),
            "promises": seen.promises,
        }

    def facts(self) -> Iterator[Fact]:
        """Its part of the metrics."""
        seen = self.seen
        yield "fleet_agent_up", (), seen is not None
        if seen is None:
            return
        yield "fleet_connected", (), seen.connected
        yield "fleet_troubles", (), len(seen.trouble)
        counted = Counter(host.presence for host in seen.hosts)
        yield from (("fleet_hosts", (p.value,), counted[p]) for p in Presence)
        named, others = self._named(seen)
        since = self._since(seen)
        for host in named:
            yield "fleet_word_age_seconds", (host.host,), round(host.age + since, 3)
            yield "fleet_headroom_bytes", (host.host,), host.headroom
            yield "fleet_promised_bytes", (host.host,), host.promised
        if others:
            oldest = max(host.age for host in others)
            yield "fleet_word_age_seconds", (OTHERS,), round(oldest + since, 3)
            yield "fleet_headroom_bytes", (OTHERS,), sum(host.headroom for host in others)
            yield "fleet_promised_bytes", (OTHERS,), sum(host.promised for host in others)
        yield "fleet_promises", (), seen.promises
        for result in RESULTS:
            yield "fleet_placements_total", (result,), seen.placements.get(result, 0)

    def _named(self, seen: Seen) -> tuple[list[Glance], list[Glance]]:
        """Those that keep their names, this host among them, and the others."""
        first = sorted(seen.hosts, key=lambda h: (h.host != seen.own, h.host))
        return sorted(first[:MOST_HOSTS], key=lambda h: h.host), first[MOST_HOSTS:]

    def _since(self, seen: Seen) -> float:
        return max(0.0, self.clock() - seen.at)


async def _asked(path: str) -> bytes:
    """Raises httpx.HTTPError, ValueError."""
    transport = httpx.AsyncHTTPTransport(uds=path)
    async with (
        httpx.AsyncClient(transport=transport, timeout=PATIENCE, trust_env=False) as client,
        client.stream("GET", "http://agent/fleet") as answer,
    ):
        found = b""
        async for part in answer.aiter_bytes():
            found += part
            if len(found) > MOST:
                raise ValueError(f"it is longer than {MOST >> 20} MiB")
        if answer.status_code != 200:
            raise ValueError(f"it answered {answer.status_code}")
        return found


def read(text: bytes, at: Seconds) -> Seen:
    """What the agent answered. Raises ValueError."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    row = Checked(document, "the fleet")
    directory = read_directory(row.value("directory"))
    counts = document.get("placements")
    return Seen(
        at,
        HostId(row.text("self")),
        row.text("backend"),
        row.flag("connected"),
        tuple(printable(line) for line in row.texts("trouble")),
        glances(directory),
        len({promise.id for promise in directory.promises}),
        {k: n for k, n in counts.items() if isinstance(n, int)} if isinstance(counts, dict) else {},
    )


def _row(host: Glance, since: float) -> dict[str, Any]:
    return {
        "host": host.host,
        "presence": host.presence.value,
        "age": round(host.age + since, 3),
        "version": host.version,
        "total": host.total,
        "headroom": host.headroom,
        "promised": host.promised,
        "ready": host.ready,
        "in_flight": host.in_flight,
        "waiting": host.waiting,
        "address": host.address,
        "rests": host.rests,
    }
