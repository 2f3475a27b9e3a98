"""What of each host is spoken for: promises, which are not the live headroom.

A promise is made before its load begins, and ends when the model is there or its time is over.
By this order of steps no model is placed twice at a time, whatever networks and clocks do:

1. Whoever places asks for offers, and takes the model's claim: the promise under its one name.
2. It looks at the directory *again*, and goes on only if nobody has the model or is getting it,
   and the directory is complete: `Settling` says when that is so after it began anew.
3. A host that is told to accept first has it written in the directory that the model is coming:
   a *bar*, as good as a promise. *Then* it looks whether the claim still stands. If not, or if it
   cannot tell, it refuses.
4. It begins while the offer stands, and never later. Its bar stands until then, and after that
   until the host has said how it stands by a word that was asked for later. One that is lost bars
   nobody, and does again when it is back. A claim is given up once the model is there, or the
   offer is over.

Of two that place at once one takes the claim later. Either the other's host finds its claim gone
(3), or it had its bar written before that claim was taken, and is seen (2).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from collectors.reading import NONE, RAM, Bytes, Seconds
from supervisor.core.snapshot import Share

from .hosts import HostId, Promise, Word

MIB = 1024**2


def strays(
    made: Mapping[str, float], held: Collection[str], now: float, after: float = 0.0
) -> list[str]:
    """Of the claims that somebody `made`, each with when: those that it does not hold `after` so
    many seconds. The answer never came, it gave up, and the claim was made after all: they are to
    be taken back, or nobody ever would."""
    return sorted(id for id, at in made.items() if id not in held and now - at >= after)


class Settling(NamedTuple):
    """A directory that began anew knows nobody at first. Whoever may be loading has told it so, or
    is lost and has no offer left, after `valid` + `lost` seconds: before, nothing is placed."""

    valid: Seconds
    lost: Seconds

    def wait(self, age: Seconds) -> Seconds:
        """How much longer, of a directory that is `age` seconds old; 0: it is complete."""
        return Seconds(max(0.0, self.valid + self.lost - age))


def counted(word: Word) -> frozenset[str]:
    """The pools that the ledger counts: accelerators and unified memory, or RAM where there is
    nothing else."""
    pools = {s.pool for s in word.spaces}
    return frozenset(pools - {RAM} or pools)


def capacity(word: Word) -> Bytes:
    """What a host may promise at most: what its hardware has, whoever holds it now."""
    pools = counted(word)
    return Bytes(sum(s.total for s in word.spaces if s.pool in pools))


def charge(takes: Iterable[Share], word: Word) -> Bytes:
    """What a load is charged in the ledger: its part of the pools that count."""
    pools = counted(word)
    return Bytes(sum(s.size for s in takes if s.pool in pools))


def in_mib(size: int) -> int:
    """Whole MiB for a ledger that counts in those, never less than `size`."""
    return -(-size // MIB)


def standing(promises: Iterable[Promise], now: Seconds) -> list[Promise]:
    """Those whose time is not over."""
    return [p for p in promises if now < p.until]


def promised(promises: Iterable[Promise], now: Seconds) -> Mapping[HostId, Bytes]:
    """What is spoken for on each host that has promised anything."""
    sums: dict[HostId, int] = {}
    for promise in standing(promises, now):
        sums[promise.host] = sums.get(promise.host, 0) + promise.size
    return {host: Bytes(size) for host, size in sums.items()}


def left(word: Word, spoken_for: Bytes = NONE) -> Bytes:
    """What a host may still promise. Never negative."""
    return Bytes(max(0, capacity(word) - spoken_for))


def room(word: Word, spoken_for: Bytes = NONE) -> int:
    """The live headroom that nobody is promised. Negative: there is less than none."""
    pools = counted(word)
    return sum(s.headroom for s in word.spaces if s.pool in pools) - spoken_for
