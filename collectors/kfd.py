"""AMD's compute driver, KFD: which node is which card, and the VRAM its processes asked for.

Its sdma files are left alone: to answer, the driver schedules work on the GPU.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import drm
from .reading import Bytes

_KFD = "sys/class/kfd/kfd"


@dataclass(frozen=True, slots=True)
class Node:
    """One GPU of the topology. `render` is its device's name, as in drm.Card."""

    gpu: int  # the number that names its files
    render: str
    cores: int  # CPU cores on the same node: the first APUs are one node with their CPU


def nodes(root: Path) -> list[Node]:
    """The GPUs that can compute. Empty without the driver."""
    folder = root / _KFD / "topology/nodes"
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = (_node(folder / name) for name in names)
    return [node for node in found if node is not None]


def held(root: Path, gpu: int) -> dict[int, Bytes]:
    """Bytes of VRAM that each compute process asked for on a GPU, by pid."""
    folder = root / _KFD / "proc"
    try:
        pids = sorted(int(name) for name in os.listdir(folder) if name.isdecimal())
    except OSError:
        return {}
    told = ((pid, drm.size(drm.attribute(folder / f"{pid}/vram_{gpu}") or "")) for pid in pids)
    return {pid: size for pid, size in told if size is not None}


def _node(path: Path) -> Node | None:
    gpu = drm.number(path / "gpu_id")
    if not gpu:
        return None  # a CPU
    lines = (line.split() for line in (drm.attribute(path / "properties") or "").splitlines())
    told = {
        words[0]: words[1]
        for words in lines
        if len(words) == 2 and words[1].isdecimal() and len(words[1]) <= 20
    }
    render = f"renderD{told.get('drm_render_minor', 0)}"
    return Node(gpu, render, int(told.get("cpu_cores_count", 0)))
