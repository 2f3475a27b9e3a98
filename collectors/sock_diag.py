"""Asks the kernel in which control group a listening socket was made: sock_diag(7).

Anybody may ask, of any user's sockets, of the network namespace that they are in themselves.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from .reading import Seconds

TIMEOUT = Seconds(0.5)  # the kernel answers within the call
MOST = 1000  # parts of an answer; a port that has more sockets than those fill is not looked at

# linux/netlink.h, sock_diag.h, inet_diag.h: part of the kernel's ABI.
_SOCK_DIAG = 4
_BY_FAMILY, _ERROR, _DONE = 20, 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_CGROUP_ID = 21  # since Linux 5.8
_LISTEN = 10
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ASKED = struct.Struct("=BBBBI2s2s32sI8s")  # family, protocol, states, and what socket
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_PORT, _UID = struct.Struct(">H"), struct.Struct("=I")
_MESSAGE = 72  # bytes of an inet_diag_msg; its attributes follow


@dataclass(frozen=True, slots=True)
class Made:
    """Of a socket that listens: whose it is, the number of the control group that it was made in,
    and where it listens. None where the kernel does not tell."""

    uid: int
    group: int | None
    address: IPv4Address | IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One part of it. `last`: nothing comes after."""

    made: tuple[Made, ...] = ()
    last: bool = False


def listeners(port: int) -> tuple[Made, ...]:
    """The sockets that listen at a port here. None where there are none, or that cannot be asked.
    Takes 0.2 ms."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return ()
    found: list[Made] = []
    try:
        with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as line:
            line.settimeout(TIMEOUT)
            for protocol in (socket.AF_INET, socket.AF_INET6):
                line.send(question(protocol, port))
                for answer in _answers(line, port):
                    found += answer.made
    except OSError:
        return ()  # a part alone would hide who else listens
    return tuple(found)


def question(family: int, port: int) -> bytes:
    """All TCP sockets of a family that listen at a port."""
    asked = _ASKED.pack(
        *(family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN),
        *(_PORT.pack(port), bytes(2), bytes(32), 0, b"\xff" * 8),
    )
    return _HEADER.pack(_HEADER.size + len(asked), _BY_FAMILY, _REQUEST | _DUMP, 1, 0) + asked


def parse(data: bytes, port: int) -> Answer:
    """What one datagram of the answer says. Raises OSError where it says that nothing is told."""
    made: list[Made] = []
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        body = data[at + _HEADER.size : at + length]
        if kind == _DONE or length < _HEADER.size:
            return Answer(tuple(made), last=True)
        if kind == _ERROR:
            code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
            raise OSError(code, "the kernel does not tell of sockets")
        if kind == _BY_FAMILY and len(body) >= _MESSAGE:
            (at_port,), (uid,) = _PORT.unpack_from(body, 4), _UID.unpack_from(body, 64)
            if at_port == port:
                made.append(Made(uid, _group(body[_MESSAGE:]), _address(body)))
        at += (length + 3) & ~3
    return Answer(tuple(made))


def _answers(line: socket.socket, port: int) -> Iterator[Answer]:
    for _ in range(MOST):
        answer = parse(line.recv(65536), port)
        yield answer
        if answer.last:
            return
    raise OSError("the answer has no end")


def _address(body: bytes) -> IPv4Address | IPv6Address:
    """Of an inet_diag_msg, which begins with the family."""
    return IPv4Address(body[8:12]) if body[0] == socket.AF_INET else IPv6Address(body[8:24])


def _group(attributes: bytes) -> int | None:
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        value = attributes[at + _ATTRIBUTE.size : at + length]
        if length < _ATTRIBUTE.size:
            return None
        if kind == _CGROUP_ID and len(value) == 8:
            return int(struct.unpack("=Q", value)[0])
        at += (length + 3) & ~3
    return None
