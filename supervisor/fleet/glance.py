"""A directory in short, host by host: what a page and metrics show of it."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.reading import RAM, Bytes, Seconds

from .hosts import Directory, Host, HostId, Presence, Space


@dataclass(frozen=True, slots=True)
class Glance:
    """One host. `age` of its word when the directory was told, in seconds. `total` and `headroom`
    are of its accelerators, of RAM where it has none: by its own word. `promised` is the ledger's.
    """

    host: HostId
    presence: Presence
    age: Seconds
    version: str
    total: Bytes
    headroom: int
    promised: Bytes
    ready: int  # models
    in_flight: int
    waiting: int
    address: str | None
    rests: str | None


def glances(directory: Directory) -> tuple[Glance, ...]:
    """By name."""
    promised: dict[HostId, int] = {}
    for promise in directory.promises:
        promised[promise.host] = promised.get(promise.host, 0) + promise.size
    hosts = sorted(directory.hosts.values(), key=lambda h: h.id)
    return tuple(_glance(h, directory.at, promised.get(h.id, 0)) for h in hosts)


def _glance(host: Host, at: Seconds, promised: int) -> Glance:
    word = host.word
    spaces = _mostly(word.spaces)
    return Glance(
        word.host,
        host.presence,
        Seconds(max(0.0, at - host.heard)),
        word.version,
        Bytes(sum(s.total for s in spaces)),
        sum(s.headroom for s in spaces),
        Bytes(promised),
        sum(m.ready for m in word.models),
        sum(m.in_flight for m in word.models),
        sum(m.waiting for m in word.models),
        word.address,
        word.rests,
    )


def _mostly(spaces: tuple[Space, ...]) -> tuple[Space, ...]:
    """Where models are: on accelerators, else in RAM."""
    return tuple(s for s in spaces if s.pool != RAM) or spaces
