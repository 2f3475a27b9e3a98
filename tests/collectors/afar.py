"""Collectors for a child process, told by files below `root` what to do there."""

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collectors.errors import CollectorError, Outdated
from collectors.reading import (
    Holder,
    Incident,
    MemoryPool,
    PoolId,
    PoolKind,
    Remedy,
    Sample,
    Seconds,
    Tier,
    gib,
)

TARGET = "tests.collectors.afar:Obedient"
POOL = MemoryPool(PoolId("afar"), PoolKind.DEDICATED, gib(24), gib(20))


def tell(root: Path, *words: object) -> None:
    """What `Obedient` is to do at each further read. Nothing: just answer."""
    fresh = root / "order.new"
    fresh.write_text(" ".join(map(str, words)))
    fresh.replace(root / "order")


@contextmanager
def gate(root: Path) -> Iterator[None]:
    """While it is closed, a call that was told to hang does not return."""
    with (root / "gate").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Obedient:
    """Answers with notes: its process, how often it was called, and with which tiers."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, 0

    def read(self, tiers: Tier) -> Sample:
        self.calls += 1
        notes = (f"pid {os.getpid()}", f"calls {self.calls}", f"tiers {tiers.value}")
        sample = Sample(pools=(POOL,), notes=notes)
        path = self.root / "order"
        order, *words = (path.read_text() if path.exists() else "").split() or [""]
        return getattr(self, order or "answer")(sample, *words)

    def answer(self, sample: Sample) -> Sample:
        return sample

    def hang(self, sample: Sample) -> Sample:
        inside = self.root / "inside"  # a pipe, where a test waits to read from it
        if inside.exists():
            inside.open("w").close()
        with (self.root / "gate").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
        return sample

    def tick(self, sample: Sample) -> Sample:
        """Hangs too, and has something to report that happened once."""
        event = Incident("afar", "xid", self.calls, Remedy.NOTHING, "", Seconds(0))
        hung = self.hang(sample)
        return Sample(pools=hung.pools, notes=hung.notes, incidents=(event,))

    def refuse(self, sample: Sample, *words: str) -> Sample:
        raise CollectorError(" ".join(words))

    def outlive(self, sample: Sample, *words: str) -> Sample:
        raise Outdated(" ".join(words))

    def stumble(self, sample: Sample) -> Sample:
        raise ValueError("two\nlines")

    def abort(self, sample: Sample) -> Sample:
        os.write(2, b"one line\nfree(): invalid pointer\n\n")
        os.abort()

    def chatter(self, sample: Sample, size: str) -> Sample:
        """As a library may: it prints, and reads what is not meant for it."""
        print("x" * int(size), flush=True)
        os.write(2, b"y" * int(size))
        assert os.read(0, 1) == b""
        return sample

    def list(self, sample: Sample, count: str) -> Sample:
        holders = tuple(Holder(pid, POOL.id, gib(1), "a name") for pid in range(int(count)))
        return Sample(pools=sample.pools, holders=holders)

    def show(self, sample: Sample) -> Sample:
        """What this process has taken along."""
        with os.scandir("/proc/self/fd") as entries:
            files = sorted(int(e.name) for e in entries)[:-1]  # without the scan's own
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        facts = {"files": files, "session": os.getsid(0) == os.getpid(), "deaf": ignored}
        return Sample(notes=(*sorted(sys.modules), repr(facts)))
