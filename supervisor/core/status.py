"""Where a model is, in one word, and who keeps it there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from collectors.reading import Seconds

from .lease import Lease
from .policy import Policy
from .retention import THERE, idle_for, is_at_rest, waits
from .snapshot import ModelRef, Resident, Snapshot, State


class Status(Enum):
    ABSENT = "absent"  # no engine knows it
    LOCAL = "local"  # on disk, and not loaded
    LOADING = "loading"
    LOADED = "loaded"
    SLEEPING = "sleeping"
    LEAVING = "leaving"  # told to go, now or when its last user does
    UNKNOWN = "unknown"  # its engine does not answer


class Hold(Enum):
    """What keeps a model."""

    PIN = "pin"
    LEASE = "lease"
    WORK = "work"  # it is serving
    TIMER = "timer"  # it has not been idle for long enough
    FIRST = "first"  # it was loaded for somebody who has not come yet


@dataclass(frozen=True, slots=True)
class Keeper:
    """`client` of a lease; `ends` on the clock of Snapshot.taken_at, None: by no time; `count` of
    requests in flight, where that is known."""

    hold: Hold
    client: str = ""
    ends: Seconds | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """`contexts`: how many use it, leases and requests in flight."""

    status: Status
    keepers: tuple[Keeper, ...] = ()
    contexts: int = 0


_STATES = {
    State.LOADING: Status.LOADING,
    State.LOADED: Status.LOADED,
    State.SLEEPING: Status.SLEEPING,
    State.LEAVING: Status.LEAVING,
    State.UNKNOWN: Status.UNKNOWN,
}


class Standings:
    """Where everybody is. Made once a snapshot: there may be thousands of models."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        self._snapshot, self._policy = snapshot, policy
        self._residents = {r.ref: r for r in snapshot.residents}
        self._installed = {i.ref for i in snapshot.installed}
        self._wanted = {r.ref for r in snapshot.reservations}
        self._up = {e.id for e in snapshot.engines if e.up}
        self._leases: dict[ModelRef, list[Lease]] = {}
        for lease in snapshot.leases:
            self._leases.setdefault(lease.ref, []).append(lease)

    def of(self, ref: ModelRef) -> Standing:
        resident, status = self._residents.get(ref), self.status(ref)
        leases = self._leases.get(ref, [])
        if resident is None:
            return Standing(status, contexts=len(leases))
        working = resident.in_flight or int(resident.busy)
        keepers = tuple(self._keepers(resident, leases))
        return Standing(status, keepers, working + len(leases))

    def status(self, ref: ModelRef) -> Status:
        """The word alone, which takes a fraction of the time."""
        resident = self._residents.get(ref)
        if resident is None:
            return self._elsewhere(ref)
        if ref in self._snapshot.farewells and resident.state in (*THERE, State.LOADING):
            return Status.LEAVING
        return _STATES[resident.state]

    def _elsewhere(self, ref: ModelRef) -> Status:
        if ref in self._wanted:
            return Status.LOADING  # its load is under way, and its engine has not begun yet
        if ref not in self._installed:
            return Status.ABSENT
        return Status.LOCAL if ref.engine in self._up else Status.UNKNOWN

    def _keepers(self, resident: Resident, leases: list[Lease]) -> Iterator[Keeper]:
        ref, policy, now = resident.ref, self._policy, self._snapshot.taken_at
        pinned = policy.is_pinned(ref)
        if pinned:
            yield Keeper(Hold.PIN, ends=policy.pin_ends(ref))
        for lease in leases:
            yield Keeper(Hold.LEASE, lease.client, lease.expires_at)
        if resident.busy:
            yield Keeper(Hold.WORK, count=resident.in_flight or None)
        if pinned or leases or resident.busy or resident.state not in THERE:
            return
        if policy.goes_unused(ref):
            use = self._snapshot.uses.get(ref)
            if use is not None and (until := waits(use)) is not None:
                yield Keeper(Hold.FIRST, ends=until)
        elif (limit := policy.idle_timeout_of(ref)) and not is_at_rest(resident, policy):
            yield Keeper(Hold.TIMER, ends=Seconds(now + limit - idle_for(resident, self._snapshot)))


def standing(ref: ModelRef, snapshot: Snapshot, policy: Policy) -> Standing:
    return Standings(snapshot, policy).of(ref)
