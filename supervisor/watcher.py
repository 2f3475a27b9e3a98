"""Sees what has changed from one snapshot to the next, and hears what is written down: events.

Beside the loop, which knows nothing of it: a page that hangs, or a mistake in here, delays nobody.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collectors.reading import PoolId

from .core.headroom import Room, rooms
from .core.snapshot import EngineId, ModelRef, Resident, Snapshot, State
from .feed import Feed
from .loop import Loop
from .timeline import Timeline

log = logging.getLogger("ullage.watcher")

Json = dict[str, Any]

CAUSES = 100  # decisions whose causes are remembered until their outcomes come
LEFT = "left"
_NAMES = {State.LEAVING: "unloading"}

# What is told of shelves; of some only who comes and goes, for they are renewed all the time.
CLAIMS = {
    "pins": "pins",
    "leases": "leases",
    "reservations": "reservations",
    "retention": "retention",
    "farewells": "leaving",
    "paused": "paused",
    "drained": "drained",
}
RENEWED = frozenset({"leases", "reservations"})


class _Model(NamedTuple):
    state: str
    size: int
    pool: PoolId | None


class _Engine(NamedTuple):
    up: bool
    fault: str | None


@dataclass(slots=True)
class Watcher:
    loop: Loop
    feed: Feed
    timeline: Timeline
    _models: dict[ModelRef, _Model] = field(default_factory=dict)
    _engines: dict[EngineId, _Engine] = field(default_factory=dict)
    _causes: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def listen(self) -> None:
        """From now on hear what the journal is told."""
        self.loop.journal.listeners.append(self._hear)
        self.loop.journal.shelves.listeners.append(self._hear_shelf)

    async def run(self) -> None:
        """See every snapshot, until cancelled."""
        while True:
            await self.loop.changed()
            try:
                self.look()
            except Exception:
                log.exception("could not tell what has changed")

    # -- what is seen

    def look(self) -> None:
        """Tell how the latest snapshot differs from the one that was looked at before."""
        snapshot, policy = self.loop.snapshot, self.loop.policy
        if snapshot is None:
            return
        found = rooms(snapshot, policy)
        self.timeline.see(self.loop.wall(), found, snapshot.blind)
        self._tell_engines(snapshot)
        self._tell_models(snapshot)
        if self.feed.is_read("sample"):
            self.feed.tell("sample", sample(snapshot, found, self.loop))

    def _tell_engines(self, snapshot: Snapshot) -> None:
        before = self._engines
        self._engines = {e.id: _Engine(e.up, e.fault) for e in snapshot.engines}
        for id, now in self._engines.items():
            if before.get(id) != now:
                self.feed.tell("engine", engine=id, up=now.up, fault=now.fault)
        for id in before.keys() - self._engines.keys():
            self.feed.tell("engine", engine=id, up=False, fault="it is not known any more")

    def _tell_models(self, snapshot: Snapshot) -> None:
        before = self._models
        self._models = {r.ref: _model(r) for r in snapshot.residents}
        for ref, now in self._models.items():
            was = before.get(ref)
            if was is None or was.state != now.state:
                self._tell_model(ref, now, None if was is None else was.state)
        for ref in before.keys() - self._models.keys():
            self._tell_model(ref, before[ref]._replace(state=LEFT), before[ref].state)

    def _tell_model(self, ref: ModelRef, model: _Model, before: str | None) -> None:
        self.feed.tell("model", {"model": str(ref), "before": before, **model._asdict()})

    # -- what is heard

    def _hear(self, kind: str, row: Json) -> None:
        """What is wrong here is nothing to whoever writes it down."""
        try:
            self._tell(kind, row)
        except Exception:
            log.exception("could not tell of a %s", kind)

    def _tell(self, kind: str, row: Json) -> None:
        match kind:
            case "decision":
                self._causes[row["id"]] = row["cause"]
                if len(self._causes) > CAUSES:
                    self._causes.popitem(last=False)
                self.feed.tell(kind, {**row, "decision": row["id"]})
            case "outcome":
                self.timeline.outcome(row, self._causes.get(row["decision"], ""))
                self.feed.tell(kind, row)
            case "departure":
                self.timeline.departure(row)
            case "finding":
                told = {k: row[k] for k in ("subject", "severity", "detail")}
                cleared = row["cleared"]
                at = row["opened"] if cleared is None else cleared
                told |= {"at": at, "finding": row["kind"], "open": cleared is None}
                self.feed.tell(kind, told)

    def _hear_shelf(self, shelf: str, key: str, before: Json | None, now: Json | None) -> None:
        if shelf == "overrides":
            self.feed.tell("settings", key=key, value=None if now is None else now.get("value"))
        elif shelf in CLAIMS and not (shelf in RENEWED and before is not None and now is not None):
            self.feed.tell("claim", what=CLAIMS[shelf])


def sample(snapshot: Snapshot, found: tuple[Room, ...], loop: Loop) -> Json:
    """How full every pool is, in bytes, how many models work, and how many requests wait."""
    return {
        "pools": list(_pools(found)),
        "busy": sum(r.busy for r in snapshot.residents),
        "waiting": sum(loop.traffic.waiting.values()),
    }


def _pools(found: tuple[Room, ...]) -> Iterator[Json]:
    for room in found:
        yield {
            "id": room.pool,
            "total": room.total,
            "free": room.free,
            "held": room.held,
            "headroom": room.headroom,
            "reserve": room.reserve,
        }


def _model(resident: Resident) -> _Model:
    """In which pool the most of it is."""
    pool = max(sorted(resident.pools), key=resident.holds, default=None)
    state = _NAMES.get(resident.state, resident.state.value)
    return _Model(state, resident.size, pool)
