"""Who serves behind a program that only passes on what it is sent, as to a container's port."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from pathlib import Path

from .members import Member, member, own_group, server
from .process import HOST, command_of, list_pids, name_of, read_file
from .sockets import Socket, first, holders, listening

# pasta -t [address/]8000[-8010][:80[-90]],...
_PAIR = re.compile(r"(?:[^/]*/)?(\d+)(?:-(\d+))?(?::(\d+)(?:-\d+)?)?")


@dataclass(frozen=True, slots=True)
class Target:
    """Where it is passed on to. Without an address: whoever listens at that port."""

    port: int
    address: IPv4Address | IPv6Address | None = None


def targets(pids: Iterable[int], port: int, root: Path = HOST) -> frozenset[Target]:
    """Where some of these programs pass on what comes to a port, as far as their command lines
    say. Others (rootlessport, gvproxy) are told in another way, and say nothing."""
    found = set()
    for pid in pids:
        name, command = name_of(pid, root), command_of(pid, root)
        if name == "docker-proxy" and (target := _of_docker(command, port)) is not None:
            found.add(target)
        elif name in ("pasta", "pasta.avx2"):
            found |= set(_of_pasta(command, port))
    return frozenset(found)


def behind(passed_on: Iterable[Target], root: Path = HOST) -> int | None:
    """The process that listens at one of these, in another network namespace than ours. None
    where there is none, or there are several such namespaces: it answers, so one alone is it.

    Takes 10 us a process, and some 100 us a namespace.
    """
    passed_on = tuple(passed_on)
    found = []
    for pids in _namespaces(root) if passed_on else ():
        folder = f"{root}/proc/{pids[0]}/net"
        for target in passed_on:
            if sockets := _at(target, folder):
                found.append((pids, target.port, sockets))
                break
    if len(found) != 1:
        return None
    pids, port, sockets = found[0]
    visible = first(holders(pids, sockets, root), root)
    return _of_group(pids, port, sockets, root) if visible is None else visible


def _of_docker(command: tuple[str, ...], port: int) -> Target | None:
    said: dict[str, str] = {}
    for at, word in enumerate(command):
        if word.startswith("-"):
            key, given, value = word.lstrip("-").partition("=")
            said[key] = value if given else (command[at + 1] if at + 1 < len(command) else "")
    try:
        if said.get("proto", "tcp") != "tcp" or int(said["host-port"]) != port:
            return None
        return Target(int(said["container-port"]), ip_address(said["container-ip"]))
    except (KeyError, ValueError):
        return None


def _of_pasta(command: tuple[str, ...], port: int) -> Iterator[Target]:
    for option, value in pairwise(command):
        if option not in ("-t", "--tcp-ports"):
            continue
        for pair in value.split(","):
            if match := _PAIR.fullmatch(pair):
                low, high = int(match[1]), int(match[2] or match[1])
                if low <= port <= high:
                    yield Target(int(match[3] or low) + port - low)


def _namespaces(root: Path) -> list[list[int]]:
    """The processes of each network namespace but ours.

    Which one a process is in may be told to nobody but its user (/proc/PID/ns). But the files
    in /proc/PID/net are the namespace's, and have inodes of their own in each.
    """
    found: dict[int, list[int]] = {}
    for pid in sorted(list_pids(root)):
        if (inode := _inode(f"{root}/proc/{pid}/net/tcp")) is not None:
            found.setdefault(inode, []).append(pid)
    ours = _inode(f"{root}/proc/net/tcp")
    return [pids for inode, pids in found.items() if inode != ours]


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _at(target: Target, folder: str) -> tuple[Socket, ...]:
    """The sockets there by which it would be answered."""
    wanted, sockets = target.address, listening(target.port, folder)
    if wanted is None or not sockets:
        return sockets
    if wanted not in _addresses(folder):
        return ()
    return tuple(s for s in sockets if s.address.is_unspecified or s.address == wanted)


def _addresses(folder: str) -> Iterator[IPv4Address | IPv6Address]:
    """The addresses of a network namespace."""
    address = b""
    for line in _lines(f"{folder}/fib_trie"):
        if line.startswith(b"|-- "):
            address = line.removeprefix(b"|-- ")
        elif line.startswith(b"/32 host LOCAL"):
            yield IPv4Address(address.decode(errors="replace"))
    for line in _lines(f"{folder}/if_inet6"):
        yield IPv6Address(bytes.fromhex(line.split()[0].decode(errors="replace")))


def _lines(path: str) -> list[bytes]:
    try:
        return [line.strip() for line in read_file(path).splitlines() if line.strip()]
    except OSError:
        return []


def _of_group(pids: list[int], port: int, sockets: tuple[Socket, ...], root: Path) -> int | None:
    """Of processes that we may not look into: the server of the one container, or service, that
    has any of the user whose the sockets are."""
    uids = {s.uid for s in sockets}
    groups: dict[str, list[Member]] = {}
    for pid in pids:
        group = own_group(pid, root)
        if group is not None and (found := member(pid, root)) is not None:
            groups.setdefault(group, []).append(found)
    may = [group for group in groups.values() if any(m.uid in uids for m in group)]
    return server(may[0], uids, port, own=True, root=root) if len(may) == 1 else None
