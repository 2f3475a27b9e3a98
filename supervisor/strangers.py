"""Those who are no models: who took memory, what their rule says, and who comes back after them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.reading import Bytes, PoolId, Seconds

from .core.experience import Experience
from .core.explain import size
from .core.foreign import (
    LET_BE,
    LOOK_BACK,
    NOBODY,
    Culprit,
    Taken,
    culprits,
    forgiven,
    named,
    taken,
)
from .core.foreign_rule import ForeignRule
from .core.plan import Evict, Load, Plan, Trigger
from .core.policy import Policy
from .core.record import Outcome, Result
from .core.snapshot import Ability, EngineId, ModelId, ModelRef, Snapshot, State
from .core.watch import Finding, Kind, Severity
from .events import Expect
from .journal.journal import Journal
from .keeping.deadlines import boot
from .proposals import Sight, Wish
from .standing import loading

log = logging.getLogger("ullage.strangers")

# How often it is noted what strangers hold of a pool that is not short.
NOTED = Seconds(5.0)
# Lists of processes are late: for so long after a pool was short it is asked who it was.
LISTED = Seconds(15.0)
# Whoever left comes back once the stranger is gone, and there has been room, for this long: games
# and jobs end in order to start again.
SETTLED = Seconds(30.0)
# Who has found no room by then, after the stranger has gone, is not brought back any more; nor is
# who has been away for a day.
WITHIN = Seconds(900.0)
LONGEST = 86400.0
# Of whom is asked first: how likely they are asked for within this.
AHEAD = Seconds(3600.0)

SHELF = "away"
BEFORE = "before strangers"  # what there was of each pool that is short

_WORDS = {
    ForeignRule.YIELD: "models leave for it",
    ForeignRule.REFUSE: "nobody is loaded here until it has ended",
    ForeignRule.ALERT: "nothing is done about it",
}


@dataclass(frozen=True, slots=True)
class Away:
    """A model that left for strangers. `at` is Unix time, `idle` how long it had been at rest."""

    ref: ModelRef
    pool: PoolId
    at: float
    idle: Seconds
    held: Bytes
    who: tuple[Culprit, ...]


@dataclass(slots=True)
class Strangers:
    """`wall` gives Unix time in seconds. `barred`: pools into which nobody is loaded, and why."""

    journal: Journal
    wall: Callable[[], float]
    expect: Expect  # what loading one of those who left will take
    barred: Mapping[PoolId, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    _seen: dict[PoolId, deque[Taken]] = field(default_factory=dict)
    _before: dict[PoolId, Taken | None] = field(default_factory=dict)  # of pools that are short
    _short_at: dict[PoolId, Seconds] = field(default_factory=dict)  # the last time
    _guilty: dict[PoolId, dict[int, Culprit]] = field(default_factory=dict)
    _away: dict[ModelRef, Away] = field(default_factory=dict)
    _gone_at: dict[PoolId, Seconds] = field(default_factory=dict)  # who models had left for
    _fits_since: dict[ModelRef, Seconds] = field(default_factory=dict)
    _idle: dict[ModelRef, Seconds] = field(default_factory=dict)
    _pinned: frozenset[str] | None = None

    def _begin(self) -> None:
        """Read back who was away when the daemon ended."""
        for key, row in self.journal.shelves[SHELF].all().items():
            try:
                away = _away_of(row)
            except (KeyError, TypeError, ValueError):
                self.journal.shelves[SHELF].drop(key)
                continue
            self._away[away.ref] = away
            self._guilty.setdefault(away.pool, {}).update({c.pid: c for c in away.who})
        before = self.journal.shelves[BEFORE]
        for key, row in before.all().items():
            try:
                self._before[PoolId(key)] = _taken_of(row)
            except (KeyError, TypeError, ValueError):
                before.drop(key)

    def see(
        self,
        snapshot: Snapshot,
        policy: Policy,
        short: Collection[PoolId],
        *,
        all_known: bool = True,
    ) -> None:
        """Note what strangers hold, and who of them is to blame for those pools that are short.

        Without `all_known` there may be engines that nobody has found yet, and what their models
        hold looks like strangers': nobody is noted or blamed.
        """
        if self._pinned is None:
            self._begin()
        last = max((t[-1].at for t in self._seen.values() if t), default=None)
        noted = last is not None and snapshot.taken_at - last < NOTED
        if all_known and (short or self._guilty or not noted):
            for pool, now in taken(snapshot).items():
                self._look(pool, now, policy, pool in short)
        there = {r.ref: r for r in snapshot.residents}
        self._idle = {ref: r.idle_for for ref, r in there.items()} | {
            ref: idle for ref, idle in self._idle.items() if ref not in there and ref in self._away
        }
        self._forget(snapshot, policy)
        self._say(snapshot, policy, short)

    def forgive(self, snapshot: Snapshot, policy: Policy) -> Snapshot:
        """The snapshot without what is taken by those for whom nobody leaves."""
        rules = {policy.foreign_of(pool) for pool in self._before}
        if not self._before or LET_BE.isdisjoint(rules | {s.rule for s in policy.strangers}):
            return snapshot
        now = taken(snapshot)
        return forgiven(
            snapshot,
            {
                pool: culprits(pool, now[pool], before, policy)
                for pool, before in self._before.items()
                if pool in now
            },
        )

    def cause(self, pools: Iterable[PoolId]) -> str:
        """Who took it, as the end of a sentence; empty: nobody who is known."""
        found = [c for p in sorted(pools) for c in self._guilty.get(p, {}).values()]
        found = [c for c in found if c.rule is ForeignRule.YIELD]
        return "".join(f"; {_took(c)}" for c in found)

    def why(self, ref: ModelRef) -> str | None:
        """In words, of a model that is away for strangers."""
        away = self._away.get(ref)
        if away is None:
            return None
        names = " and ".join(dict.fromkeys(c.name for c in away.who))
        return f"it left for {names}, and is loaded again when that has ended and there is room"

    # -- what happens

    def tell(self, outcome: Outcome, trigger: Trigger) -> None:
        """What we did ourselves: whom we made leave, and who is back."""
        action = outcome.action
        if isinstance(action, Load):
            if action.ref in self._away and outcome.result is not Result.SKIPPED:
                self._drop(action.ref)  # there, or not to be had: it is not tried again
        elif isinstance(action, Evict) and outcome.result is Result.DONE:
            if trigger is Trigger.RELIEF:
                self._left(action)
            elif trigger is Trigger.OPERATOR:
                pools = {share.pool for share in action.frees}
                self._give_up((a for a in self._away.values() if a.pool in pools), "unloaded")

    def _left(self, action: Evict) -> None:
        for share in action.frees:
            guilty = self._guilty.get(share.pool, {}).values()
            who = tuple(c for c in guilty if c.rule is ForeignRule.YIELD)
            if who:
                idle = self._idle.get(action.ref, Seconds(0))
                self._keep(Away(action.ref, share.pool, self.wall(), idle, share.size, who))
                return

    def _keep(self, away: Away) -> None:
        self._away[away.ref] = away
        self.journal.shelves[SHELF].keep(str(away.ref), _row(away))

    def _look(self, pool: PoolId, now: Taken, policy: Policy, short: bool) -> None:
        guilty = self._guilty.setdefault(pool, {})
        seen = self._seen.setdefault(pool, deque())
        if short:
            self._short_at[pool] = now.at
            if pool not in self._before:
                self._before[pool] = before = seen[0] if seen else None
                if before is not None:  # another daemon is to blame nobody else
                    self.journal.shelves[BEFORE].keep(pool, _taken_row(before))
        elif (
            now.at - self._short_at.get(pool, Seconds(-LISTED)) > LISTED
            and self._before.pop(pool, None) is not None
        ):
            self.journal.shelves[BEFORE].drop(pool)
        if pool in self._before and (short or NOBODY in guilty):
            self._blame(pool, now, policy)
        if not short:
            if not seen or now.at - seen[-1].at >= NOTED:
                seen.append(now)
            while now.at - seen[0].at > LOOK_BACK:
                seen.popleft()
        for pid in [pid for pid, c in guilty.items() if not c.is_there(now)]:
            del guilty[pid]
        if not guilty:
            del self._guilty[pool]
        if any(c.rule is ForeignRule.YIELD for c in guilty.values()):
            self._gone_at.pop(pool, None)
        else:
            self._gone_at.setdefault(pool, now.at)

    def _blame(self, pool: PoolId, now: Taken, policy: Policy) -> None:
        guilty = self._guilty[pool]
        found = {c.pid: c for c in culprits(pool, now, self._before[pool], policy)}
        guilty |= {pid: _merged(guilty.get(pid), c) for pid, c in found.items()}
        if NOBODY not in found and guilty.pop(NOBODY, None) is not None:
            # Whoever that was is listed by now: also of those who have left for it.
            who = tuple(c for c in found.values() if c.rule is ForeignRule.YIELD)
            for away in list(self._away.values()):
                if away.pool == pool and who and any(c.pid == NOBODY for c in away.who):
                    self._keep(replace(away, who=who))

    def _forget(self, snapshot: Snapshot, policy: Policy) -> None:
        """Those who are not to come back any more."""
        known = {i.ref for i in snapshot.installed}
        up = {e.id: e for e in snapshot.engines if e.up}
        for away in list(self._away.values()):
            there = snapshot.resident(away.ref)
            back = there is not None and there.state in (State.LOADED, State.LOADING)
            engine = up.get(away.ref.engine)
            can = engine is not None and away.ref in known and Ability.LOAD in engine.abilities
            lost = there is None and engine is not None and not can
            gone_at = self._gone_at.get(away.pool, snapshot.taken_at)
            late = snapshot.taken_at - gone_at > WITHIN or self.wall() - away.at > LONGEST
            idle = policy.idle_timeout_of(away.ref)
            unwanted = idle is not None and self.wall() - away.at + away.idle >= idle
            if back or lost or late or unwanted:
                self._drop(away.ref)
        before, self._pinned = self._pinned, policy.pinned
        if before is not None and (pinned := policy.pinned - before):
            others = (a for a in self._away.values() if str(a.ref) not in pinned)
            self._give_up(list(others), "pinned")

    def _give_up(self, whom: Iterable[Away], did: str) -> None:
        """An operator has decided anew who is to have the memory."""
        for away in list(whom):
            log.info("%s is not brought back: others were %s meanwhile", away.ref, did)
            self._drop(away.ref)

    def _drop(self, ref: ModelRef) -> None:
        self._away.pop(ref, None)
        self._fits_since.pop(ref, None)
        self.journal.shelves[SHELF].drop(str(ref))

    # -- what follows

    def _say(self, snapshot: Snapshot, policy: Policy, short: Collection[PoolId]) -> None:
        found: dict[PoolId, dict[int, Culprit]] = {}
        for pool, guilty in self._guilty.items():
            waits = pool in short or any(a.pool == pool for a in self._away.values())
            for one in guilty.values():
                if one.rule is ForeignRule.REFUSE or (one.rule in _WORDS and waits):
                    found.setdefault(pool, {})[one.pid] = one
        for pool, ones in named(snapshot, policy).items():
            for one in ones:
                found.setdefault(pool, {}).setdefault(one.pid, one)
        self.barred = {
            pool: _told(refusing)
            for pool, ones in found.items()
            if (refusing := [c for c in ones.values() if c.rule is ForeignRule.REFUSE])
        }
        since = {f.subject: f.since for f in self.findings}
        self.findings = tuple(
            Finding(
                Kind.FOREIGN,
                pool,
                since.get(pool, snapshot.taken_at),
                Severity.INFO
                if all(c.rule is ForeignRule.YIELD for c in ones.values())
                else Severity.WARNING,
                _told(ones.values()) + self._comes_back(pool),
                sum(c.grown for c in ones.values()),
            )
            for pool, ones in sorted(found.items())
        )

    def _comes_back(self, pool: PoolId) -> str:
        names = sorted(str(a.ref) for a in self._away.values() if a.pool == pool)
        return f"; {', '.join(names)} comes back after it" if names else ""

    def __call__(self, sight: Sight) -> Iterator[Wish]:
        """Whoever is away, and for whom there is room now without anybody else's leaving."""
        now = sight.snapshot.taken_at
        history = sight.experience.history

        def worth(away: Away) -> float:
            idle = away.idle + max(0.0, self.wall() - away.at)
            chance = history.chance(away.ref, history.time(now), AHEAD, idle)
            return chance * history.reload(away.ref, away.held)

        ready: set[PoolId] = set()
        for away in sorted(self._away.values(), key=lambda a: (-worth(a), a.idle, a.ref)):
            gone_at = self._gone_at.get(away.pool)
            replan = _if_there_is_room(away.ref, self.expect)
            made = replan(sight.snapshot, sight.policy, sight.experience)
            fits = gone_at is not None and bool(made.actions)
            if not fits:
                self._fits_since.pop(away.ref, None)
                continue
            assert gone_at is not None
            since = max(gone_at, self._fits_since.setdefault(away.ref, now))
            if now - since >= SETTLED and away.pool not in ready:
                ready.add(away.pool)  # one at a time: the next is asked with what it leaves
                names = " and ".join(dict.fromkeys(c.name for c in away.who))
                cause = f"{away.ref} had left for {names}, which has ended"
                yield Wish(f"return {away.ref}", cause, replan)


def _if_there_is_room(ref: ModelRef, expect: Expect) -> Any:
    load = loading(ref, expect)

    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        made = load(snapshot, policy, experience)
        return made if made.works and not made.evictions else Plan(Trigger.DEMAND)

    return replan


def _merged(old: Culprit | None, new: Culprit) -> Culprit:
    """The same stranger, with what it had before it ever took too much."""
    if old is None or old.name != new.name or old.base >= new.base:
        return new
    return replace(new, base=old.base, grown=Bytes(new.base + new.grown - old.base))


def _took(culprit: Culprit) -> str:
    return f"{culprit.name} took {size(culprit.grown)}"


def _told(ones: Iterable[Culprit]) -> str:
    return "; ".join(f"{_took(c)}: {_WORDS[c.rule]}" for c in ones)


def _row(away: Away) -> dict[str, Any]:
    return {
        "engine": away.ref.engine,
        "model": away.ref.model,
        "pool": away.pool,
        "at": away.at,
        "idle": away.idle,
        "held": away.held,
        "who": [[c.pid, c.name, c.rule.value, c.base, c.grown] for c in away.who],
    }


def _taken_row(taken: Taken) -> dict[str, Any]:
    by_pid = {str(pid): [name, held] for pid, (name, held) in taken.by_pid.items()}
    return {"boot": boot(), "total": taken.total, "by_pid": by_pid}


def _taken_of(row: Mapping[str, Any]) -> Taken:
    """Raises KeyError, TypeError or ValueError, also of another run of the machine: its processes
    are others."""
    if row["boot"] != boot():
        raise ValueError("of before the machine was started")
    by_pid = {int(p): (str(n), Bytes(int(held))) for p, (n, held) in row["by_pid"].items()}
    return Taken(Seconds(0.0), Bytes(int(row["total"])), by_pid)


def _away_of(row: Mapping[str, Any]) -> Away:
    return Away(
        ModelRef(EngineId(str(row["engine"])), ModelId(str(row["model"]))),
        PoolId(str(row["pool"])),
        float(row["at"]),
        Seconds(float(row["idle"])),
        Bytes(int(row["held"])),
        tuple(
            Culprit(int(pid), str(name), ForeignRule(rule), Bytes(int(base)), Bytes(int(grown)))
            for pid, name, rule, base, grown in row["who"]
        ),
    )
