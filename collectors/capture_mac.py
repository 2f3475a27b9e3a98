"""What a capture has of a Mac: the texts from which apple_texts.Recorded shows it again.

Of what commands print only the lines that are read are kept: ioreg tells serial numbers too.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import apple_texts as texts
from .darwin import Darwin, System

HERE = Path("/")
FOLDER = "macos"

# What the lines begin with that are kept of each command.
KEPT = {
    texts.SYSCTL: texts.SYSCTL[1:],
    texts.VM_STAT: ("",),
    texts.GPU_STATISTICS: ('"PerformanceStatistics"', '"model"', '"gpu-core-count"'),
    texts.GPU_USERS: ('"IOUserClientCreator"',),
}


def files(root: Path) -> dict[str, str]:
    """The files of `macos/` and their texts: of this Mac, or of the one on record below another
    root. Empty where there is none."""
    if root == HERE:
        return printed(Darwin(), texts.run) if sys.platform == "darwin" else {}
    recorded = texts.Recorded(root)
    return printed(recorded, recorded.run)


def printed(system: System, run: texts.Run) -> dict[str, str]:
    """As `files`. What fails has no file, as in every capture."""
    found = {name: _kept(run, argv) for argv, name in texts.FILES.items()}
    size = system.working_set()
    if size is not None:
        found["metal.txt"] = f"recommendedMaxWorkingSetSize: {size}\n"
    found["processes.txt"] = "".join(f"{line}\n" for line in _processes(system))
    return {name: text for name, text in found.items() if text}


def _kept(run: texts.Run, argv: Sequence[str]) -> str:
    try:
        lines = run(argv).splitlines()
    except (OSError, subprocess.SubprocessError):
        return ""
    return "".join(f"{line}\n" for line in lines if line.lstrip().startswith(KEPT[tuple(argv)]))


def _processes(system: System) -> Iterator[str]:
    """Lines as texts.parse_processes reads them. A name may have anything in it."""
    for entry in system.processes() or ():
        size = system.footprint(entry.pid) if entry.pid else None  # 0 is the kernel
        name = "".join(c if c.isprintable() else "?" for c in entry.name).strip() or "?"
        yield f"{entry.pid} {entry.parent} {'-' if size is None else size} {name}"
