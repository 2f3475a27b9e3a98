"""How many models may be active at once: on the host, of an engine, of a type, in a pool, on the
NPU, and of a group of which only one may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from collectors.reading import PoolId

from .groups import Rule
from .policy import Policy
from .snapshot import Demand, EngineId, Installed, ModelRef, Resident, Snapshot, State
from .types import ModelType, guess

HOST = "host"
NPU = "npu"
SINGLE = "single"  # told as the host's
PASSIVE = (State.LEAVING, State.SLEEPING)


def type_of(snapshot: Snapshot, policy: Policy, ref: ModelRef) -> ModelType:
    """What `ref` is for: the operator's word, its engine's, or a guess."""
    return Traits(snapshot, policy).type_of(ref)


class Traits:
    """What counts against which limit, of models that are there or could be."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        self._policy = policy
        self._told: dict[ModelRef, Resident | Installed] = {i.ref: i for i in snapshot.installed}
        self._told |= {r.ref: r for r in snapshot.residents}
        self._kinds = {e.id: e.kind for e in snapshot.engines}
        self._says_type = policy.says("type")

    def type_of(self, ref: ModelRef) -> ModelType:
        said: ModelType | None = self._policy.said(ref, "type") if self._says_type else None
        if said is None and (told := self._told.get(ref)) is not None:
            said = told.type
        return said or guess(self._kinds.get(ref.engine, ""), ref.model)

    def on_npu(self, ref: ModelRef) -> bool:
        said: bool | None = self._policy.said(ref, "npu")
        if said is not None:
            return said
        told = self._told.get(ref)
        return told is not None and told.npu


class Slots:
    """Counts active models against the limits, while residents are tried as victims.

    Loads under way count: a resident that is loading, or a reservation of one that has not
    shown up yet. Models that are leaving do not. Those of an engine that does not answer count
    against a newcomer, but nobody else has to leave for them. In single-model mode pinned models
    do not count either, for they may stay beside the one; a newcomer does.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        policy: Policy,
        newcomer: Demand | None = None,
        *,
        tolerated: Collection[ModelRef] = (),
        exact: bool = False,
    ) -> None:
        """A limit that only those who are `tolerated` exceed is not exceeded. `exact`: it is
        counted also where no limit could be exceeded."""
        self._policy = policy
        self.units: Mapping[ModelRef, Sequence[Resident]] = {}  # who goes with whom
        self._most = _limits(snapshot, policy)
        self._count: Counter[str] = Counter()
        self._over: dict[str, int] = {}  # what is exceeded, and by how much
        self._full: tuple[str, ...] | None = None
        self._keys: dict[ModelRef, tuple[str, ...]] = {}
        if not self._most:
            return
        new = {d.ref: d for d in _all_of(newcomer) if d.ref is not None}
        count = len(snapshot.residents) + len(snapshot.reservations) + len(new)
        if count <= min(self._most.values()) and not exact:
            self._most = {}  # whoever they are, no limit is exceeded, and none will be
            return
        self._traits = Traits(snapshot, policy) if policy.types or NPU in self._most else None
        self._of_engine: dict[EngineId, tuple[str, ...]] = {}
        self._of_type = {type: f"type {type.value}" for type, n in policy.types.items() if n}
        self._of_pool = {pool: f"pool {pool}" for pool, own in policy.pools.items() if own.most}
        self._apart = [
            (f"group {name}", group)
            for name, group in policy.groups.items()
            if group.rule is Rule.NEVER_TOGETHER
        ]
        particular = policy.single or self._of_type or self._of_pool or self._apart
        self._alike = not particular and NPU not in self._most  # all models of an engine are
        passed_over = PASSIVE if new else (*PASSIVE, State.UNKNOWN)
        alike: dict[tuple[str, ...], int] = {}  # of a thousand models most count against the same
        for resident in snapshot.residents:
            if resident.ref not in new and resident.state not in passed_over:
                keys = self._keys_of(resident.ref, _pools(resident) if self._of_pool else ())
                self._keys[resident.ref] = keys
                alike[keys] = alike.get(keys, 0) + 1
        for keys, count in alike.items():
            self._add_to(keys, count)
        for reservation in snapshot.reservations:
            if reservation.ref is None:
                continue  # a foreign job's
            if reservation.ref not in self._keys and reservation.ref not in new:
                pools = (s.pool for s in reservation.shares)
                self._keys[reservation.ref] = self._keys_of(reservation.ref, pools)
                self._add(reservation.ref, 1)
        for ref, demand in new.items():
            keys = self._keys_of(ref, (s.pool for s in demand.shares), comes=True)
            self._keys[ref] = keys
            self._add(ref, 1)
        if self._over and tolerated:
            met = {k for ref, keys in self._keys.items() if ref not in tolerated for k in keys}
            for key in self._over.keys() - met:
                self._most[key] = self._count[key]
                del self._over[key]

    def leave(self, resident: Resident) -> None:
        self._count_unit(resident, -1)

    def stay(self, resident: Resident) -> None:
        self._count_unit(resident, 1)

    def _count_unit(self, resident: Resident, by: int) -> None:
        for each in self.units.get(resident.ref, (resident,)) if self._most else ():
            if each.state not in PASSIVE:
                self._add(each.ref, by)

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Of each limit how many it allows, and how many count against it; "single" is that of
        single-model mode."""
        return {key: (most, self._count[key]) for key, most in self._most.items()}

    def full(self) -> tuple[str, ...]:
        """The limits that are exceeded: "host", "engine NAME", "type NAME", "pool NAME", "npu" or
        "group NAME", once per model too many."""
        if not self._over:
            return ()
        if self._full is None:
            over = dict(self._over)
            host = max(over.pop(HOST, 0), over.pop(SINGLE, 0))
            told = [HOST] * host
            for key in sorted(over):
                told += [key] * over[key]
            self._full = tuple(told)
        return self._full

    def helps(self, resident: Resident) -> bool:
        """Would a limit be exceeded by less without it?"""
        if not self._over:
            return False
        unit = self.units.get(resident.ref, (resident,))
        refs = (r.ref for r in unit if r.state not in PASSIVE)
        return any(not self._over.keys().isdisjoint(self._keys.get(ref, ())) for ref in refs)

    def _add(self, ref: ModelRef, by: int) -> None:
        self._add_to(self._keys.get(ref, ()), by)

    def _add_to(self, keys: tuple[str, ...], by: int) -> None:
        for key in keys:
            self._count[key] += by
            over = self._count[key] - self._most[key]
            if over > 0:
                self._over[key] = over
                self._full = None
            elif key in self._over:
                del self._over[key]
                self._full = None

    def _keys_of(
        self, ref: ModelRef, pools: Iterable[PoolId], *, comes: bool = False
    ) -> tuple[str, ...]:
        """The limits that `ref` counts against, of those that there are."""
        engine = ref.engine
        common = self._of_engine.get(engine)
        if common is None:
            common = tuple(key for key in (HOST, f"engine {engine}") if key in self._most)
            self._of_engine[engine] = common
        return common if self._alike else (*common, *self._own_keys(ref, pools, comes))

    def _own_keys(self, ref: ModelRef, pools: Iterable[PoolId], comes: bool) -> list[str]:
        """Those that only some models of its engine count against."""
        policy = self._policy
        keys = []
        if policy.single and (comes or not policy.is_pinned(ref)):
            keys.append(SINGLE)
        if of_pool := self._of_pool:
            keys += [of_pool[pool] for pool in set(pools) if pool in of_pool]
        if self._of_type and (key := self._of_type.get(self._of().type_of(ref))):
            keys.append(key)
        if NPU in self._most and self._of().on_npu(ref):
            keys.append(NPU)
        keys += [key for key, group in self._apart if group.has(ref)]
        return keys

    def _of(self) -> Traits:
        assert self._traits is not None
        return self._traits


def _pools(resident: Resident) -> Iterable[PoolId]:
    """Where it holds bytes; some may be named twice."""
    pools = [s.pool for s in resident.shares]
    if resident.mapped:
        pools += [m.pool for m in resident.mapped]
    return pools


def _limits(snapshot: Snapshot, policy: Policy) -> dict[str, int]:
    """Every limit there is, as `Slots.full` tells it."""
    most = {
        HOST: policy.max_active,
        SINGLE: int(policy.single),
        NPU: policy.npu_most if policy.npu_most and _npu_is_used(snapshot, policy) else 0,
        **{f"engine {e}": own.max_active or 0 for e, own in policy.engines.items()},
        **{f"type {type.value}": n for type, n in policy.types.items()},
        **{f"pool {pool}": own.most for pool, own in policy.pools.items()},
        **{
            f"group {name}": 1
            for name, group in policy.groups.items()
            if group.rule is Rule.NEVER_TOGETHER
        },
    }
    return {key: n for key, n in most.items() if n}


def _npu_is_used(snapshot: Snapshot, policy: Policy) -> bool:
    """Does anybody say that anything runs on an NPU? Hardly any machine has one."""
    return policy.says("npu") or any(r.npu for r in snapshot.residents)


def _all_of(newcomer: Demand | None) -> tuple[Demand, ...]:
    return () if newcomer is None else (newcomer, *newcomer.beside)
