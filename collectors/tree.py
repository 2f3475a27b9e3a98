"""Where every byte of a pool is: its parts, which always sum to what is used of it.

Pure: a machine in, parts out. Facts that count each page once (the kernel's own) come first,
then what processes hold, as far as there is room for it: where processes share pages they would
exceed the whole, and are cut. What is left is unaccounted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from .machine import Machine
from .reading import NONE, RAM, Bytes, HostFacts, MemoryPool, PoolId


class PartKind(Enum):
    """What holds a part. They are shown in this order."""

    PROCESS = "process"
    OTHERS = "others"  # further processes, together
    UNSEEN = "unseen"  # of processes that this user, or this container, cannot see
    DEVICE = "device"  # RAM that accelerators hold for no process that is listed
    SHARED = "shared"  # shared memory and tmpfs that is in no process above
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


def is_limited(host: HostFacts | None) -> bool:
    """Does a control group allow less RAM than there is? Then `used` is the group's, while what
    the kernel tells in /proc/meminfo is still of the whole machine."""
    return (
        host is not None
        and host.limit is not None
        and (host.physical is None or host.limit < host.physical)
    )


def _own(pool: MemoryPool, machine: Machine, names: dict[int, str]) -> PoolParts:
    """An accelerator's own memory: only its driver knows who holds it."""
    held = _held(pool.id, machine)
    fitted = _fit(held, pool.used)
    parts = [Part(PartKind.PROCESS, _name(names, pid), n, pid) for pid, n in fitted.items()]
    return _closed(pool, parts, [held], _untold(pool.id, machine, names))


def _ram(pool: MemoryPool, machine: Machine, names: dict[int, str]) -> PoolParts:
    host = None if is_limited(machine.host) else machine.host
    parts, left = [], pool.used
    for kind, label, told in _facts(host):
        size = min(told, left)
        parts.append(Part(kind, label, size))
        left = Bytes(left - size)
    held = _held(RAM, machine)
    by_driver = _fit(held, left)
    left = Bytes(left - _sum(by_driver.values()))
    own = {p.pid: p.anonymous for p in machine.processes or ()}
    once = _counted_once(host)
    # One process alone has nothing twice: what it has beyond them is locked file pages.
    room = left if once is None else min(left, max(once, *own.values(), NONE))
    by_kernel = _share(own, room, host.shared or NONE if host else NONE)
    held_alone = _sum(by_kernel.values())
    left = Bytes(left - held_alone)
    for pid in by_driver.keys() | by_kernel.keys():
        device, size = by_driver.get(pid, NONE), by_kernel.get(pid, NONE)
        label = _name(names, pid)
        parts.append(Part(PartKind.PROCESS, label, Bytes(device + size), pid, device))
    for kind, label, told in _not_in_processes(pool, host, held_alone, _sum(held.values())):
        if own or kind is not PartKind.UNSEEN:
            size = min(told, left)
            parts.append(Part(kind, label, size))
            left = Bytes(left - size)
    return _closed(pool, parts, [held, own], _untold(RAM, machine, names))


def _facts(host: HostFacts | None) -> Iterable[tuple[PartKind, str, Bytes]]:
    """What the kernel counts once and no process has."""
    if host is None:
        return
    yield PartKind.HUGE, "set aside as huge pages", host.huge or NONE
    yield PartKind.KERNEL, "kernel", host.kernel or NONE
    yield PartKind.ZRAM, "compressed swap (zram)", host.zram or NONE
    yield PartKind.COMPRESSED, "compressed memory", host.compressed or NONE


def _counted_once(host: HostFacts | None) -> Bytes | None:
    """All that can be in resident sets and is not a file's, each page once."""
    if host is None or host.anonymous is None or host.shared is None:
        return None
    return Bytes(host.anonymous + host.shared)


def _not_in_processes(
    pool: MemoryPool, host: HostFacts | None, held_alone: Bytes, by_driver: Bytes
) -> Iterable[tuple[PartKind, str, Bytes]]:
    """What is known to be used and is in no process that is listed."""
    # Linux has an accelerator's pages in no resident set; a Mac has them in the process's own.
    listed = by_driver if host and host.anonymous is not None else by_driver + held_alone
    rest = (pool.device_used or NONE) - listed
    yield PartKind.DEVICE, "accelerators, for nobody listed", Bytes(max(0, rest))
    if host is None or host.shared is None:
        return
    if host.anonymous is not None:
        unseen = Bytes(max(0, host.anonymous - held_alone))
        yield PartKind.UNSEEN, "processes that cannot be seen", unseen
        shared = min(host.shared, max(0, host.anonymous + host.shared - held_alone))
        yield PartKind.SHARED, "shared memory and tmpfs", Bytes(shared)
    else:
        yield PartKind.SHARED, "shared memory and tmpfs", host.shared


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


def _share(sizes: dict[int, Bytes], room: Bytes, shared: Bytes) -> dict[int, Bytes]:
    """As _fit, where `shared` bytes are all that there is to share. What a process has beyond
    them is its own; of the rest, which others may have too, each keeps the same fraction."""
    own = {pid: Bytes(max(0, size - shared)) for pid, size in sizes.items()}
    rest, left = _sum(sizes.values()) - _sum(own.values()), room - _sum(own.values())
    if left < 0:
        return _fit(own, room)
    if rest <= left:
        return sizes
    kept = {pid: Bytes(n + (sizes[pid] - n) * left // rest) for pid, n in own.items()}
    first = min(kept, key=lambda pid: (-sizes[pid], pid))  # takes what rounding left over
    kept[first] = min(sizes[first], Bytes(kept[first] + room - _sum(kept.values())))
    return kept


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
