"""Memory limits that the kernel sets on groups of processes: cgroup v2 and v1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import CollectorError
from .kept import Kept
from .reading import Bytes

# v1 says "no limit" as the largest multiple of the page size below 2^63, and page sizes differ.
UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit on this process. `room` is what is left under it, in bytes, never negative."""

    limit: Bytes
    room: Bytes
    file: str  # as the process sees it: /sys/fs/cgroup/a/memory.max


@dataclass(frozen=True, slots=True)
class _Version:
    mount: str
    limits: tuple[str, ...]
    usage: str
    inactive: bytes  # key in memory.stat: file pages that nobody would miss


_V2 = _Version(
    mount="sys/fs/cgroup",
    # Above memory.high the group crawls, above memory.max it is killed: both are the end of room.
    limits=("memory.max", "memory.high"),
    usage="memory.current",
    inactive=b"inactive_file",
)
_V1 = _Version(
    mount="sys/fs/cgroup/memory",
    limits=("memory.limit_in_bytes",),
    usage="memory.usage_in_bytes",
    inactive=b"total_inactive_file",
)


class Groups:
    """The control groups of this process, from its own up to the topmost one visible.

    Which there are is found out once; their limits and what is left of them are read each time.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._groups: tuple[_Group, ...] | None = None

    def look_again(self) -> None:
        """Find out at the next read which groups there are: we may have been moved, or limited."""
        self._groups = None

    def limits(self) -> list[Limit]:
        """Every memory limit on this process.

        Raises CollectorError where a limit is set and what it is used for cannot be read.
        """
        if self._groups is None:
            self._groups = tuple(
                _Group(self._root, folder, version)
                for version, path in _memberships(self._root)
                for folder in _ancestors(self._root / version.mount, path)
            )
        return [limit for group in self._groups for limit in group.limits()]


def parse_membership(text: str) -> list[tuple[bool, str]]:
    """/proc/self/cgroup → (is v2, path) of the hierarchies that can limit memory."""
    found = []
    for line in text.split("\n"):  # at nothing else: any other sign may be in a group's name
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path.startswith("/") and (
            "memory" in controllers.split(",") or (number == "0" and not controllers)
        ):
            found.append((not controllers, path))
    return found


def parse_limit(text: str) -> Bytes | None:
    """A limit file's content, in bytes. None: no limit, or not a number."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) >= UNLIMITED:
        return None
    return Bytes(int(text))


def parse_stat(data: bytes, key: bytes) -> Bytes | None:
    """One value of memory.stat, in bytes. The order of the keys is not fixed."""
    at = (b"\n" + data).find(b"\n%s " % key)
    if at < 0:
        return None
    value = data[at + len(key) + 1 :].partition(b"\n")[0]
    return Bytes(int(value)) if value.isdigit() and len(value) < 20 else None


def _memberships(root: Path) -> Iterator[tuple[_Version, str]]:
    try:
        text = (root / "proc/self/cgroup").read_text()
    except OSError:
        return  # no cgroups: not Linux, or a kernel without them
    for is_v2, path in parse_membership(text):
        yield (_V2 if is_v2 else _V1), path


def _ancestors(mount: Path, path: str) -> Iterator[Path]:
    """Our own group and all above it, as far as the mount shows them.

    In a container the path may be the host's while the mount shows only a part of the tree,
    so leading parts that do not exist under the mount are dropped.
    """
    parts = [p for p in path.split("/") if p not in ("", ".", "..")]
    while parts and not mount.joinpath(*parts).is_dir():
        del parts[0]
    for depth in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:depth])


class _Group:
    """One group's files, through descriptors that are kept."""

    def __init__(self, root: Path, folder: Path, version: _Version) -> None:
        present = (folder / name for name in version.limits if (folder / name).is_file())
        # The topmost group has no limits.
        self._limits = [(Kept(p), "/" + p.relative_to(root).as_posix()) for p in present]
        self._used = Kept(folder / version.usage)
        self._stat = Kept(folder / "memory.stat")
        self._inactive = version.inactive

    def limits(self) -> Iterator[Limit]:
        working: int | None = None
        for file, name in self._limits:
            try:
                limit = parse_limit(file.read().decode(errors="replace"))
            except OSError:
                continue
            if limit is None:
                continue
            if working is None:
                working = self._working_set()
            yield Limit(limit, Bytes(max(0, limit - working)), name)

    def _working_set(self) -> int:
        """What the group needs: all that is charged to it, less file pages not in use."""
        try:
            used = int(self._used.read())
        except (OSError, ValueError) as error:
            raise CollectorError(f"{self._used.path}: {error}") from error
        try:
            idle = parse_stat(self._stat.read(), self._inactive)
        except OSError:
            idle = None
        return max(0, used - (idle or 0))  # without it less room is seen than there is: safe
