"""A Runner that does as it is told, and what answers inside: for tests of engines of our own."""

import asyncio
from pathlib import Path

import httpx

from supervisor.config.served import Launching
from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines.adapter import Adapter
from supervisor.engines.base import Activity, EngineModel, EngineRefused, Identity
from supervisor.engines.launched import Launched, Phase, Status, Told

A, B = ModelId("alpha"), ModelId("beta")


class Runner:
    """Says what it was told to say, and writes down what it was asked for."""

    def __init__(self):
        self.says = {}
        self.asked = []
        self.refuses = None

    async def version(self):
        return "1"

    async def status(self):
        return self.says

    async def start(self, model, devices):
        self.asked.append(("start", model, tuple(devices)))
        if self.refuses:
            raise EngineRefused("own", f"start {model}", self.refuses)

    async def stop(self, model):
        self.asked.append(("stop", model))
        self.says[model] = Status(Phase.STOPPED)

    async def logs(self, model, lines):
        return ("its last line",)

    async def close(self):
        self.asked.append(("close",))


class Inside(Adapter):
    """What answers at a model's URL."""

    kind, title = "inside", "inside"
    abilities = frozenset({Ability.LIST, Ability.IN_FLIGHT, Ability.SLEEP, Ability.LOAD})

    def __init__(self, id, url):
        self.id, self.url = id, url
        self.lists = (EngineModel(ModelId("inner"), State.LOADED, reported=7, file_size=5),)
        self.known = Identity("9")
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.slept = []

    async def identify(self):
        await self.hangs.wait()
        return self.known

    async def list(self):
        await self.hangs.wait()
        if isinstance(self.lists, Exception):
            raise self.lists
        return self.lists

    async def activity(self, model):
        assert model.id == "inner"
        return Activity(3, "mark")

    async def sleep(self, model, *, deep=False):
        self.slept.append((model, deep))


class Kind(Launched):
    kind, title = "kind", "a kind"


class House:
    def __init__(self, client, **table):
        self.now = 1000.0
        self.insides = []
        served = {"alpha": {}, "beta": {}}
        told = Launching.model_validate({"served": served, **table})
        self.engine = Kind(EngineId("own"), "", client, None, Told(told, self.speak, Path("/x")))
        self.engine.runner = self.runner = Runner()
        self.engine.clock = lambda: self.now

    def speak(self, kind, id, url):
        self.insides.append(Inside(id, url))
        return self.insides[-1]

    def runs(self, run="1", url=None, phase=Phase.RUNNING, **more):
        self.runner.says[A] = Status(phase, run, url, **more)

    async def model(self, id=A):
        return next(m for m in await self.engine.list() if m.id == id)


def tell(story, answer=lambda request: httpx.Response(200), **table):
    async def told():
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            here = House(client, **table)
            try:
                await asyncio.wait_for(story(here), 30)
            finally:
                await here.engine.close()

    asyncio.run(told())


URL = "http://127.0.0.1:1"
INSIDE = {"serves": "inside"}
