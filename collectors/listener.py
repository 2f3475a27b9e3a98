"""Which process serves at a TCP port of this machine, also where we may not look into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from . import sock_diag
from .members import FORWARDERS, members, own_part, path_of, server
from .process import HOST, cgroup_of, list_pids, name_of
from .published import behind, targets
from .sock_diag import Made
from .sockets import Socket, answering, first, holders, listening

Ask = Callable[[int], Iterable[Made]]


def listener(port: int, root: Path = HOST, ask: Ask | None = None) -> int | None:
    """The process that listens on this TCP port of this machine, or that passes for it: what the
    listener descends from, in its service or container.

    Looked for by the descriptors of all processes, which for others' takes rights that we may
    not have; then by the control group of the socket. Whoever only passes on what it is sent is
    followed to the container behind. Who is asked on loopback counts, not who has the same port at
    another address. None where it is not clear. Takes some milliseconds. `ask` is who tells of a
    port's sockets, of this machine the kernel.
    """
    sockets = answering(listening(port, f"{root}/proc/net"))
    if not sockets:
        return None
    holding = _seen(sockets, root)
    found = first(holding, root)
    if found is None:
        if ask is None:
            ask = sock_diag.listeners if root == HOST else _nobody
        return _of_group(port, answering(ask(port)), root)
    if name_of(found, root) not in FORWARDERS:
        return found
    passed_on = targets(holding, port, root) or targets(_beside(found, root), port, root)
    return behind(passed_on, root)


def holder(port: int, root: Path = HOST) -> int | None:
    """The same as far as it is seen, and not inferred: the process that has the socket open. None
    also for who only passes on what it is sent: whoever serves behind it may be anybody's."""
    found = first(_seen(answering(listening(port, f"{root}/proc/net")), root), root)
    return None if found is None or name_of(found, root) in FORWARDERS else found


def _seen(sockets: tuple[Socket, ...], root: Path) -> frozenset[int]:
    """Who has them open, as far as we may look."""
    holding = holders(list_pids(root), sockets, root)
    if 1 in holding and name_of(1, root) == "systemd":
        holding -= {1}  # it opened the socket, and gave it to a service at its first request
    return holding


def _of_group(port: int, made: tuple[Made, ...], root: Path) -> int | None:
    """By the one control group in which all of a port's sockets were made."""
    groups = {m.group for m in made}
    number = groups.pop() if len(groups) == 1 else None
    path = None if number is None else path_of(number, root)
    if path is None:
        return None
    own = own_part(path)
    found = members(own or path, root, below=own is not None)
    if passed_on := targets((m.pid for m in found), port, root):
        return behind(passed_on, root)
    pid = server(found, {m.uid for m in made}, port, own=own is not None, root=root)
    return None if pid is None or name_of(pid, root) in FORWARDERS else pid


def _beside(pid: int, root: Path) -> list[int]:
    """The processes of its control group: the listener may leave the passing on to another."""
    group = cgroup_of(pid, root)
    return [p for p in list_pids(root) if group is not None and cgroup_of(p, root) == group]


def _nobody(port: int) -> tuple[Made, ...]:
    return ()
