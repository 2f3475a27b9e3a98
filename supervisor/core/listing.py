"""The processes, and the holders of device memory, as they were last listed."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from collectors.reading import NONE, RAM, Bytes, Holder, PoolId, Process

from .kinship import Kinship
from .snapshot import Foreign, Listed


class Listing:
    """Serves every snapshot until there is a new list: what follows from it is worked out once.

    `processes` is the table of all processes, empty where nobody reads one.
    """

    def __init__(
        self, holders: tuple[Holder, ...] = (), processes: tuple[Process, ...] = ()
    ) -> None:
        self.holders, self.processes = holders, processes
        self._by_pid: dict[int, list[int]] = {}  # places in `holders`
        for place, holder in enumerate(holders):
            for pid in {holder.pid, *holder.sharers} if holder.sharers else (holder.pid,):
                self._by_pid.setdefault(pid, []).append(place)
        self._foreign: tuple[Foreign, ...] = ()
        self._foreign_to: tuple[frozenset[int], Kinship] | None = None

    def held_by(self, pids: Collection[int]) -> list[Holder]:
        """What any of these holds, each of it once, however many of them share it."""
        places = {place for pid in pids for place in self._by_pid.get(pid, ())}
        return [self.holders[place] for place in sorted(places)]

    def foreign(self, ours: frozenset[int], kin: Kinship) -> tuple[Foreign, ...]:
        """What everybody holds but the processes of models, `ours`, process by process: of RAM
        what is the process's own, and the pages that a driver took for it. By pool, the largest
        first."""
        if (
            self._foreign_to is None
            or self._foreign_to[1] is not kin
            or self._foreign_to[0] != ours
        ):
            self._foreign_to = ours, kin
            self._foreign = self._strangers(ours, kin)
        return self._foreign

    @cached_property
    def sums(self) -> Listed:
        """What all of them together hold of RAM."""
        by_drivers = sum(h.size or NONE for h in self.holders if h.pool == RAM)
        return Listed(
            private=Bytes(sum(p.private for p in self.processes)),
            shared=Bytes(sum(p.shared for p in self.processes)),
            by_drivers=Bytes(by_drivers),
        )

    def _strangers(self, ours: frozenset[int], kin: Kinship) -> tuple[Foreign, ...]:
        names = {p.pid: p.name for p in self.processes}
        shared = {p.pid: p.shared for p in self.processes if p.shared}
        sizes: dict[PoolId, dict[int, int]] = {
            RAM: {p.pid: p.anonymous for p in self.processes if p.pid not in ours}
        }
        for holder in self.holders:
            if holder.size and holder.pid not in ours and ours.isdisjoint(holder.sharers):
                of_pool = sizes.setdefault(holder.pool, {})
                of_pool[holder.pid] = of_pool.get(holder.pid, 0) + holder.size
                if holder.name:
                    names.setdefault(holder.pid, holder.name)
        return tuple(
            Foreign(
                pool,
                pid,
                names.get(pid) or f"pid {pid}",
                Bytes(size),
                kin.engines.get(pid),
                shared.get(pid, NONE) if pool == RAM else NONE,
            )
            for pool, of_pool in sorted(sizes.items())
            for size, pid in _largest_first(of_pool)
        )


def _largest_first(sizes: dict[int, int]) -> list[tuple[int, int]]:
    """(size, pid) of those that hold anything; the lower pid first where sizes are the same."""
    return [
        (-size, pid) for size, pid in sorted((-size, pid) for pid, size in sizes.items() if size)
    ]


NOTHING_LISTED = Listing()
