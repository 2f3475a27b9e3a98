"""Who calls the driver: a thread of the daemon, or a child process? What each costs, and what is
left of the daemon when a call hangs so that no signal reaches it.

Such a hang cannot be had on purpose without a broken driver. The freezer of cgroup v1 is as good:
what it has frozen does not take a signal, SIGKILL included. It needs root and a writable
/sys/fs/cgroup/freezer; elsewhere those rows say so.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from collectors.apart import Apart
from collectors.owner import Owner
from collectors.reading import (
    Collector,
    Device,
    Health,
    Holder,
    MemoryPool,
    PoolId,
    PoolKind,
    Sample,
    Seconds,
    Tier,
    gib,
)

GPUS, HOLDERS = 8, 50
RUNS = 2000
FREEZER = Path("/sys/fs/cgroup/freezer")
PATIENCE = 2.0  # seconds for a process to end that was killed; one that can takes some 10 ms

UUIDS = [PoolId(f"GPU-{i:08x}-1111-2222-3333-444444444444") for i in range(GPUS)]


class EightGpus:
    """Answers at once, with as much as eight full GPUs have to tell."""

    name = "eight"
    deadline = Seconds(2.0)

    def __init__(self, root: Path = Path("/")) -> None:
        self.memory = Sample(
            pools=tuple(MemoryPool(u, PoolKind.DEDICATED, gib(80), gib(9), gib(1)) for u in UUIDS),
            devices=tuple(
                Device(
                    u, u, "NVIDIA H100 80GB HBM3", i, "nvidia", "580.82.07", f"0000:{i:02x}:00.0"
                )
                for i, u in enumerate(UUIDS)
            ),
        )
        holders = [(1000 * i + j, u) for i, u in enumerate(UUIDS) for j in range(HOLDERS)]
        health = Health(0.5, 0.3, 61.0, 70.0, 312.5, 700.0, 1e6, 1.9e9, 2.6e9, (), 0, 0, 5, 16)
        self.all = Sample(
            pools=self.memory.pools,
            devices=self.memory.devices,
            holders=tuple(Holder(pid, u, gib(1), f"engine-{pid}") for pid, u in holders),
            health=dict.fromkeys(UUIDS, health),
        )

    def read(self, tiers: Tier) -> Sample:
        return self.all if Tier.PROCESSES in tiers else self.memory


def cost(collector: Collector, tiers: Tier, child: Apart | None) -> tuple[float, float, float]:
    """Microseconds a sample, through an owner: CPU of this process, CPU of the child, and wall."""
    owner = Owner(collector)
    owner.ask(Tier.ALL).result()
    pid = None if child is None or child.pid is None else psutil.Process(child.pid)
    before = pid.cpu_times() if pid else None
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(RUNS):
        assert owner.ask(tiers).result().sample is not None
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    there = 0.0
    if pid is not None and before is not None:
        after = pid.cpu_times()
        there = after.user + after.system - before.user - before.system
    owner.close()
    if child is not None:
        child.close()
    return cpu / RUNS * 1e6, there / RUNS * 1e6, wall / RUNS * 1e6


def costs() -> list[tuple[str, str, str]]:
    found = []
    for what, tiers in (("memory", Tier.MEMORY), (f"all, {HOLDERS} holders each", Tier.ALL)):
        apart = Apart("eight", "benchmarks.owning:EightGpus")
        ours, beside = cost(apart, tiers, apart), cost(EightGpus(), tiers, None)
        head = f"a sample of {GPUS} GPUs, {what}"
        found += [
            (f"{head}: CPU of the daemon", f"{ours[0]:.0f} us", f"{beside[0]:.0f} us"),
            (f"{head}: CPU of the child", f"{ours[1]:.0f} us", ""),
            (f"{head}: until it is there", f"{ours[2]:.0f} us", f"{beside[2]:.0f} us"),
        ]
    return found + presence()


def presence() -> list[tuple[str, str, str]]:
    """What the child costs by being there: with the NVIDIA binding, without a driver's library."""
    apart = Apart("nvidia", "collectors.nvidia:NvidiaCollector")
    started = time.perf_counter()
    apart.read(Tier.MEMORY)
    first = time.perf_counter() - started
    assert apart.pid is not None
    memory = psutil.Process(apart.pid).memory_full_info()
    started = time.perf_counter()
    apart.close()
    last = time.perf_counter() - started
    size = f"{memory.rss / 2**20:.0f} MiB, of it {memory.uss / 2**20:.0f} MiB its own"
    return [
        ("a child with the NVIDIA binding: resident memory", size, ""),
        (
            "a child with the NVIDIA binding: from start to first answer",
            f"{first * 1000:.0f} ms",
            "",
        ),
        ("a child with the NVIDIA binding: to close it", f"{last * 1000:.1f} ms", ""),
    ]


# -- a hang that nothing ends

DAEMON = """
import fcntl, socket, sys, threading
from benchmarks.owning import EightGpus
from collectors.apart import Apart
from collectors.reading import Tier
port = socket.create_server(("127.0.0.1", 0))
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
if sys.argv[2] == "thread":
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    hangs = thread.native_id
else:
    apart = Apart("eight", "benchmarks.owning:EightGpus")
    apart.read(Tier.MEMORY)
    hangs = apart.pid
print(port.getsockname()[1], hangs, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def freezer() -> Iterator[Path]:
    """A group that freezes what is put into it; thawed and removed at the end, come what may."""
    group = FREEZER / f"ullage-benchmark-{os.getpid()}"
    group.mkdir()
    # Where this process is itself killed, the pipe's end is seen by somebody who is not.
    thaw = 'read -r _; echo THAWED > "$0/freezer.state"; sleep 1; rmdir "$0"'
    guard = subprocess.Popen(
        ["sh", "-c", thaw, str(group)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        (group / "freezer.state").write_text("FROZEN")
        yield group
    finally:
        (group / "freezer.state").write_text("THAWED")
        until = time.monotonic() + 10
        while (group / "tasks").read_text() and time.monotonic() < until:
            time.sleep(0.01)
        guard.communicate()
        if group.exists():
            group.rmdir()


def hang(how: str) -> dict[str, bool]:
    """Kill a daemon of which a thread, or the child, hangs. What came free within PATIENCE?"""
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-c", DAEMON, file.name, how]
        pipe = subprocess.PIPE
        daemon = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert daemon.stdin is not None
        assert daemon.stdout is not None
        try:
            port, task = map(int, daemon.stdout.readline().split())
            with freezer() as group:
                (group / "tasks").write_text(str(task))
                while "FREEZING" in (group / "freezer.state").read_text():
                    time.sleep(0.01)
                daemon.kill()
                ended = True
                try:
                    daemon.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    ended = False
                return {
                    "ends": ended,
                    "port free": can_bind(port),
                    "lock free": can_lock(file.name),
                }
        finally:
            daemon.kill()
            daemon.wait(10)
            daemon.stdin.close()
            daemon.stdout.close()


def can_bind(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):  # with SO_REUSEADDR, as a daemon has it
            return True
    except OSError:
        return False


def can_lock(path: str) -> bool:
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def told(found: dict[str, bool]) -> str:
    return ", ".join(what if true else f"not {what}" for what, true in found.items())


def hangs() -> list[tuple[str, str, str]]:
    what = "killed while a call hangs that takes no signal"
    if not os.access(FREEZER, os.W_OK):
        return [(what, "not measured: needs root and the freezer of cgroup v1", "")]
    return [(what, told(hang("process")), told(hang("thread")))]


def rows() -> list[tuple[str, str, str]]:
    """Rows of (what, a child process, a thread in the same run)."""
    return costs() + hangs()


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ")
