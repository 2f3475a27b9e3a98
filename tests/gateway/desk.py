"""The whole gateway on a demo machine by a stepped clock; connections are made of values."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from supervisor.config.fleet import FleetConfig
from supervisor.config.gated import GatewayConfig
from supervisor.core.snapshot import ModelId
from supervisor.demo.engines import DemoModel
from supervisor.engines.serves import OLLAMA, TEXT, Serves, at
from supervisor.gateway.build import assemble
from supervisor.gateway.client import Client
from supervisor.gateway.server import Gateway
from supervisor.gateway.upstream import Link, Origin
from tests.gateway.wires import ENGINE, FakeTransport
from tests.scenarios.gate import Gate, Watched, gate, models


class Spoken(Watched):
    """It speaks all that clients do."""

    kind = "ollama"
    title = "Demo"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.url = "http://127.0.0.1:1"

    def serves(self, model: ModelId) -> Serves:
        return at("/v1", TEXT + " messages") | at("/api", OLLAMA)

    def address(self, model: ModelId) -> str:
        return self.url


class Deaf(Spoken):
    def serves(self, model: ModelId) -> Serves:
        return at("/v1", TEXT)


class Guest:
    """One connection of a client."""

    def __init__(self, desk: Desk) -> None:
        self.client: Client = desk.gateway.clients()
        self.wire = FakeTransport(self.client)

    def says(self, data: bytes) -> None:
        self.client.data_received(data)

    def heard(self) -> bytes:
        return self.wire.taken()

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers, and the body as JSON, of one whole answer."""
        head, _, body = self.heard().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(first.split()[1]), headers, json.loads(body) if body else None

    async def hangs_up(self) -> None:
        self.wire.close()


class Desk:
    def __init__(self, town: Gate, gateway: Gateway) -> None:
        self.town, self.gateway = town, gateway
        self.gate = gateway.gate
        self.links: list[tuple[Link, FakeTransport]] = []

    def guest(self) -> Guest:
        return Guest(self)

    def asks(self, path: str = "/v1/chat/completions", *lines: str, **body: Any) -> Guest:
        guest = self.guest()
        guest.says(post(path, body, *lines))
        return guest

    def engine(self, origin: Origin = ENGINE) -> tuple[Link, FakeTransport]:
        """A connection that the next request to an engine takes."""
        line = Link(self.gate.links, self.gate.links.idle.setdefault(origin, []))
        wire = FakeTransport(line)
        self.gate.links.give(line)
        line.since = float("inf")  # it may be idle for as long as a story takes
        self.links.append((line, wire))
        return line, wire

    @property
    def in_flight(self) -> Mapping[Any, int]:
        return self.gate.loop.traffic.flying


def post(path: str, body: Mapping[str, Any], *lines: str) -> bytes:
    content = json.dumps(body).encode()
    head = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *lines, f"Content-Length: {len(content)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", "")).encode()


@asynccontextmanager
async def desk(
    first: Sequence[DemoModel] | None = None,
    second: Sequence[DemoModel] = (),
    kinds: tuple[type[Watched], type[Watched]] = (Spoken, Spoken),
    fleet: FleetConfig | None = None,
    **config: Any,
) -> AsyncIterator[Desk]:
    """Models "a" and "b" of an engine "one", unless told otherwise. In the end nothing is under
    way."""
    async with gate(models("ab") if first is None else first, second, kinds=kinds) as town:
        await town.admission.close()
        wall = lambda: 1.8e9 + town.clock()  # noqa: E731
        own = replace(GatewayConfig(), **config)
        gateway = assemble(own, (), town.world.loop, town.clock, wall, fleet)
        town.admission = gateway.gate.admission
        found = Desk(town, gateway)
        yield found
        for client in list(gateway.clients.open):
            client.transport.abort()
        await town.clock.advance(1.0)
        assert gateway.clients.held == 0
        assert not gateway.gate.under_way
        assert not gateway.gate.links.users
        gateway.gate.links.close()
        gateway.clients.abort()
