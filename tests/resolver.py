"""A resolver made of values: names lead where a test says, and it is told who was looked up."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
import uvloop


class Resolver:
    """`led` has each name's addresses, and may change at any time. Nobody else is asked."""

    def __init__(self, patch: pytest.MonkeyPatch, **led: list[str]) -> None:
        self.led = led
        self.names: list[str] = []  # as they were looked up

        async def look_up(loop: Any, host: str, port: int, **_: Any) -> list[Any]:
            return self._told(host, port)

        for kind in (asyncio.base_events.BaseEventLoop, uvloop.Loop):
            patch.setattr(kind, "getaddrinfo", look_up)

    def _told(self, host: str, port: int) -> list[Any]:
        self.names.append(host)
        if not (found := self.led.get(host.lower())):
            raise socket.gaierror(-2, "Name or service not known")
        return [_entry(address, port) for address in found]


def _entry(address: str, port: int) -> Any:
    if ipaddress.ip_address(address).version == 4:
        return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
    return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
