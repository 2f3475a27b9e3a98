"""What a host says of itself, from the snapshot that it decides by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from collectors.reading import Bytes
from supervisor.core.headroom import rooms
from supervisor.core.policy import EVERY_ENGINE, Policy
from supervisor.core.snapshot import Installed, ModelRef, Resident, Snapshot
from supervisor.core.status import Standings, Status

from .checked import LONGEST
from .hosts import DRAINED, HostId, Housed, Part, Space, Word

Waiting = Mapping[ModelRef, int]  # requests that are held, by model


def speak(
    snapshot: Snapshot,
    policy: Policy,
    waiting: Waiting,
    *,
    host: HostId,
    epoch: str,
    version: str,
    wall: float,
    address: str | None,
    parts: tuple[Part, ...] = (),
) -> Word:
    """Its word, which nobody has counted yet. A model whose name no other host could be told of, as
    it is too long or no text, is not in it."""
    return Word(
        host,
        epoch,
        0,
        version,
        wall,
        address,
        tuple(Space(r.pool, r.total, _within(r.free, r.total), Bytes(r.headroom))
              for r in rooms(snapshot, policy)),
        tuple(_models(snapshot, policy, waiting)),
        rests(snapshot, policy),
        parts,
    )  # fmt: skip


def rests(snapshot: Snapshot, policy: Policy) -> str | None:
    """Why nothing is to be placed here now, not even what is ready. None: it takes part."""
    if policy.drain_of(EVERY_ENGINE) is not None:
        return DRAINED
    if not snapshot.pools:
        return "it has no pool that can be read"
    return None


def housed(
    snapshot: Snapshot, policy: Policy, standings: Standings, ref: ModelRef, waiting: int
) -> Housed:
    """One model of this host."""
    resident = snapshot.resident(ref)
    return _housed(ref, resident, snapshot.entry(ref), policy, standings, waiting)


def _models(snapshot: Snapshot, policy: Policy, waiting: Waiting) -> Iterator[Housed]:
    """By name. There may be thousands."""
    standings = Standings(snapshot, policy)
    residents = {r.ref: r for r in snapshot.residents}
    installed = {i.ref: i for i in snapshot.installed}
    for ref in sorted(residents.keys() | installed.keys()):
        if ref.model and ref.model.isprintable() and len(str(ref)) <= LONGEST:
            yield _housed(ref, residents.get(ref), installed.get(ref), policy, standings,
                          waiting.get(ref, 0))  # fmt: skip


def _housed(
    ref: ModelRef,
    resident: Resident | None,
    installed: Installed | None,
    policy: Policy,
    standings: Standings,
    waiting: int,
) -> Housed:
    status = standings.status(ref)
    ready = status is Status.LOADED and policy.drain_of(ref.engine) is None
    slots = None if installed is None else installed.setup.slots
    size = None if installed is None else installed.size
    if resident is None:
        return Housed(ref.model, ref.engine, status.value, ready, size, 0, waiting, slots)
    return Housed(
        ref.model,
        ref.engine,
        status.value,
        ready,
        resident.size or size,
        resident.in_flight or int(resident.busy),
        waiting,
        resident.slots or slots,
    )


def _within(free: Bytes, total: Bytes) -> Bytes:
    """A driver may say for a moment that more is free than there is."""
    return Bytes(max(0, min(free, total)))
