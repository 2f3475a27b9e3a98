"""Accounts of this machine: whose program it is that connects to a Unix socket."""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final

from collectors.reading import Seconds

from .aside import Aside

PEER = "ullage.peer"  # where the scope of a request has whose it is
GROUP: Final = "ullage"  # whose members run Ullage, where there is such a group
PEERGROUPS = 59  # SO_PEERGROUPS of Linux 4.13, which Python has no name for
GROUPS_AT_MOST = 1024  # bytes that Python lets one ask for: 256 groups
LOCAL_PEERCRED, XUCRED = 1, 76  # of macOS and the BSDs: the option, and the bytes of its answer
UNKNOWN = 65534  # an account of another namespace, as the kernel shows it to us

NAMING = Seconds(0.5)  # a directory service may hang: a name is not worth more
NAMES = 1024  # that are remembered
LONGEST = 64  # characters of a name


class SocketMode(Enum):
    """Whom the file of a Unix socket lets in."""

    OWNER = "0600"
    GROUP = "0660"
    EVERYBODY = "0666"

    @property
    def bits(self) -> int:
        return int(self.value, 8)


@dataclass(frozen=True, slots=True)
class Peer:
    """Whose the program at the other end was when it connected."""

    uid: int
    groups: frozenset[int] = frozenset()


def peer_of(sock: Any) -> Peer | None:
    """Of a connection, at our end of it; `sock` is a socket, or what an event loop has in its
    place. None: it is no Unix socket, or this system does not tell."""
    if sock is None or sock.family != getattr(socket, "AF_UNIX", None):
        return None
    try:
        return _linux(sock) if sys.platform == "linux" else _bsd(sock)
    except (OSError, struct.error):
        return None


def _linux(sock: Any) -> Peer:
    form = struct.Struct("=iII")
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size)
    _, uid, gid = form.unpack(found)
    try:
        more = sock.getsockopt(socket.SOL_SOCKET, PEERGROUPS, GROUPS_AT_MOST)
    except OSError:  # an older kernel, or more groups than may be asked for
        more = b""
    return Peer(uid, frozenset({gid, *(g for (g,) in struct.iter_unpack("=I", more))}))


def _bsd(sock: Any) -> Peer:
    """struct xucred: a version, the account, how many groups, and 16 places for them."""
    found = sock.getsockopt(0, LOCAL_PEERCRED, XUCRED)
    _, uid, many = struct.unpack_from("=IIh", found)
    return Peer(uid, frozenset(struct.unpack_from(f"={min(many, 16)}I", found, 12)))


def group_id(name: str) -> int | None:
    """None: there is no such group."""
    try:
        import grp

        return grp.getgrnam(name).gr_gid
    except (ImportError, KeyError):
        return None


class Accounts:
    """Names of accounts, for people. They are looked up beside the loop."""

    def __init__(self) -> None:
        self._aside = Aside("names of accounts")
        self._names: dict[int, str | None] = {}

    async def learn(self, uid: int) -> None:
        """So that `called` knows it. Returns without where that takes too long."""
        if uid in self._names:
            return
        try:
            name = await self._aside.call(partial(_name, uid), NAMING)
        except TimeoutError:
            return
        if len(self._names) >= NAMES:
            self._names.clear()
        self._names[uid] = name

    def called(self, uid: int) -> str:
        """As "uid:1000(name)", or without the name where there is none."""
        name = self._names.get(uid)
        return f"uid:{uid}" if name is None else f"uid:{uid}({name})"


def _name(uid: int) -> str | None:
    try:
        import pwd

        name = pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError, OSError):
        return None
    return name if name.isprintable() and 0 < len(name) <= LONGEST else None


def own(uid: int) -> bool:
    """Is it root, or the account that we run as? What the kernel cannot name is neither."""
    return uid == 0 or (uid == os.geteuid() and uid != UNKNOWN)
