"""The processes of one service or container, by its control group, and the first of them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .process import HOST, command_of, name_of, read_file

# Where the hierarchy of v2 is: alone, or beside those of v1.
_MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
# A group by such a name holds one service or one container. Of a user's manager, which is a
# service too, all that the user started is below.
_OWN = re.compile(r"(?!user@).+\.service|.*[0-9a-f]{64}.*")
_PORT = re.compile(r"-.*port|-p")
_STATUS = re.compile(rb"\n(PPid|Uid|NSpid):\s+([0-9\t ]+)")

# Programs that listen for others, and hold no model themselves. Names as the kernel cuts them.
FORWARDERS = frozenset(
    ("docker-proxy", "gvproxy", "pasta", "pasta.avx2", "rootlesskit", "rootlessport", "slirp4netns")
) | {"dockerd", "socat", "ssh", "sshd", "sshd-session"}

# Programs that have others start what serves, which does not descend from them.
CONTAINER_CLIENTS = frozenset(("docker", "docker-compose", "kubectl", "nerdctl", "podman"))

# Programs that start others for a person, and serve nothing themselves; as the kernel cuts names.
SHELLS = frozenset(
    ("bash", "dash", "fish", "ksh", "login", "nu", "sh", "su", "sudo", "tcsh", "csh", "zsh")
) | {"screen", "tmux: server", "tmux: client", "systemd", "(sd-pam)"}


@dataclass(frozen=True, slots=True)
class Member:
    """A process. `is_init`: it is the first one of a PID namespace below ours."""

    pid: int
    parent: int
    uid: int
    is_init: bool


def member(pid: int, root: Path = HOST) -> Member | None:
    try:
        text = read_file(f"{root}/proc/{pid}/status")
    except OSError:
        return None
    lines = {key: value.split() for key, value in _STATUS.findall(text)}
    try:
        inside = lines.get(b"NSpid", [])
        return Member(
            pid=pid,
            parent=int(lines[b"PPid"][0]),
            uid=int(lines[b"Uid"][1]),  # what it may do counts, not who started it
            is_init=len(inside) > 1 and inside[-1] == b"1",
        )
    except (KeyError, IndexError):
        return None


def path_of(number: int, root: Path = HOST) -> str | None:
    """A control group of v2 by its number, as /a/b. None where it is not, or not shown to us.

    A walk through all of them, some 40 us each: to open one by its number takes a capability.
    """
    mount = _mount(root)
    open_ = [] if mount is None else [(mount, "")]
    while open_:
        folder, path = open_.pop()
        try:
            with os.scandir(folder) as entries:
                below = [e for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        for entry in below:
            if entry.inode() == number:
                return f"{path}/{entry.name}"
            open_.append((Path(entry.path), f"{path}/{entry.name}"))
    return None


def own_part(path: str) -> str | None:
    """The innermost part of a control group's path that is one service's or container's own."""
    parts = path.split("/")
    ends = range(len(parts), 1, -1)
    return next(("/".join(parts[:end]) for end in ends if _OWN.fullmatch(parts[end - 1])), None)


def own_group(pid: int, root: Path = HOST) -> str | None:
    """The service or container that a process is in, as the path of its control group. Of v1 there
    are several, and a service may be in some of them alone."""
    try:
        text = read_file(f"{root}/proc/{pid}/cgroup").decode(errors="replace")
    except OSError:
        return None
    # Numbered downwards: the last line is of v2, the one before of systemd itself.
    paths = (line.split(":", 2)[-1] for line in reversed(text.rstrip("\n").split("\n")))
    return next((own for path in paths if (own := own_part(path)) is not None), None)


def members(path: str, root: Path = HOST, *, below: bool) -> tuple[Member, ...]:
    """The processes of a control group of v2, and with `below` of all groups in it."""
    mount = _mount(root)
    if mount is None:
        return ()
    top = mount / path.strip("/")
    folders = (Path(folder) for folder, _, _ in os.walk(top)) if below else iter((top,))
    found = (member(pid, root) for folder in folders for pid in _pids(folder))
    return tuple(m for m in found if m is not None)


def server(
    group: Iterable[Member], uids: Collection[int], port: int, *, own: bool, root: Path = HOST
) -> int | None:
    """The process of a control group that listens at a port, or that it descends from.

    `uids` are those whose the socket is; `own`: the group is one service's or container's. None
    where that is not clear: of a session or a terminal, one program alone may be running there.
    """
    group = tuple(group)
    ours = [m for m in group if m.uid in uids]
    names = {m.pid: name_of(m.pid, root) for m in ours}
    serving = [m for m in ours if names[m.pid] not in FORWARDERS]
    told = [m for m in serving if says(port, command_of(m.pid, root))]
    if len(tops := _tops(told)) == 1:
        return tops.pop()
    if not own:
        if len(serving) < len(ours):
            return None  # it may as well be whoever passes on
        serving = [m for m in serving if names[m.pid] not in SHELLS]
        return tops.pop() if len(tops := _tops(serving)) == 1 else None
    for some in (ours, group):
        if len(tops := _tops(some)) == 1:
            return tops.pop()
    # Whoever was started in a container from outside has no parent in there either.
    inits = [m.pid for m in group if m.is_init]
    return inits[0] if len(inits) == 1 else None


def says(port: int, command: Sequence[str]) -> bool:
    """Was it told to listen there, by the usual option? --port 8000, --port=8000, -p 8000."""
    if any(re.fullmatch(rf"-.*port={port}", word) for word in command):
        return True
    pairs = pairwise(command)
    return any(value == str(port) and _PORT.fullmatch(option) for option, value in pairs)


def _tops(some: Iterable[Member]) -> set[int]:
    """Those of them that all others of them descend from, in a line without a gap."""
    parents = {m.pid: m.parent for m in some}
    return {_top(pid, parents) for pid in parents}


def _top(pid: int, parents: Mapping[int, int]) -> int:
    seen = {pid}
    while (parent := parents[pid]) in parents and parent not in seen:
        seen.add(parent)  # pids are read one by one: two may seem to be each other's parent
        pid = parent
    return pid


def _pids(folder: Path) -> Iterator[int]:
    try:
        words = read_file(f"{folder}/cgroup.procs").split()
    except OSError:
        return iter(())
    return (int(word) for word in words if word.isdigit() and word != b"0")  # 0: not shown to us


def _mount(root: Path) -> Path | None:
    return next((root / m for m in _MOUNTS if (root / m / "cgroup.procs").exists()), None)
