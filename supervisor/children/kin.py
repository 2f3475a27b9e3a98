"""Which processes belong to a child: its session, its descendants, and those that carry its mark.

A process that leaves the session and whose parent has ended is known by its mark alone, which
every descendant inherits in its environment. Start times are whole numbers in the system's own
unit: with them a pid is one process and no later one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from collectors.process import read_file

LONGEST = 4 * 1024**2  # bytes of variables: the kernel passes on no more than a few MiB
MARK = "ULLAGE_CHILD"
LINUX = sys.platform == "linux"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ENDED = (b"Z", b"X", b"x")


@dataclass(frozen=True, slots=True)
class Kin:
    """A line of the process table. `session` None: the system does not tell."""

    started: int
    parent: int
    session: int | None = None


Table = Mapping[int, Kin]


def boot() -> str:
    """Names this run of the machine. Elsewhere than on Linux a start time is unique by itself."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return "one"


def birth(pid: int) -> int | None:
    """When a process started, be it alive or not yet waited for. None: there is none."""
    if not LINUX:
        try:
            return _milliseconds(psutil.Process(pid).create_time())
        except psutil.Error:
            return None
    found = _stat(pid)
    return None if found is None else found[1].started


def runs(pid: int, started: int) -> bool:
    """Does the process that started then still run? One that was only not waited for does not."""
    if not LINUX:
        return (found := dict(_by_psutil()).get(pid)) is not None and found.started == started
    at = _stat(pid)
    return at is not None and at[0] and at[1].started == started


def table() -> Table:
    """Every process that runs, by pid. What has ended and was not waited for is left out."""
    if not LINUX:
        return dict(_by_psutil())
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    found = ((pid, _stat(pid)) for pid in pids)
    return {pid: at[1] for pid, at in found if at is not None and at[0]}


def mark_of(pid: int) -> str | None:
    """The mark that a process was started with. None: none, or another user's process."""
    try:
        if LINUX:
            said = b"\0" + read_file(f"/proc/{pid}/environ", LONGEST)
            _, mark, after = said.partition(f"\0{MARK}=".encode())
            return after.partition(b"\0")[0].decode(errors="replace") if mark else None
        return psutil.Process(pid).environ().get(MARK)
    except (OSError, psutil.Error):
        return None


def members(
    mark: str,
    root: tuple[int, int] | None,
    known: Mapping[int, int],
    running: Table,
    since: int = 0,
) -> dict[int, int]:
    """The processes of one child, as pid → start. None of them is older than `since`.

    `root` is its first process, as (pid, start), while that number is certainly its own: it
    runs, or was not waited for. `known` are those that were found before.
    """
    found = {p: k.started for p, k in running.items() if known.get(p) == k.started}
    if root is not None:
        pid, started = root
        found |= {
            p: k.started
            for p, k in running.items()
            if k.started >= started and (k.session == pid or (p, k.started) == root)
        }
    rest = [p for p, k in running.items() if p not in found and k.started >= since]
    found |= {p: running[p].started for p in rest if mark_of(p) == mark}
    return _with_descendants(found, running)


def marked(start: str, running: Table) -> dict[str, dict[int, int]]:
    """Every process whose mark begins with `start`, by its mark, as pid → start."""
    found: dict[str, dict[int, int]] = {}
    for pid, kin in running.items():
        mark = mark_of(pid)
        if mark is not None and mark.startswith(start):
            found.setdefault(mark, {})[pid] = kin.started
    return found


def _with_descendants(found: dict[int, int], running: Table) -> dict[int, int]:
    children: dict[int, list[int]] = {}
    for pid, kin in running.items():
        children.setdefault(kin.parent, []).append(pid)
    last = [p for p in found if p in running]
    while last:
        parent = last.pop()
        for pid in children.get(parent, ()):
            # A child is never older than its parent: else the parent's pid is another's now.
            if pid not in found and running[pid].started >= running[parent].started:
                found[pid] = running[pid].started
                last.append(pid)
    own = os.getpid()
    return {p: s for p, s in found.items() if p not in (0, 1, own)}


def _stat(pid: int) -> tuple[bool, Kin] | None:
    """Whether it runs. One whose first thread has ended does as long as another hangs in a driver:
    it has its memory and its devices still."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except OSError:
        return None
    # The name stands in parentheses, and may hold some itself.
    fields = data[data.rfind(b")") + 2 :].split()
    try:
        runs = fields[0] not in _ENDED or int(fields[17]) > 1
        return runs, Kin(int(fields[19]), int(fields[1]), int(fields[3]))
    except (ValueError, IndexError):
        return None


def _by_psutil() -> list[tuple[int, Kin]]:
    rows = []
    for process in psutil.process_iter(["ppid", "create_time", "status"]):
        told = process.info
        if told["create_time"] is not None and told["status"] != psutil.STATUS_ZOMBIE:
            kin = Kin(_milliseconds(told["create_time"]), told["ppid"] or 0, _session(process.pid))
            rows.append((process.pid, kin))
    return rows


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
