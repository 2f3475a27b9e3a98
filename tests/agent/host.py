"""A host of a fleet as a process: the real daemon on a machine made of values, at a Unix socket.

`python -m tests.agent.host NAME FOLDER`: what the machine is like stands in FOLDER/machine.json,
loads that its engine begins are written to the file that is named there.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collectors.reading import RAM, Bytes, PoolId, Seconds, gib
from supervisor import __version__
from supervisor.alerting import Alerting
from supervisor.config.fleet import FleetConfig
from supervisor.core.policy import Amount, ModelPolicy, Policy, PoolPolicy
from supervisor.core.snapshot import EngineId, ModelId
from supervisor.demo.clock import Clock
from supervisor.demo.engines import DemoModel, OllamaLike
from supervisor.demo.machine import GPU0, DemoMachine
from supervisor.demo.serving import configuration
from supervisor.demo.world import assemble_demo
from supervisor.fleet.words import read_part
from supervisor.web.server import Server
from supervisor.web.site import Site


class Recorded(OllamaLike):
    """Writes down when each load begins: one clock for all processes of this machine."""

    log: Path
    host: str

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        if self.models[model].state(self._machine.clock()) is None:
            row = {"at": time.monotonic(), "host": self.host, "model": model}
            with self.log.open("a") as file:
                file.write(json.dumps(row) + "\n")
        await super().load(model, devices)


class Gateway:
    """As much of one as says that requests from elsewhere are taken."""

    def state(self) -> dict[str, Any]:
        return {"addresses": ["somewhere"], "requests": {}, "models": []}

    def facts(self, engines: object) -> tuple[()]:
        return ()

    def advice(self, snapshot: object) -> tuple[()]:
        return ()


async def main(name: str, folder: Path) -> None:
    given = json.loads((folder / "machine.json").read_text())
    clock = Clock(epoch=time.time() - asyncio.get_running_loop().time())
    machine = DemoMachine(clock, {RAM: gib(64), GPU0: gib(given["gib"])})
    models = [
        DemoModel(
            ModelId(m["name"]),
            {PoolId(GPU0): Bytes(int(m["gib"] * 2**30))},
            load=m.get("load", 1.0),
        )
        for m in given["models"]
    ]
    engine = Recorded(EngineId("cellar"), machine, clock.sleep, *models)
    engine.log, engine.host = Path(given["log"]), name
    parts = tuple(read_part(row) for row in given.get("parts", ()))
    policy = Policy(
        pools={GPU0: PoolPolicy(reserve=Amount(size=gib(1)))},
        busy_while_fresh=Seconds(0.0),
        models={p.model: ModelPolicy(part=True, spans=p.leads) for p in parts},
    )
    for loaded in given.get("loaded", ()):
        await engine.load(ModelId(loaded))
    world = assemble_demo(clock, machine, [engine], policy, interval=Seconds(0.2))
    async with world:
        site = Site(
            door=world.door,
            version=__version__,
            started_at=clock(),
            alerting=Alerting(configuration().alerts, world.door),
            gateway=Gateway(),
            fleet=FleetConfig(
                name=name,
                address=given["address"],
                valid=Seconds(given["valid"]),
                spans=parts,
                said=True,
            ),
        )
        server = Server(site, port=0, socket_path=folder / "ullage.sock")
        await server.start()
        print("up", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    os.environ.pop("ULLAGE_URL", None)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
