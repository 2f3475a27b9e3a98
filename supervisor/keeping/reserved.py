"""Bytes that are kept free for foreign jobs: a training run, a game, somebody else's server."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from secrets import token_hex

from collectors.reading import Bytes, PoolId, Process, Seconds
from supervisor.core.snapshot import Reservation, Share, Source
from supervisor.journal.shelves import Shelf
from supervisor.units import format_bytes

from .deadlines import Deadlines

log = logging.getLogger("ullage.loop")


@dataclass(frozen=True, slots=True)
class Job:
    """`size` bytes of `pool` for `client`, until `ends` on the daemon's clock. `pids` were told;
    what they start belongs to the job, too."""

    id: str
    client: str
    pool: PoolId
    size: Bytes
    ttl: Seconds
    ends: Seconds
    pids: frozenset[int] = frozenset()


@dataclass(slots=True)
class Reserved:
    """`asked` are those for which room is being made: they count, and are not kept yet."""

    shelf: Shelf
    deadlines: Deadlines
    asked: set[str] = field(default_factory=set)
    _jobs: dict[str, Job] = field(default_factory=dict)
    _family: dict[str, frozenset[int]] = field(default_factory=dict)  # who was seen alive
    _listed: tuple[Process, ...] | None = None

    def recall(self) -> None:
        for id, body in self.shelf.all().items():
            try:
                same = body["ends"]["boot"] in (None, self.deadlines.boot())
                self._jobs[id] = Job(
                    id,
                    str(body["client"]),
                    PoolId(body["pool"]),
                    Bytes(int(body["size"])),
                    Seconds(float(body["ttl"])),
                    self.deadlines.read(body["ends"]),
                    frozenset(map(int, body["pids"])) if same else frozenset(),
                )
                if same and (family := frozenset(map(int, body.get("family", ())))):
                    self._family[id] = family
            except (KeyError, TypeError, ValueError):
                log.warning("the reservation %s cannot be read: it is dropped", id)
                self.shelf.drop(id)

    @property
    def all(self) -> tuple[Job, ...]:
        """The oldest first, without those that are being asked for."""
        return tuple(job for job in self._jobs.values() if job.id not in self.asked)

    def get(self, id: str) -> Job | None:
        return None if id in self.asked else self._jobs.get(id)

    def ask(self, client: str, pool: PoolId, size: Bytes, ttl: Seconds, pids: Iterable[int]) -> Job:
        """Count these bytes as promised while room is being made for them."""
        id = f"r-{token_hex(6)}"
        job = Job(id, client, pool, size, ttl, self.deadlines.after(ttl), frozenset(pids))
        self._jobs[id] = job
        self.asked.add(id)
        if job.pids and self._listed:  # what it has started so far is its own, too
            self._family[id] = _family(job.pids, self._listed)
        return job

    def grant(self, id: str) -> Job:
        """There is room: keep it, from now on for its whole time."""
        self.asked.discard(id)
        job = self._jobs[id]
        job = replace(job, ends=self.deadlines.after(job.ttl))
        self._keep(job)
        size = format_bytes(job.size)
        log.info("%s has reserved %s of %s: %s", job.client, size, job.pool, id)
        return job

    def renew(
        self, id: str, ttl: Seconds | None = None, pids: Iterable[int] | None = None
    ) -> Job | None:
        if (job := self.get(id)) is None:
            return None
        ttl = job.ttl if ttl is None else ttl
        told = job.pids if pids is None else job.pids | frozenset(pids)
        job = replace(job, ttl=ttl, ends=self.deadlines.after(ttl), pids=told)
        self._keep(job)
        return job

    def close(self, id: str, why: str = "given back") -> Job | None:
        job = self._jobs.pop(id, None)
        self._family.pop(id, None)
        if id in self.asked:
            self.asked.discard(id)
            return None
        if job is not None:
            self.shelf.drop(id)
            log.info("the reservation %s of %s is over: %s", id, job.client, why)
        return job

    def lapse(self, now: Seconds) -> None:
        for job in self.all:
            if job.ends <= now:
                self.close(job.id, "its time has run out")

    def see(self, processes: tuple[Process, ...]) -> None:
        """`processes` as they were last listed, empty where nobody lists them. A job whose
        processes were seen, and have all ended, is over."""
        if processes is self._listed or not processes:
            return
        self._listed = processes
        for job in self.all:
            if not job.pids:
                continue
            seen = self._family.get(job.id, frozenset())
            alive = _family(job.pids | seen, processes)
            if seen and not alive:
                self.close(job.id, "its processes have ended")
            elif alive != seen:
                self._family[job.id] = alive
                self._keep(job)  # whoever has ended by the next start is missed then

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        return tuple(
            Reservation(
                None,
                (Share(job.pool, job.size, Source.DECLARED),),
                job.id,
                job.pids | self._family.get(job.id, frozenset()),
            )
            for job in self._jobs.values()
        )

    def rewrite(self) -> None:
        """The wall clock was set: write the same moments down by the new one."""
        for job in self.all:
            self._keep(job)

    def _keep(self, job: Job) -> None:
        self._jobs[job.id] = job
        body = {
            "client": job.client,
            "pool": job.pool,
            "size": job.size,
            "ttl": job.ttl,
            "ends": self.deadlines.written(job.ends),
            "pids": sorted(job.pids),
            "family": sorted(self._family.get(job.id, ())),
        }
        self.shelf.keep(job.id, body)


def _family(roots: frozenset[int], processes: tuple[Process, ...]) -> frozenset[int]:
    """Those of `roots` that are alive, and all that they have started."""
    children: dict[int, list[int]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = [p.pid for p in processes if p.pid in roots]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return frozenset(found)
