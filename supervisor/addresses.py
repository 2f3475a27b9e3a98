"""Which addresses are never called, looked at where a connection is made.

A name leads where its zone's owner likes, and elsewhere a moment later. So each connection looks
its name up once, and is made to an address that was looked at: nothing is asked a second time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from typing import TypeVar

from .hosts import CONTAINERS

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
T = TypeVar("T")

# Where clouds answer with credentials to anybody on the machine who asks, and all that is
# link-local with it.
_NEVER = [ipaddress.ip_network(n) for n in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128")]
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64: the last four bytes are whom it calls

# Where Podman without root has its containers find the machine: link-local, and no metadata.
_OF_PODMAN = "169.254.1.2"

SOON = 0.5  # seconds for one of several addresses, but for the last: the world is 0.4 s wide


class NeverCalled(OSError):
    """A name that leads to nobody who may be called."""


def address_of(text: str) -> Address | None:
    """None: a name. One of IPv4 that is written in IPv6 is itself."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_never_called(address: Address) -> bool:
    """Also where it would only be carried there: by 6to4, Teredo or NAT64."""
    return any(
        one in net for one in _led_to(address) for net in _NEVER if net.version == one.version
    )


def _led_to(address: Address) -> Iterator[Address]:
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    inside = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
    yield from (one for one in inside if one is not None)
    if address in _TRANSLATED:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


async def places(host: str, port: int) -> tuple[str, ...]:
    """The addresses of `host` that may be called; never none. `localhost` has those of this
    machine alone. Raises NeverCalled; OSError where nobody knows the name."""
    if _may_be_called(host):
        return (host,)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    told = dict.fromkeys(str(entry[4][0]) for entry in found)
    name = host.lower()
    good = tuple(
        a
        for a in told
        if _is_good(a, here=name == "localhost") or (a == _OF_PODMAN and name in CONTAINERS)
    )
    if not good:
        raise NeverCalled(f"{host} leads to {', '.join(told) or 'nowhere'}: {_WHY}")
    return good


_WHY = "link-local and metadata addresses are never called, nor others by the name localhost"


@lru_cache(maxsize=512)
def _may_be_called(host: str) -> bool:
    """True: it is an address, and may be. False: it is a name. Raises NeverCalled."""
    if (address := address_of(host)) is None:
        return False
    if is_never_called(address):
        raise NeverCalled(f"{host}: {_WHY}")
    return True


def _is_good(text: str, *, here: bool) -> bool:
    address = address_of(text)
    return address is not None and not is_never_called(address) and address.is_loopback >= here


async def connect(host: str, port: int, connecting: Callable[[str], Awaitable[T]]) -> T:
    """What `connecting` gives for the first address of `host` that answers. Raises NeverCalled,
    OSError where nobody knows the name, and what `connecting` raises for the last."""
    *others, last = await places(host, port)
    for address in others:
        try:
            async with asyncio.timeout(SOON):
                return await connecting(address)
        except Exception:  # each transport has errors of its own
            continue
    return await connecting(last)
