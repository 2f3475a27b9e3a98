"""What the kernel lets this process see of others, and of a GPU's use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import drm

# Bits of a capability set, and names of the first namespaces: both part of the kernel's ABI.
DAC_OVERRIDE, DAC_READ_SEARCH, SYS_PTRACE, SYS_ADMIN, PERFMON = 1, 2, 19, 21, 38
FIRST_USERS, FIRST_PIDS = "user:[4026531837]", "pid:[4026531836]"

_EFFECTIVE = re.compile(r"^CapEff:\s*([0-9a-fA-F]{1,16})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rights:
    """`sees_all`: every process of the machine, and what it has open. `may_measure`: how much of
    a GPU is in use; to anyone else some drivers say "nothing"."""

    sees_all: bool
    may_measure: bool


def rights(root: Path) -> Rights:
    """Those of this process. Capabilities that are good inside a container only do not count."""
    own = root / "proc/self"
    match = _EFFECTIVE.search(drm.attribute(own / "status") or "")
    held = int(match[1], 16) if match and _name(own / "ns/user") == FIRST_USERS else 0

    def has(*bits: int) -> bool:
        return any(held >> bit & 1 for bit in bits)

    return Rights(
        # To list what another user's process has open takes the second, to read of it the first.
        sees_all=has(SYS_PTRACE)
        and has(DAC_OVERRIDE, DAC_READ_SEARCH)
        and _name(own / "ns/pid") == FIRST_PIDS,
        may_measure=has(PERFMON, SYS_ADMIN),
    )


def _name(link: Path) -> str | None:
    try:
        return link.readlink().name
    except OSError:
        return None
