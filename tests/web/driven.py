"""A daemon over a machine of values, behind a real socket, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from collectors.reading import Seconds, gib
from supervisor.config.config import load
from supervisor.core.snapshot import Resident
from supervisor.doctor import Advice
from supervisor.door import Door
from supervisor.events import Tick
from supervisor.overrides import Overrides
from supervisor.reloading import Reloading
from supervisor.web.server import Server, Site
from tests.builders import ref
from tests.configs import KINDS

from .fakes import GPU, NOW, World, gateway, site
from .sleepers import SleepyWorld

T = TypeVar("T")

LONGEST = 20.0  # seconds that anything may take here
WORK = ("o-", "wish", "decision", "wait for")  # names of tasks that may change something yet


@dataclass
class Driven:
    """`url` is where it listens. `again` has the machine, and all claims, as they were at first:
    one lease and one reservation, which `ids` has by these words."""

    world: World
    url: str = ""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    site: Site | None = None
    residents: list[Resident] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    session: Any = None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(LONGEST)

    def claims(self) -> dict[str, Any]:
        """All that a call could change: what is claimed, set, decided and loaded."""
        return self.do(self._claims())

    async def _claims(self) -> dict[str, Any]:
        assert self.site is not None
        loop = self.site.loop
        shelves = loop.journal.shelves
        kept = ("pins", "leases", "reservations", "retention", "farewells", "overrides")
        told: dict[str, Any] = {n: shelves[n].all() for n in (*kept, "paused", "drained")}
        told["decisions"] = [d["id"] for d in loop.journal.decisions(1000)]
        told["residents"] = list(self.world.residents)
        told["policy"] = loop.policy
        told["released"] = self.world.sources.released
        return told

    def again(self) -> None:
        self.do(self._again())

    async def _again(self) -> None:
        assert self.site is not None
        assert self.site.overrides is not None
        while under_way := [t for t in asyncio.all_tasks() if t.get_name().startswith(WORK)]:
            await asyncio.wait(under_way, timeout=LONGEST)
        loop, own = self.site.loop, self.site.overrides
        keeping = loop.keeping
        for pin in keeping.pins.names:
            keeping.pins.drop(pin)
        for lease in keeping.leases.all:
            keeping.leases.close(lease.id)
        for job in keeping.reserved.all:
            keeping.reserved.close(job.id)
        for scope in keeping.retentions.all:
            keeping.retentions.drop(scope)
        keeping.farewells.cancel(keeping.farewells.all, "as at first")
        keeping.pausing.end_pause()
        for engine in list(keeping.pausing.drained):
            keeping.pausing.end_drain(engine)
        for key in own.texts:
            await own.unset(key)
        self.world.residents = list(self.residents)
        self.world.sources.released = None
        lease = keeping.leases.open(ref("gemma"), "tests", Seconds(300))
        job = keeping.reserved.ask("tests", GPU, gib(0.5), Seconds(300), ())
        keeping.reserved.grant(job.id)
        self.ids = {"LEASE": lease.id, "RESERVATION": job.id}
        self.site.door.claims_changed()
        await self._look()

    async def _look(self) -> None:
        assert self.site is not None
        seen = asyncio.create_task(self.site.loop.changed())
        await asyncio.sleep(0)
        self.site.loop.post(Tick(NOW))
        await seen


class _Door(Door):
    """The engines here have no habits to ask for."""

    async def advice(self) -> tuple[Advice, ...]:
        return ()


@contextmanager
def driven(world: World | None = None) -> Iterator[Driven]:
    """It has seen its machine once, and looks again only where it is told to."""
    made = Driven(world or SleepyWorld())
    made.residents = list(made.world.residents)
    up, stop = threading.Event(), asyncio.Event()
    failed: list[BaseException] = []

    async def serve() -> None:
        base = site(made.world)
        base = replace(base, door=_Door(base.loop, sleep=base.door.sleep))
        config = load(None, {}, {}, kinds=KINDS, places=[])
        own = Overrides(config, base.loop, base.loop.journal.shelves["overrides"])
        made.site = replace(base, overrides=own, reloading=Reloading(own), gateway=gateway())
        base.loop.journal.open()
        with pytest.MonkeyPatch.context() as patch:  # operations are called o-run-000001, ...
            patch.setattr("supervisor.web.background.token_hex", lambda size: "run")
            server = Server(made.site, port=0)
        task = asyncio.create_task(base.loop.run())
        await made._look()
        await server.start()
        made.url = f"http://127.0.0.1:{server.port}"
        up.set()
        await stop.wait()
        await server.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        base.loop.journal.close()

    def run() -> None:
        asyncio.set_event_loop(made.loop)
        try:
            made.loop.run_until_complete(serve())
        except BaseException as error:
            failed.append(error)
            up.set()
        finally:
            made.loop.run_until_complete(made.loop.shutdown_default_executor())
            made.loop.close()

    thread = threading.Thread(target=run, name="driven daemon")
    thread.start()
    try:
        assert up.wait(LONGEST)
        assert not failed, failed
        yield made
    finally:
        if not failed:
            made.loop.call_soon_threadsafe(stop.set)
        thread.join(LONGEST)
