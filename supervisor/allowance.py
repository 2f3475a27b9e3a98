"""What the system still gives this process, where it limits the memory that a process may have.

Python outlives that a few bytes are refused to it at most places, and not at all of them: where an
exception finds no room to be made, it ends the process. So whatever can be asked again is refused
while there still is some, and a little is kept back for the rest.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import mmap
import threading
from pathlib import Path

from collectors.meminfo import unpromised
from collectors.reading import Seconds

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

log = logging.getLogger("ullage")

EVERY = Seconds(5.0)  # a look, for what takes memory and asks nobody
MIB = 1 << 20
KEPT = 64 * MIB  # bytes that stay free of what can be asked again
SPARE = 32 * MIB  # bytes of address space that are held, and given away when it comes to the last
LAST = 16 * MIB
AGAIN = KEPT + 2 * SPARE  # left; from then on all is as before
STACK = 2 * MIB  # bytes of a thread's; usual are 8 MiB
M_ARENA_MAX = -8  # glibc's name for how many heaps there are
STATM = Path("/proc/self/statm")  # pages: all there is first, what is data as the sixth
MEMINFO = Path("/proc/meminfo")
OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
STRICT = "2"  # no more is promised than there is
# By resource's names: as people set them, and which word of statm is held against it.
LIMITS = {"RLIMIT_AS": ("LimitAS, ulimit -v", 0), "RLIMIT_DATA": ("LimitDATA, ulimit -d", 5)}


class Allowance:
    """What is left of it. With no limit it says so, and does nothing else."""

    def __init__(
        self, statm: Path = STATM, meminfo: Path = MEMINFO, overcommit: Path = OVERCOMMIT
    ) -> None:
        self._statm, self._meminfo, self._overcommit = statm, meminfo, overcommit
        self._strict = False
        with contextlib.suppress(OSError):
            self._strict = overcommit.read_text().strip() == STRICT
        self._spare: mmap.mmap | None = None
        self._lacks = 0  # bytes that were to be left; 0: nothing was refused

    def why(self) -> str | None:
        """Why memory may be refused to this process, in words; None: it is not, as is usual."""
        for most, name, _ in _limits():
            return f"this process may have {most // MIB} MiB and no more ({name})"
        if self._strict:
            told = f"{self._overcommit} is {STRICT}"
            return f"the system promises no more memory than it has ({told})"
        return None

    def left(self) -> int | None:
        """Bytes that are left by the tightest limit; None: there is none, or nobody can tell."""
        limits = _limits()
        if not limits and not self._strict:
            return None
        try:
            left = []
            if limits:
                taken = self._statm.read_bytes().split()
                left = [most - int(taken[at]) * mmap.PAGESIZE for most, _, at in limits]
            if self._strict:
                left.append(unpromised(self._meminfo.read_bytes()))
        except (OSError, ValueError, LookupError):
            return None
        return min(left)

    def admits(self, size: int) -> bool:
        """Whether there is room for `size` bytes that somebody could as well send later."""
        left = self.look()
        if left is None or left >= KEPT + size:
            return True
        self._tell(left, KEPT + size)
        return False

    def look(self) -> int | None:
        """What is left. It is said in the log when that becomes little; the spare piece is given
        away when it comes to the last, and taken again when there is enough."""
        left = self.left()
        if left is None or left >= AGAIN:
            if self._lacks and (left is None or left >= self._lacks):
                self._lacks = 0
                log.info("there is memory enough again: large bodies are taken")
            if left is not None and self._spare is None and hasattr(mmap, "MAP_PRIVATE"):
                with contextlib.suppress(OSError, MemoryError):
                    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
                    self._spare = mmap.mmap(-1, SPARE, flags=flags)
            return left
        if left < LAST:
            self.spend()
        if left < KEPT:
            self._tell(left, KEPT)
        return left

    def _tell(self, left: int, wanted: int) -> None:
        """Once, until there is as much as was wanted the last time."""
        first, self._lacks = not self._lacks, wanted
        if first:
            words = "%d MiB of memory are left (%s): large bodies are refused until there is more"
            log.warning(words, left // MIB, self.why())

    async def watch(self) -> None:
        """The look, as a job."""
        self.look()

    def spend(self) -> None:
        """It has come to the last: the spare piece goes."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()


def share() -> None:
    """From now on threads have small stacks, and one heap between them. Each would reserve 8 MiB
    and 64 MiB of addresses otherwise, of which it uses next to nothing. Other C libraries than
    glibc have no such heaps."""
    threading.stack_size(STACK)
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _limits() -> list[tuple[int, str, int]]:
    """Each as bytes, how people call it, and its word of statm."""
    if resource is None:
        return []
    found = []
    for key, (name, at) in LIMITS.items():
        most, _ = resource.getrlimit(getattr(resource, key))
        if most != resource.RLIM_INFINITY:
            found.append((most, name, at))
    return found
