"""Leaves idle GPUs alone, so that they can sleep, and all GPUs, so that they can be reset.

An open driver keeps a laptop's GPU awake, at 5 to 10 watts for nothing, and keeps an
administrator from a reset or a change of its MIG layout. What the kernel says in sysfs about a
GPU's power wakes nothing, and neither does how often the driver is open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from .errors import CollectorError
from .reading import Blind, Device, Holder, PoolId, Sample, Seconds, Tier, mib

REST_AFTER = Seconds(60.0)  # without a holder on any GPU that is worth the name
SETTLE = Seconds(15.0)  # after closing; the driver sees after 5 s that a GPU is idle
FIRST_PAUSE, LONGEST_PAUSE = Seconds(120.0), Seconds(1800.0)  # when somebody else has it open
UNSEEN = mib(256)  # in use without a holder: somebody whom this program cannot see
# A display server has every GPU open, also one that shows and computes nothing, and that may
# sleep nonetheless. The least that anybody who computes holds is more.
FAINT = mib(64)
USERS = "sys/module/nvidia/refcnt"  # open files of the driver, and modules upon it

ASLEEP = ("suspended", "suspending")
AWAKE = ("active", "resuming")


class Closing(Protocol):
    """A collector that can let go of its driver; its next read opens it again."""

    name: str
    deadline: Seconds

    def read(self, tiers: Tier) -> Sample: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class _Rest:
    """A time in which nothing is asked of the driver. `sample` tells who is there, `users` how
    often others have the driver open (None: the kernel does not tell)."""

    since: float
    sample: Sample
    users: int | None
    slept: set[str] = field(default_factory=set)  # UUIDs of GPUs that have been seen asleep


class Resting:
    """Reads as `inner` does, and closes it while its GPUs are idle, or released.

    GPUs rest together, as closing concerns them all, and only where the kernel may power each of
    them down (`power/control` is auto). Closing lasts as long as `inner.close()` does, within
    `read`: whoever bounds a read (machine.Owner's deadline) bounds it too, and it is as good as
    hanging in `inner.read()`. A collector in a process of its own is closed in half a second.
    """

    def __init__(
        self,
        inner: Closing,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.deadline = inner.name, inner.deadline
        self._inner, self._root, self._clock = inner, root, clock
        self._rest: _Rest | None = None
        self._idle_since: float | None = None  # None: somebody holds memory, or nobody can tell
        self._not_before, self._pause = float("-inf"), FIRST_PAUSE
        self._wanted = threading.Event()  # by wake(), for the next read
        self._released_until: Seconds | None = None
        self._open = True  # as far as we know: until it was closed by us

    def read(self, tiers: Tier) -> Sample:
        """Raises CollectorError: the inner one's own, or that the GPUs are released."""
        now = self._clock()
        until = self.released_until
        if until is not None:
            self._rest = self._idle_since = None
            self._close()
            rest = f"for an administrator, for another {until - now:.0f} s"
            if not self.closed:
                raise CollectorError(f"to be released {rest}: its driver does not let go")
            raise CollectorError(f"released {rest}: no memory of its GPUs can be read")
        if self._wanted.is_set():
            self._wanted.clear()
            self._rest = self._idle_since = None
        if self._rest is not None:
            told = self._look(self._rest, tiers, now)
            if told is not None:
                return told
            self._rest = None
        return self._ask(tiers, now)

    def wake(self) -> None:
        """A load is under way: the next read asks the driver. From any thread."""
        self._wanted.set()

    def release(self, until: Seconds) -> None:
        """Let go of the driver from the next read on, until then on the clock. From any thread."""
        self._released_until = until

    def resume(self) -> None:
        """The administrator is done. From any thread."""
        self._released_until = None

    def close(self) -> None:
        """As the inner one's, and from the threads that may call that."""
        self._inner.close()

    @property
    def released_until(self) -> Seconds | None:
        until = self._released_until  # once: another thread may change it meanwhile
        return until if until is not None and self._clock() < until else None

    @property
    def closed(self) -> bool:
        """Is the driver let go of? After release(), only this says that a reset can be tried: a
        process that hangs in it and had to be left behind still holds it."""
        return not self._open and getattr(self._inner, "pid", None) is None

    # -- the reading thread's own

    def _close(self) -> None:
        if not self.closed:  # one that was left behind may have ended meanwhile
            self._inner.close()
            self._open = False

    def _ask(self, tiers: Tier, now: float) -> Sample:
        # Also when the GPUs are asleep at the start: this wakes them once, but without it nobody
        # would know how much memory they have.
        self._open = True
        users = self._users()
        try:
            sample = self._inner.read(tiers)
        except Exception:
            self._idle_since = None
            raise
        if Tier.PROCESSES not in tiers:
            return sample
        if not self._is_idle(sample):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif (
            now - self._idle_since >= REST_AFTER
            and now >= self._not_before
            and self._users() == users  # nobody came while it was read
        ):
            self._idle_since = None
            self._close()
            self._rest = _Rest(self._clock(), sample, self._users() if self.closed else None)
        return sample

    def _is_idle(self, sample: Sample) -> bool:
        """Does nobody use any of the GPUs, and may all of them be powered down?"""
        gpus = _gpus(sample)
        return (
            bool(gpus)
            and _is_faint(sample.holders)
            and not sample.unlisted
            and not sample.blind
            and not sample.carveouts  # that is RAM, which somebody must count
            and all(pool.used < UNSEEN for pool in sample.pools)
            and all(gpu.pci is not None and self._may_sleep(gpu.pci) for gpu in gpus)
        )

    def _may_sleep(self, pci: str) -> bool:
        if self._power(pci, "control") != "auto":
            return False
        # NVIDIA's driver says whether it does its part; on desktops it does not, and the GPU
        # would stay active for ever.
        told = _text(self._root / "proc/driver/nvidia/gpus" / pci / "power")
        status = next((row for row in told.splitlines() if row.startswith("Runtime D3 status")), "")
        return not status or status.partition(":")[2].strip().startswith("Enabled")

    def _look(self, rest: _Rest, tiers: Tier, now: float) -> Sample | None:
        """What sysfs tells of GPUs at rest; None: it is time to ask the driver again."""
        sleeping, waking = set[str](), set[str]()
        for gpu in _gpus(rest.sample):
            status = self._power(gpu.pci or "", "runtime_status")
            if status in ASLEEP:
                sleeping.add(gpu.uuid)
            elif status in AWAKE and gpu.uuid not in rest.slept:
                waking.add(gpu.uuid)
            else:  # somebody has opened it, or it is gone
                return None
        rest.slept |= sleeping
        if waking and now - rest.since > SETTLE:  # closing was in vain: somebody else has it open
            self._not_before = now + self._pause
            self._pause = min(LONGEST_PAUSE, Seconds(2 * self._pause))
            return None
        if not waking:
            self._pause = FIRST_PAUSE
        elif rest.users is not None:
            users = self._users()
            if users is None or users > rest.users:  # somebody came
                return None
            rest.users = users
        return _told(rest.sample, sleeping, tiers, by_identity=rest.users is not None)

    def _users(self) -> int | None:
        text = _text(self._root / USERS).strip()
        return int(text) if text.isdecimal() else None

    def _power(self, pci: str, name: str) -> str:
        return _text(self._root / "sys/bus/pci/devices" / pci / "power" / name).strip()


def _gpus(sample: Sample) -> list[Device]:
    """Whole ones: an instance sleeps when its GPU does."""
    return [device for device in sample.devices if device.parent is None]


def _is_faint(holders: Iterable[Holder] | None) -> bool:
    """Is all that they hold known, and next to nothing?"""
    sizes = [None] if holders is None else [holder.size for holder in holders]
    return None not in sizes and sum(size or 0 for size in sizes) < FAINT


def _told(before: Sample, sleeping: set[str], tiers: Tier, *, by_identity: bool) -> Sample:
    """What is known of GPUs without asking: one that is asleep has nothing in its memory.

    A pool's total is part of what it is, so it is as it was read. A GPU that has not fallen
    asleep yet is as it was (`by_identity`) while nobody else has opened the driver since; where
    that cannot be told, nothing is known.
    """
    devices = [
        replace(device, asleep=(device.parent or device.uuid) in sleeping)
        for device in before.devices
    ]
    asleep: set[PoolId | None] = {device.pool for device in devices if device.asleep}
    awake = [p for p in before.pools if p.id not in asleep]
    listed = Tier.PROCESSES in tiers and (by_identity or not awake)
    unsaid = () if by_identity else awake
    return Sample(
        pools=tuple(
            replace(p, free=p.total) if p.id in asleep else p
            for p in before.pools
            if p not in unsaid
        ),
        devices=tuple(devices),
        holders=tuple(h for h in before.holders or () if h.pool not in asleep) if listed else None,
        health={} if Tier.HEALTH in tiers else None,
        blind=tuple(
            Blind(p.id, f"not asked for up to {SETTLE:g} s, so that its GPU can fall asleep")
            for p in unsaid
        ),
    )


def _text(path: Path) -> str:
    """ "" where it cannot be read."""
    try:
        with open(path) as file:
            return file.read()
    except (OSError, ValueError):
        return ""
