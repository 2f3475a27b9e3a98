"""The world at one instant, as the deciding code sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, NewType

from collectors.reading import (
    NONE,
    Bytes,
    Device,
    Health,
    HostFacts,
    Incident,
    MemoryPool,
    PoolId,
    Seconds,
)

from .header import UNTOLD, Header, Setup
from .types import ModelType

if TYPE_CHECKING:
    from .lease import Lease, Use

ModelId = NewType("ModelId", str)
EngineId = NewType("EngineId", str)


class ModelRef(NamedTuple):
    """One model of one engine. Two engines may well have models of the same name."""

    engine: EngineId
    model: ModelId

    def __str__(self) -> str:
        return f"{self.engine}/{self.model}"


# In place of a pool of this machine: where models are whose engine is on another one, or behind a
# tunnel to one. It is in no snapshot: nothing is read of it, and nobody has to leave for its sake.
REMOTE = PoolId("remote")


def usable(
    pools: Collection[PoolId], tied: frozenset[PoolId], known: Collection[PoolId]
) -> set[PoolId]:
    """Those of `pools` that an engine may use which is `tied` to some, by the operator's word.
    Where none of those is `known` here, that says nothing."""
    return {p for p in pools if p in tied} if not tied.isdisjoint(known) else set(pools)


class Source(Enum):
    """Where a number of bytes comes from, best first."""

    MEASURED = "measured"  # read from the kernel or the driver, for the model's own process
    REPORTED = "reported"  # the engine's word
    LEARNED = "learned"  # what the same model held the last time
    DECLARED = "declared"  # the operator's word
    ESTIMATED = "estimated"  # worked out from its header, or from the size of its file


class State(Enum):
    LOADING = "loading"
    LOADED = "loaded"
    SLEEPING = "sleeping"
    LEAVING = "leaving"  # chosen to go; its bytes stay charged until they are measured as free
    UNKNOWN = "unknown"  # its engine does not answer: neither there nor gone


@dataclass(frozen=True, slots=True)
class Share:
    """A number of bytes in one pool, that no other model shares."""

    pool: PoolId
    size: Bytes
    source: Source = Source.MEASURED


@dataclass(frozen=True, slots=True)
class Mapped:
    """File pages of a pool that a model has mapped. Several models may map the same file."""

    file: str
    pool: PoolId
    size: Bytes


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that holds memory now.

    `in_flight` is None where nobody can tell; `busy` is the decided answer either way.
    `idle_for` is the time since it was last seen at work (0 while busy), `busy_for` the
    time since it was last seen at rest (0 while idle), `stalled_for` the part of that since
    anything of its work was seen to move. `context` is in tokens; `expires_at` is
    when its engine means to unload it by itself, in seconds since 1970, `keep_alive` after how
    long without work it does. `slots` are the requests that it can serve at once. `type` and `npu`
    are what its engine says it is for, and whether it runs on the NPU. `quiet_for`, of one whose
    requests nobody counts, is how long before the latest look a sign of its work was seen.
    """

    ref: ModelRef
    shares: tuple[Share, ...] = ()
    mapped: tuple[Mapped, ...] = ()
    state: State = State.LOADED
    busy: bool = False
    in_flight: int | None = None
    idle_for: Seconds = Seconds(0)
    busy_for: Seconds = Seconds(0)
    stalled_for: Seconds = Seconds(0)
    pids: tuple[int, ...] = ()
    context: int | None = None
    expires_at: float | None = None
    keep_alive: Seconds | None = None
    slots: int | None = None
    type: ModelType | None = None
    npu: bool = False
    quiet_for: Seconds | None = None

    @property
    def model(self) -> ModelId:
        return self.ref.model

    @property
    def engine(self) -> EngineId:
        return self.ref.engine

    def holds(self, pool: PoolId) -> Bytes:
        """Bytes of `pool` that this model uses, shared or not."""
        own = sum(s.size for s in self.shares if s.pool == pool)
        return Bytes(own + sum(m.size for m in self.mapped if m.pool == pool))

    @property
    def pools(self) -> frozenset[PoolId]:
        return frozenset(s.pool for s in self.shares) | frozenset(m.pool for m in self.mapped)

    @property
    def size(self) -> Bytes:
        return Bytes(sum(s.size for s in self.shares) + sum(m.size for m in self.mapped))


def is_sized(shares: Iterable[Share]) -> bool:
    """Does anybody know what a model of these shares takes? Else they say only where it will be."""
    return any(s.size for s in shares)


@dataclass(frozen=True, slots=True)
class Demand:
    """A wish that a model be resident, with what we expect it to take.

    Without a `ref` it is a foreign job's wish for bytes: room is made, nothing is loaded. `job` is
    the reservation that they are for, where there is one.
    `beside` are others that have to come with it, or it does not come either.
    """

    shares: tuple[Share, ...]
    ref: ModelRef | None = None
    job: str = ""
    beside: tuple[Demand, ...] = ()


@dataclass(frozen=True, slots=True)
class Reservation:
    """Bytes promised to a demand that was granted and has not yet shown up in the measurements.

    Without a `ref` it is a foreign job's, known as `job`; `pids` are its processes, as far as they
    were told.
    """

    ref: ModelRef | None
    shares: tuple[Share, ...]
    job: str = ""
    pids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Installed:
    """A model that an engine could load. `size` is that of its file, where the engine says.

    `trouble` is what went wrong with it last; `due`: it ended by itself, and its engine would
    have it loaded again now. `setup` is how its engine would load it, `header` what its file says.
    `anywhere`: its engine can be told which accelerators to load it on.
    """

    ref: ModelRef
    size: Bytes | None = None
    trouble: str | None = None
    due: bool = False
    setup: Setup = UNTOLD
    header: Header | None = None
    type: ModelType | None = None
    npu: bool = False
    anywhere: bool = False


class Ability(Enum):
    """What an engine can do, known before it is asked."""

    LIST = "list"
    LOAD = "load"
    UNLOAD = "unload"
    SLEEP = "sleep"  # gives its accelerator's memory back, keeps its weights in RAM, and wakes
    DEEP_SLEEP = "deep_sleep"  # gives its weights up too, and reads them again when it wakes
    WAKE = "wake"  # wakes a model that fell asleep by itself
    RESTART = "restart"  # starts itself anew when it is told to, without its models
    IN_FLIGHT = "in_flight"  # says how many requests a model is serving
    BYTES = "bytes"  # says what each model holds
    CANCEL = "cancel"  # ends the requests that a model works on, when it is told to


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine as it was last seen. `fault` says why it is not up; `degraded`: it does answer, but
    with what cannot be used; `refuses`: nobody listens at its address. `service`: the unit or
    container by which all of it can be stopped and started, where the operator named one."""

    id: EngineId
    kind: str
    url: str
    abilities: frozenset[Ability] = frozenset()
    version: str | None = None
    fault: str | None = None
    service: str | None = None
    degraded: bool = False
    refuses: bool = False

    @property
    def up(self) -> bool:
        return self.fault is None

    @property
    def serves(self) -> bool:
        """It answers, or could be started."""
        return self.up or self.service is not None


class Told(NamedTuple):
    """A resident as its engine alone tells of it, and how many of its requests came through us
    when that was asked."""

    resident: Resident
    ours: int


class Foreign(NamedTuple):
    """Bytes of a pool held by a process that is no model of ours. `engine`: whose process it is,
    where it is an engine's and holds none of its models alone. `shared`: the part of `size` that
    is shared memory, which others may have mapped too."""

    pool: PoolId
    pid: int
    name: str
    size: Bytes
    engine: EngineId | None = None
    shared: Bytes = NONE


@dataclass(frozen=True, slots=True)
class Listed:
    """What all processes that are listed hold of RAM, models' and others', in bytes."""

    private: Bytes = NONE  # anonymous, and nobody else's
    shared: Bytes = NONE  # shared memory, as often as it is mapped
    by_drivers: Bytes = NONE  # pages that drivers took for them, in no resident set


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision may depend on. If it is not here, it was not known.

    `taken_at` is when it was put together, `read_at` when the oldest of its `pools` was read: an
    engine that has to be waited for may lie between. None: at once.
    `pools` carry effective free bytes: what would be left without stealing pages from a
    loaded model; `mapped` is what was taken off for that, by pool. `blind` names the pools
    that could not be read this time, and why.
    `lingering` has the RAM of processes that held a model which their engine no longer lists.
    `residues` has what models were seen to keep while they slept, `since` when models were there
    at last, of those that were seen to come.
    `listed` sums up all processes, for what is in none of them. `newcomers` are loaded, and may not
    be among those that were listed last: of a GPU they may seem to hold nothing.
    `health` is by Device.uuid; `incidents` are the recent ones, the oldest first. `leases` are
    those that have not expired, `uses` what was seen of each resident's users, `farewells` who is
    to go when nobody uses it. `told` has those residents that are shown with the requests that
    pass through us.
    """

    taken_at: Seconds
    pools: tuple[MemoryPool, ...]
    residents: tuple[Resident, ...] = ()
    blind: Mapping[PoolId, str] = field(default_factory=dict)
    engines: tuple[EngineState, ...] = ()
    installed: tuple[Installed, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    devices: tuple[Device, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    listed: Listed = Listed()
    lingering: Mapping[ModelRef, Bytes] = field(default_factory=dict)
    mapped: Mapping[PoolId, Bytes] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    host: HostFacts | None = None
    incidents: tuple[Incident, ...] = ()
    residues: Mapping[ModelRef, tuple[Share, ...]] = field(default_factory=dict)
    since: Mapping[ModelRef, Seconds] = field(default_factory=dict)
    leases: tuple[Lease, ...] = ()
    uses: Mapping[ModelRef, Use] = field(default_factory=dict)
    farewells: frozenset[ModelRef] = frozenset()
    told: Mapping[ModelRef, Told] = field(default_factory=dict)
    newcomers: frozenset[ModelRef] = frozenset()
    read_at: Seconds | None = None

    def __post_init__(self) -> None:
        both = self.blind.keys() & {p.id for p in self.pools}
        if both:
            raise ValueError(f"read and unreadable at once: {sorted(both)}")

    @property
    def as_of(self) -> Seconds:
        """What it says of memory was so then, on the clock of `taken_at`."""
        return self.taken_at if self.read_at is None else self.read_at

    def pool(self, id: PoolId) -> MemoryPool | None:
        return next((p for p in self.pools if p.id == id), None)

    def free(self, id: PoolId) -> Bytes:
        found = self.pool(id)
        return NONE if found is None else found.free

    def resident(self, ref: ModelRef) -> Resident | None:
        return next((r for r in self.residents if r.ref == ref), None)

    def entry(self, ref: ModelRef) -> Installed | None:
        """What its engine lists of `ref`."""
        return next((i for i in self.installed if i.ref == ref), None)

    @property
    def known(self) -> frozenset[ModelRef]:
        """The models that are there, or that an engine lists."""
        return frozenset(r.ref for r in self.residents) | {i.ref for i in self.installed}

    def engine(self, id: EngineId) -> EngineState | None:
        return next((e for e in self.engines if e.id == id), None)

    def answers(self, id: EngineId) -> bool:
        """Is this engine known, and up?"""
        engine = self.engine(id)
        return engine is not None and engine.up

    def leases_on(self, ref: ModelRef) -> tuple[Lease, ...]:
        return tuple(lease for lease in self.leases if lease.ref == ref)

    def contexts(self, ref: ModelRef) -> int:
        """How many use `ref` now: its leases, and its requests in flight. One that is at work
        without its engine telling how many has one at least."""
        resident = self.resident(ref)
        working = 0 if resident is None else resident.in_flight or int(resident.busy)
        return working + len(self.leases_on(ref))
