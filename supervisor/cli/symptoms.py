"""Reads what `ullage doctor` judges: the machine, its processes and sockets, clocks, files.

Each reader gives None where it may not look. `root` is "/", or a tree that looks like it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from collectors import meminfo, nvidia_pci
from collectors.listener import listener
from collectors.machine import HERE, Machine, find, fold
from collectors.owner import Owner, read_all
from collectors.process import list_commands
from collectors.reading import RAM, Bytes, DeviceKind, Seconds, Tier
from collectors.rights import FIRST_PIDS
from supervisor.core.policy import ACCELERATOR_RESERVE, HOST_RESERVE

from .checkup import Engine, File
from .killers import killers

LISTENING = "0A"  # a socket's state, as /proc/net/tcp has it
TIME_ERROR = 5  # what adjtimex answers while nobody keeps the clock

_SECRET = re.compile(r"^\s*(?:token|key)\s*=", re.MULTILINE)
_CONTAINER = re.compile(r"docker|libpod|containerd|crio|kubepods|lxc")


def machine(root: Path = HERE) -> Machine:
    """All that the collectors say, once. Takes up to some seconds."""
    owners = [Owner(collector) for collector in find(root)]
    try:
        return fold(read_all(owners, Tier.ALL))
    finally:
        for owner in owners:
            owner.close()


def of_machine(found: Machine) -> dict[str, Any]:
    """What the collectors say, as far as it is a fact for the doctor."""
    gpus = tuple(d.name for d in found.devices if d.kind is DeviceKind.GPU)
    return {
        "gpus": gpus,
        "notes": found.notes,
        "faults": {**found.faults, **{str(b.pool): b.why for b in found.blind}},
        "holders": holders_of(found),
    }


def holders_of(found: Machine) -> frozenset[int] | None:
    """Pids that drivers name, of memory that is not RAM."""
    if found.holders is None:
        return None
    accelerators = {d.pool for d in found.devices if d.kind is DeviceKind.GPU}
    return frozenset(h.pid for h in found.holders if h.pool in accelerators)


def pools(found: Machine) -> Iterator[tuple[str, str, Bytes, Bytes]]:
    """Each pool: its id, what a person calls it, its size and its usual reserve, in bytes."""
    for pool in found.pools:
        gpus = [d.name for d in found.devices if d.pool == pool.id and d.kind is DeviceKind.GPU]
        amount = HOST_RESERVE if pool.id == RAM else ACCELERATOR_RESERVE
        name = " + ".join(gpus) or ("RAM" if pool.id == RAM else str(pool.id))
        yield str(pool.id), name, pool.total, amount.of(pool.total)


def of_host(root: Path = HERE, port: int | None = None) -> dict[str, Any]:
    """What the kernel says. `port`: where the daemon listens, if one does."""
    commands = list_commands(root)
    memory = _memory(root)
    return {
        "cards": cards(root),
        "pids": pids(root),
        "own_pids": own_pids(root),
        "container": container(root),
        "hidden": hidden(root),
        "listening": tuple(listening(root)) or None,
        "killers": killers(commands, root) if commands else None,
        "ram": None if memory is None else memory.total,
        "swap": None if memory is None else memory.swap_total,
        "overcommit": _number(root / "proc/sys/vm/overcommit_memory"),
        "files": files(root, None if port is None else listener(port, root)),
        **(clocks() if root == HERE else {}),
    }


def traced(engines: Iterable[Engine], root: Path = HERE) -> Iterator[Engine]:
    """With whether their processes can be told from here, where the kernel says that anybody
    listens at their ports."""
    ports = {port for _, port in listening(root)}
    for engine in engines:
        known = None if engine.port not in ports else listener(engine.port, root) is not None
        yield replace(engine, traced=known)


def pids(root: Path) -> frozenset[int] | None:
    try:
        return frozenset(int(n) for n in os.listdir(root / "proc") if n.isdecimal()) or None
    except OSError:
        return None


def own_pids(root: Path) -> bool | None:
    """Is this another PID namespace than the first?"""
    try:
        return os.readlink(root / "proc/self/ns/pid") != FIRST_PIDS
    except OSError:
        return None


def container(root: Path) -> str | None:
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return "container"
    text = _text(root / "proc/1/cgroup") or ""
    return "container" if _CONTAINER.search(text) else None


def hidden(root: Path) -> bool | None:
    """Are other users' processes hidden from us? Not from root."""
    text = _text(root / "proc/self/mounts")
    if text is None:
        return None
    options = [w[3] for w in map(str.split, text.splitlines()) if len(w) > 3 and w[1] == "/proc"]
    hides = any(re.search(r"\bhidepid=(?!0|off)", option) for option in options)
    return hides and os.geteuid() != 0


def cards(root: Path) -> int | None:
    """NVIDIA's graphics cards on the PCI bus, with a driver or without."""
    return len(nvidia_pci.gpus(root)) if (root / nvidia_pci.DEVICES).is_dir() else None


def listening(root: Path) -> Iterator[tuple[str, int]]:
    """Address and port of every TCP socket that listens."""
    for name in ("tcp", "tcp6"):
        for line in (_text(root / "proc/net" / name) or "").splitlines()[1:]:
            words = line.split()
            if len(words) > 3 and words[3] == LISTENING:
                address, _, port = words[1].partition(":")
                try:
                    yield _address(address), int(port, 16)
                except ValueError:
                    continue


def _address(text: str) -> str:
    """As the kernel writes it: words of four bytes, each in the order of this machine."""
    raw = bytes.fromhex(text)
    parts = [raw[i : i + 4] for i in range(0, len(raw), 4)]
    whole = b"".join(p[::-1] if sys.byteorder == "little" else p for p in parts)
    found = ipaddress.ip_address(whole)
    return str(getattr(found, "ipv4_mapped", None) or found)


def files(root: Path, pid: int | None) -> int | None:
    """Descriptors that the daemon may have; without one, what it could have if started here."""
    text = _text(root / f"proc/{'self' if pid is None else pid}/limits") or ""
    found = re.search(r"^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)", text, re.MULTILINE)
    if found is None:
        return None
    said = found[2 if pid is None else 1]  # a daemon takes as many as it is let
    return None if said == "unlimited" else int(said)


def clocks() -> dict[str, Any]:
    asleep = None
    if hasattr(time, "CLOCK_BOOTTIME"):
        both = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        asleep = Seconds(max(0.0, both))
    return {"asleep": asleep, "synced": synced()}


def synced() -> bool | None:
    """Does a time server keep this machine's clock? As the kernel was told."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != TIME_ERROR


def file(path: str | os.PathLike[str], *, secret: bool = False) -> File | None:
    try:
        return File(str(path), os.stat(path).st_mode, secret)
    except OSError:
        return None


def of_folder(path: Path) -> dict[str, Any]:
    """The state directory; where there is none yet, what it would be made in. Of one that others
    may not look into nothing is told: so systemd keeps that of a service with a user of its own."""
    found: dict[str, Any] = {"state": None, "writable": None, "disk": None}
    try:
        there = next((p for p in (path, *path.parents) if _is_there(p)), path)
        found["disk"] = Bytes(shutil.disk_usage(there).free)
        if there == path:
            found["state"] = file(path)
        else:
            found["state"] = File(str(path), 0o700)
    except OSError:
        return found
    # Root may write anywhere, but for what is mounted read-only; others judge for themselves alone.
    mine = os.geteuid() in (0, os.stat(there).st_uid) or there != path
    found["writable"] = os.access(there, os.W_OK) if mine else None
    return found


def _is_there(path: Path) -> bool:
    """Raises OSError where that is not for us to know."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _memory(root: Path) -> meminfo.Meminfo | None:
    try:
        return meminfo.parse((root / "proc/meminfo").read_bytes())
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = (_text(path) or "").strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def config_file(path: str) -> File | None:
    """Of the configuration. A token or a key that stands in it, and in no file of its own, makes it
    a secret; of one that may not be read that is not known."""
    text = _text(Path(path)) or ""
    return file(path, secret=_SECRET.search(text) is not None)
