"""Ports of loopback for children that are told where to listen."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from collectors.reading import Seconds
from supervisor.addresses import connect

LOOPBACK = "127.0.0.1"
PATIENCE = Seconds(0.5)  # loopback answers at once, or not at all


def free_port(besides: frozenset[int] = frozenset()) -> int:
    """One that nobody has now. Somebody else may take it before the child does."""
    with socket.socket() as first, socket.socket() as second:
        first.bind((LOOPBACK, 0))
        port = int(first.getsockname()[1])
        if port not in besides:
            return port
        second.bind((LOOPBACK, 0))  # the first is still held: another one
        return int(second.getsockname()[1])


def is_taken(port: int) -> bool:
    """Does somebody listen there, so that nobody else can?"""
    with socket.socket() as probe:
        # As servers do: what is left of connections that are over takes no port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


async def accepts(host: str, port: int, within: Seconds = PATIENCE) -> bool:
    """Does somebody accept connections there?"""
    try:
        async with asyncio.timeout(within):
            _, writer = await connect(host, port, lambda a: asyncio.open_connection(a, port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
