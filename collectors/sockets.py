"""TCP sockets that listen, by /proc, and which processes have them open."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol, TypeVar

from .process import HOST, parse_status, read_file

_LISTEN = b"0A"  # of the states in /proc/net/tcp

# Who answers at 127.0.0.1, as which the engines of a machine are asked: whoever has that very
# address before who has all of them, as the kernel chooses. The address of IPv6 comes last.
_ANSWER = (
    frozenset(map(ip_address, ("127.0.0.1", "::ffff:127.0.0.1"))),
    frozenset((ip_address("0.0.0.0"), None)),
    frozenset(map(ip_address, ("::", "::ffff:0.0.0.0"))),
    frozenset((ip_address("::1"),)),
)


@dataclass(frozen=True, slots=True)
class Socket:
    """One that listens. `link` is what a descriptor of it looks like, `uid` whose it is."""

    address: IPv4Address | IPv6Address
    uid: int
    link: str


def listening(port: int, folder: str) -> tuple[Socket, ...]:
    """Those of the network namespace that `folder` (/proc/net, /proc/PID/net) shows, at a port."""
    found = []
    ending = b":%04X" % port
    for file in ("tcp", "tcp6"):
        try:
            lines = read_file(f"{folder}/{file}").splitlines()[1:]
        except OSError:
            continue
        for words in (line.split() for line in lines if ending in line):
            if len(words) > 9 and words[1].endswith(ending) and words[3] == _LISTEN:
                try:
                    address = _address(words[1].partition(b":")[0])
                    found.append(Socket(address, int(words[7]), f"socket:[{int(words[9])}]"))
                except ValueError:
                    continue
    return tuple(found)


class Bound(Protocol):
    """A socket at an address. None: nobody says which."""

    @property
    def address(self) -> IPv4Address | IPv6Address | None: ...


B = TypeVar("B", bound=Bound)


def answering(sockets: Iterable[B]) -> tuple[B, ...]:
    """Of those at one port, who answers on this machine itself. Where nobody would, all of them."""
    found = tuple(sockets)
    ranked = (tuple(s for s in found if s.address in addresses) for addresses in _ANSWER)
    return next(filter(None, ranked), found)


def holders(pids: Iterable[int], sockets: Iterable[Socket], root: Path = HOST) -> frozenset[int]:
    """Who of them has any of these sockets open, as far as we may look into them."""
    links = frozenset(s.link for s in sockets)
    return frozenset(pid for pid in pids if _has_open(pid, links, root)) if links else frozenset()


def first(holding: Iterable[int], root: Path = HOST) -> int | None:
    """The server. Workers have the socket from whoever started them."""
    pids = frozenset(holding)
    return min((pid for pid in pids if _parent(pid, root) not in pids), default=None)


def _address(digits: bytes) -> IPv4Address | IPv6Address:
    """As the kernel prints it: words of 32 bits, each in the machine's own order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    if len(digits) == 8:
        return IPv4Address(struct.pack("=I", *words))
    if len(digits) == 32:
        return IPv6Address(struct.pack("=4I", *words))
    raise ValueError(f"{digits!r} is no address")


def _has_open(pid: int, links: frozenset[str], root: Path) -> bool:
    return any(link in links for link in _open(f"{root}/proc/{pid}/fd"))


def _open(folder: str) -> Iterator[str]:
    try:
        numbers = os.listdir(folder)
    except OSError:
        return
    for number in numbers:
        try:
            yield os.readlink(f"{folder}/{number}")
        except OSError:
            continue  # closed meanwhile


def _parent(pid: int, root: Path) -> int | None:
    try:
        return parse_status(read_file(f"{root}/proc/{pid}/status")).parent
    except OSError:
        return None
