"""A fleet as the gateway of one host has it: an agent that answers as it is told to, and other
hosts' gateways, all made of values."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from supervisor.config.fleet import FleetConfig
from supervisor.demo.engines import DemoModel
from supervisor.engines.base import EngineModel
from supervisor.gateway.upstream import Link, Origin, far
from tests.gateway.desk import Desk, Spoken, desk
from tests.gateway.wires import FakeTransport

TOKEN = "fleet-token"
FLEET = FleetConfig(
    name="a", gateway=True, tokens=(TOKEN,), socket=Path("/nowhere/fleet.sock"), said=True
)
AGENT = Origin("localhost", 0, unix="/nowhere/fleet.sock")


def address(host: str) -> str:
    return f"http://{host}.lan:8553"


class Agent:
    """It has one connection at a time, and what it is asked there is kept until it is looked at."""

    def __init__(self, at: Desk) -> None:
        self._at = at
        self.opens()

    def opens(self) -> None:
        self.line, self.wire = self._at.engine(AGENT)

    def asked(self) -> list[Any]:
        """What it was asked since the last look: a body, or the path where there was none."""
        found = []
        for part in self.wire.taken().split(b"\r\n\r\n"):
            if part.startswith(b"GET "):
                found.append(part.split()[1].decode())
            elif part.startswith(b"{"):
                body, _, _ = part.partition(b"}")
                found.append(json.loads(body + b"}"))
        return found

    def says(self, status: int, /, **row: Any) -> None:
        body = json.dumps(row).encode()
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.line.data_received(head % (status, len(body)) + body)

    def places(self, host: str, model: str = "one/far", **row: Any) -> None:
        self.says(200, host=host, address=address(host), model=model, ready=True, **row)

    def hangs_up(self) -> None:
        self.wire.close()


class Single(Spoken):
    """It works on one request at a time, and says so."""

    async def list(self) -> tuple[EngineModel, ...]:
        found = await super().list()
        return tuple(replace(m, setup=replace(m.setup, slots=1)) for m in found)


class Town:
    def __init__(self, at: Desk) -> None:
        self.at = at
        self.agent = Agent(at)

    def host(self, name: str) -> tuple[Link, FakeTransport]:
        """A connection to another host's gateway, which the next request there takes."""
        return self.at.engine(far(address(name)))


@asynccontextmanager
async def fleet(
    models: Sequence[DemoModel] | None = None, own: FleetConfig = FLEET, **config: Any
) -> AsyncIterator[Town]:
    """Host "a" with its models "a" and "b", which asks its agent."""
    async with desk(models, fleet=own, **config) as at:
        yield Town(at)


def seen(*hosts: tuple[str, Sequence[dict[str, Any]]], own: str = "a") -> dict[str, Any]:
    """What `GET /fleet` answers: hosts with their models."""
    return {
        "self": own,
        "backend": "single",
        "connected": True,
        "trouble": [],
        "directory": {
            "at": 1.0,
            "hosts": [
                {
                    "word": {
                        "host": name, "epoch": "1", "number": 1, "version": "1", "wall": 1.0,
                        "address": address(name), "spaces": [], "models": list(models),
                        "rests": None,
                    },
                    "heard": 1.0,
                    "presence": "here",
                }
                for name, models in hosts
            ],
            "promises": [],
        },
    }  # fmt: skip


def housed(name: str, engine: str = "one", **told: Any) -> dict[str, Any]:
    return {
        "name": name, "engine": engine, "status": "local", "ready": False, "size": None,
        "in_flight": 0, "waiting": 0, "slots": None, **told,
    }  # fmt: skip


def other(**told: Any) -> FleetConfig:
    return replace(FLEET, **told)
