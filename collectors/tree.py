"""Where every byte of a pool is: its parts, which always sum to what is used of it.

Pure: a machine in, parts out. Facts that count each page once (the kernel's own) come first,
then what each process holds alone, as far as there is room for it: after a fork several have the
same pages, which would exceed the whole. Shared memory is a part of its own. What is left is
unaccounted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from .machine import Machine
from .reading import NONE, RAM, Bytes, HostFacts, MemoryPool, PoolId, Process


class PartKind(Enum):
    """What holds a part. They are shown in this order."""

    PROCESS = "process"
    OTHERS = "others"  # further processes, together
    UNSEEN = "unseen"  # of processes that this user, or this container, cannot see
    DEVICE = "device"  # RAM that accelerators hold for no process that is listed
    SHARED = "shared"  # shared memory and tmpfs that is in no process, or in several
    KERNEL = "kernel"
    HUGE = "huge"  # set aside as huge pages
    ZRAM = "zram"
    COMPRESSED = "compressed"
    UNACCOUNTED = "unaccounted"


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a pool, and whose they are. `device` of them are pages that a driver took
    in RAM for this process: they are in nobody's resident set."""

    kind: PartKind
    label: str
    size: Bytes
    pid: int | None = None
    device: Bytes = NONE


@dataclass(frozen=True, slots=True)
class PoolParts:
    """A pool and its parts: Σ size == used. `excess` is what did not fit in, as it is counted
    more than once or lies beyond a limit, and `cut` how many processes have no part for it.
    `untold` hold some of the pool, and nobody says how much."""

    pool: MemoryPool
    parts: tuple[Part, ...]
    excess: Bytes = NONE
    cut: int = 0
    untold: tuple[Part, ...] = ()

    def biggest(self, top: int) -> PoolParts:
        """The same with only the `top` largest processes by name, and the others as one part."""
        processes = [p for p in self.parts if p.kind is PartKind.PROCESS]
        rest = [p for p in self.parts if p.kind is not PartKind.PROCESS]
        folded = processes[top:]
        if len(folded) > 1 or (folded and top == 0):
            size, device = _sum(p.size for p in folded), _sum(p.device for p in folded)
            others = Part(PartKind.OTHERS, _count(len(folded)), size, device=device)
            processes = [*processes[:top], others]
        return replace(self, parts=(*processes, *rest))


def account(machine: Machine) -> tuple[PoolParts, ...]:
    """The parts of every pool that could be read, in the machine's order."""
    names = {h.pid: h.name for h in machine.holders or () if h.name}
    names |= {p.pid: p.name for p in machine.processes or ()}
    return tuple(
        _ram(pool, machine, names) if pool.id == RAM else _own(pool, machine, names)
        for pool in machine.pools
    )


def _own(pool: MemoryPool, machine: Machine, names: dict[int, str]) -> PoolParts:
    """An accelerator's own memory: only its driver knows who holds it."""
    held = _held(pool.id, machine)
    fitted = _fit(held, pool.used)
    parts = [Part(PartKind.PROCESS, _name(names, pid), n, pid) for pid, n in fitted.items()]
    return _closed(pool, parts, [held], _untold(pool.id, machine, names))


def _ram(pool: MemoryPool, machine: Machine, names: dict[int, str]) -> PoolParts:
    # Below a limit, what the kernel says of the whole machine says nothing of what is used.
    host = None if machine.host is None or machine.host.is_limited else machine.host
    listed = machine.processes or ()
    parts, left = [], pool.used
    for kind, label, told in _facts(host):
        size = min(told, left)
        parts.append(Part(kind, label, size))
        left = Bytes(left - size)
    held = _held(RAM, machine)
    by_driver = _fit(held, left)
    left = Bytes(left - _sum(by_driver.values()))
    private = {p.pid: p.private for p in listed}
    most = _most_private(host)
    in_one = _fit(private, left if most is None else min(left, most))
    left = Bytes(left - _sum(in_one.values()))
    shared = _shared(listed, host)
    alone = _fit(_alone(listed, shared), left)
    left = Bytes(left - _sum(alone.values()))
    for pid in by_driver.keys() | in_one.keys():
        device = by_driver.get(pid, NONE)
        size = Bytes(device + in_one.get(pid, NONE) + alone.get(pid, NONE))
        parts.append(Part(PartKind.PROCESS, _name(names, pid), size, pid, device))
    own = _sum(in_one.values())
    for kind, label, told in (
        (PartKind.DEVICE, "accelerators, for nobody listed", _taken(pool, machine, own)),
        (PartKind.UNSEEN, "processes that cannot be seen", _unseen(host, own) if listed else NONE),
        (PartKind.SHARED, "shared memory, tmpfs", Bytes(shared - _sum(alone.values()))),
    ):
        size = min(told, left)
        parts.append(Part(kind, label, size))
        left = Bytes(left - size)
    told_of = [held, private, _alone(listed, shared)]
    return _closed(pool, parts, told_of, _untold(RAM, machine, names))


def _facts(host: HostFacts | None) -> Iterable[tuple[PartKind, str, Bytes]]:
    """What the kernel counts once and no process has."""
    if host is None:
        return
    yield PartKind.HUGE, "set aside as huge pages", host.huge or NONE
    yield PartKind.KERNEL, "kernel", host.kernel or NONE
    yield PartKind.ZRAM, "compressed swap", host.zram or NONE
    yield PartKind.COMPRESSED, "compressed memory", host.compressed or NONE


def _most_private(host: HostFacts | None) -> Bytes | None:
    """All that can be in processes and is not shared memory, each page once: several have one
    page after a fork, until it is written to. None: no bound is known."""
    if host is None or host.anonymous is None or host.locked is None:
        return None
    return Bytes(host.anonymous + host.locked + (host.tables or NONE))


def _shared(listed: Iterable[Process], host: HostFacts | None) -> Bytes:
    """Shared memory and tmpfs, each page once. Where the kernel's count is of another machine,
    what is sure: there is as much as one process has mapped."""
    if host is not None and host.shared is not None:
        return host.shared
    return max((p.shared for p in listed), default=NONE)


def _alone(listed: Iterable[Process], shared: Bytes) -> dict[int, Bytes]:
    """Shared memory that is one process's alone: what it has mapped beyond all that the others
    have together. There is one such process at most."""
    sizes = {p.pid: p.shared for p in listed if p.shared}
    total = _sum(sizes.values())
    found = {pid: size - (total - size) for pid, size in sizes.items()}
    return {pid: Bytes(min(size, shared)) for pid, size in found.items() if size > 0}


def _taken(pool: MemoryPool, machine: Machine, private: Bytes) -> Bytes:
    """What accelerators hold of RAM, and no process that is listed."""
    listed = _sum(_held(RAM, machine).values())
    # Linux has an accelerator's pages in no resident set; a Mac has them in the process's own.
    if machine.host is None or machine.host.anonymous is None:
        listed = Bytes(listed + private)
    return Bytes(max(0, (pool.device_used or NONE) - listed))


def _unseen(host: HostFacts | None, private: Bytes) -> Bytes:
    """Anonymous memory that is in no process that is listed."""
    if host is None or host.anonymous is None:
        return NONE
    return Bytes(max(0, host.anonymous - private))


def _closed(
    pool: MemoryPool,
    parts: Iterable[Part],
    told: Iterable[dict[int, Bytes]],
    untold: tuple[Part, ...],
) -> PoolParts:
    """Put in order, and what is left of the whole is unaccounted. `told`: what processes were
    said to hold, by pid."""
    order = list(PartKind)
    known = sorted(
        (p for p in parts if p.size > 0),
        key=lambda p: (order.index(p.kind), -p.size, p.pid or 0),
    )
    rest = Bytes(pool.used - _sum(p.size for p in known))
    if rest > 0:
        known.append(Part(PartKind.UNACCOUNTED, "unaccounted", rest))
    wanted = _sum(size for sizes in told for size in sizes.values())
    given = {p.pid: p.size for p in known if p.kind is PartKind.PROCESS}
    cut = {pid for sizes in told for pid, size in sizes.items() if size and pid not in given}
    return PoolParts(pool, tuple(known), Bytes(wanted - _sum(given.values())), len(cut), untold)


def _fit(sizes: dict[int, Bytes], room: Bytes) -> dict[int, Bytes]:
    """As much of each as there is room for: the largest first, so that it is cut last."""
    fitted = {}
    for pid, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        fitted[pid] = min(size, room)
        room = Bytes(room - fitted[pid])
    return fitted


def _held(pool: PoolId, machine: Machine) -> dict[int, Bytes]:
    """Bytes by pid, by the drivers' word. Two accelerators may list one process."""
    sizes: dict[int, Bytes] = {}
    for holder in machine.holders or ():
        if holder.pool == pool and holder.size is not None:
            sizes[holder.pid] = Bytes(sizes.get(holder.pid, NONE) + holder.size)
    return sizes


def _untold(pool: PoolId, machine: Machine, names: dict[int, str]) -> tuple[Part, ...]:
    pids = {h.pid for h in machine.holders or () if h.pool == pool and h.size is None}
    return tuple(Part(PartKind.PROCESS, _name(names, p), NONE, p) for p in sorted(pids))


def _name(names: dict[int, str], pid: int) -> str:
    return names.get(pid, "process")


def _count(n: int) -> str:
    return "1 other" if n == 1 else f"{n} others"


def _sum(sizes: Iterable[int]) -> Bytes:
    return Bytes(sum(sizes))
