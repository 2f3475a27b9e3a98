"""The leases that clients hold on models. Whoever does not renew in time has gone."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from secrets import token_hex

from collectors.reading import Seconds
from supervisor.core.lease import Lease
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.journal.shelves import Shelf

from .deadlines import Deadlines

log = logging.getLogger("ullage.loop")

TTL = Seconds(60)  # where its client does not say


@dataclass(slots=True)
class Leases:
    """`awaited` are those whose client waits at the door for a load: they do not expire."""

    shelf: Shelf
    deadlines: Deadlines
    awaited: set[str] = field(default_factory=set)
    _open: dict[str, Lease] = field(default_factory=dict)
    _ttl: dict[str, Seconds] = field(default_factory=dict)

    def recall(self) -> None:
        for id, body in self.shelf.all().items():
            try:
                engine, _, model = body["model"].partition("/")
                self._open[id] = Lease(
                    id,
                    ModelRef(EngineId(engine), ModelId(model)),
                    body["client"],
                    self.deadlines.read(body["opened"]),
                    self.deadlines.read(body["ends"]),
                )
                self._ttl[id] = Seconds(float(body["ttl"]))
            except (KeyError, TypeError, ValueError, AttributeError):
                log.warning("the lease %s cannot be read: it is dropped", id)
                self._open.pop(id, None)
                self.shelf.drop(id)

    @property
    def all(self) -> tuple[Lease, ...]:
        """The oldest first."""
        return tuple(self._open.values())

    def get(self, id: str) -> Lease | None:
        return self._open.get(id)

    def ttl_of(self, id: str) -> Seconds:
        """0 of one that has ended: it may, while its client still waits to hear of it."""
        return self._ttl.get(id, Seconds(0))

    def open(self, ref: ModelRef, client: str, ttl: Seconds) -> Lease:
        now = self.deadlines.now
        lease = Lease(f"l-{token_hex(6)}", ref, client, now, Seconds(now + ttl))
        self._keep(lease, ttl)
        log.info("%s has a lease on %s: %s, for %g s", client, ref, lease.id, ttl)
        return lease

    def renew(self, id: str, ttl: Seconds | None = None) -> Lease | None:
        """From now on for `ttl` again, None: as long as before. None: there is no such lease."""
        if (lease := self._open.get(id)) is None:
            return None
        ttl = self._ttl[id] if ttl is None else ttl
        lease = replace(lease, expires_at=self.deadlines.after(ttl))
        self._keep(lease, ttl)
        return lease

    def close(self, id: str) -> Lease | None:
        lease = self._drop(id)
        if lease is not None:
            log.info("%s has given back its lease on %s: %s", lease.client, lease.ref, id)
        return lease

    def lapse(self, now: Seconds) -> None:
        over = [e for e in self._open.values() if e.expires_at <= now and e.id not in self.awaited]
        for lease in over:
            self._drop(lease.id)
            log.info("%s has lost its lease on %s: %s expired", lease.client, lease.ref, lease.id)

    def rewrite(self) -> None:
        """The wall clock was set: write the same moments down by the new one."""
        for lease in self._open.values():
            self._keep(lease, self._ttl[lease.id])

    def _drop(self, id: str) -> Lease | None:
        self._ttl.pop(id, None)
        lease = self._open.pop(id, None)
        if lease is not None:
            self.shelf.drop(id)
        return lease

    def _keep(self, lease: Lease, ttl: Seconds) -> None:
        self._open[lease.id], self._ttl[lease.id] = lease, ttl
        body = {
            "model": str(lease.ref),
            "client": lease.client,
            "ttl": ttl,
            "opened": self.deadlines.written(lease.opened_at),
            "ends": self.deadlines.written(lease.expires_at),
        }
        self.shelf.keep(lease.id, body)
