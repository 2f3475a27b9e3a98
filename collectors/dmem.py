"""Device memory by control group: the kernel's own count, for amdgpu and xe since Linux 6.14.

A group's number takes one small file, no permission, and counts nothing twice. What is in no
group below the root is not counted, nor is RAM that a card has borrowed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from . import drm
from .reading import Bytes

MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")  # the second beside version 1

_LINE = re.compile(r"drm/(\S+)/([^/\s]+)[ \t]+([0-9]{1,20})[ \t]*", re.ASCII)

Region = tuple[str, str]  # PCI address, and the region as the driver names it


def capacity(root: Path) -> dict[Region, Bytes]:
    """Bytes that each region has in all. Empty where the kernel does not count them."""
    mount = _mount(root)
    return {} if mount is None else parse(drm.attribute(mount / "dmem.capacity") or "")


def current(root: Path) -> dict[Region, Bytes]:
    """Bytes in use of each region, summed over the top-level groups. Empty: nobody counts."""
    mount = _mount(root)
    if mount is None:
        return {}
    total: Counter[Region] = Counter()
    try:
        with os.scandir(mount) as entries:
            groups = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return {}
    for group in groups:
        total.update(_in(group))
    return {region: Bytes(held) for region, held in total.items()}


def of_group(root: Path, group: str) -> dict[Region, Bytes]:
    """Bytes in use by one group and those below it. `group` as in /proc/PID/cgroup: "/a/b"."""
    mount = _mount(root)
    return {} if mount is None else dict(_in(f"{mount}/{group.strip('/')}"))


def parse(text: str) -> dict[Region, Bytes]:
    """Lines as "drm/0000:03:00.0/vram0 8514437120". Any other line is passed over."""
    matches = (_LINE.fullmatch(line) for line in text.splitlines())
    return {(m[1], m[2]): Bytes(int(m[3])) for m in matches if m is not None}


def _in(group: str) -> Mapping[Region, Bytes]:
    return parse(drm.attribute(f"{group}/dmem.current") or "")


def _mount(root: Path) -> Path | None:
    mounts = (root / mount for mount in MOUNTS)
    return next((mount for mount in mounts if (mount / "dmem.capacity").exists()), None)
