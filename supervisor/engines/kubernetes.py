"""Models that are Deployments: their scale is set to some replicas, and to none.

Nothing is done when the API server has answered: controllers and nodes follow in their own time.
What is unloaded is gone when its last pod is, for a terminating pod holds its memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from collectors.reading import Seconds
from supervisor.aside import Aside
from supervisor.config.served import Served
from supervisor.core.snapshot import EngineId, ModelId

from . import pods, wire
from .base import Checked, EngineDown, EngineRefused, Habit
from .cluster import Cluster
from .launched import Launched, Phase, Status, Told

if TYPE_CHECKING:
    from lightkube import AsyncClient

STEP = Seconds(0.5)  # between two looks at pods that terminate
MARGIN = Seconds(30.0)  # beyond the time that they are given, for nodes to say that they ended
SEARCH = Seconds(1.0)


class Kubernetes(Launched):
    kind: ClassVar[str] = "kubernetes"
    title: ClassVar[str] = "a Kubernetes Deployment"
    checked: ClassVar[Checked] = Checked.REAL
    runner: Deployments

    def _begin(self, key: str | None, options: Any) -> None:
        super()._begin(key, options)
        self.runner = Deployments(self.id, self.told, self._served)

    async def habits(self) -> tuple[Habit, ...]:
        return await self.runner.habits()


class Deployments:
    """The Deployments of one engine: a Runner."""

    def __init__(
        self,
        engine: EngineId,
        told: Told,
        served: Mapping[ModelId, Served],
        search: Callable[[tuple[str, ...]], int | None] = pods.on_this_machine,
    ) -> None:
        self._engine, self._served, self._search = engine, served, search
        self._names = {model: one.deployment or model for model, one in served.items()}
        self._cluster = Cluster(engine, told.table.kubeconfig)
        self._aside = Aside("find pods")
        self._pids: dict[ModelId, tuple[tuple[str, ...], int | None]] = {}  # of which containers
        self._empty: set[ModelId] = set()  # they want no pods, and were seen to have none
        self.clock: Callable[[], float] = time.monotonic
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def version(self) -> str:
        await self.status()
        return f"Kubernetes at {self._cluster.server}"

    async def status(self) -> Mapping[ModelId, Status]:
        looks = await asyncio.gather(*(self._status(model) for model in self._names))
        return dict(zip(self._names, looks, strict=True))

    async def start(self, model: ModelId, devices: Sequence[str]) -> None:
        """Where its pods run is the scheduler's to say: `devices` cannot be passed on."""
        await self._scale(model, self._served[model].replicas or 1)

    async def stop(self, model: ModelId) -> None:
        call = f"stop {self._names[model]}"
        try:
            found = await self._deployment(model)
        except EngineRefused as no:
            if no.status == 404:
                return
            raise
        if found.wanted:
            await self._scale(model, 0)
        left = await self._pods(model, found)
        deadline = self.clock() + max((p.grace for p in left), default=0) + MARGIN
        while left:
            if self.clock() >= deadline:
                names = ", ".join(p.name for p in left)
                raise EngineDown(self._engine, call, f"still there: {names}")
            await self.sleep(STEP)
            if (now := await self._deployment(model)).wanted:
                why = f"something scaled it back to {now.wanted}"
                raise EngineRefused(self._engine, call, why)
            left = await self._pods(model, found)

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        found = await self._deployment(model)
        there = sorted(await self._pods(model, found), key=lambda p: (p.leaving, p.run))
        if not there:
            return ()
        name = there[0].name

        async def read(client: AsyncClient) -> tuple[str, ...]:
            namespace = self._served[model].namespace
            read = client.log(name, namespace=namespace, tail_lines=lines)
            return tuple([line.rstrip("\n") async for line in read][-lines:])

        return await self._cluster.ask(f"logs of {name}", read)

    async def close(self) -> None:
        await self._cluster.close()

    async def habits(self) -> tuple[Habit, ...]:
        found: list[Habit] = []
        for model, name in self._names.items():
            keepers = (await self._deployment(model)).keepers
            ask = partial(self._scalers, model)
            scalers = await self._cluster.ask(f"list what scales {name}", ask)
            found += [Habit(what, remedy, model) for what, remedy in (*keepers, *scalers)]
        return tuple(found)

    # -- what a Deployment is doing

    async def _status(self, model: ModelId) -> Status:
        name = self._names[model]
        try:
            found = await self._deployment(model)
        except EngineRefused as no:
            if no.status == 404:
                return Status(Phase.STOPPED, trouble=f"there is no Deployment {name}")
            raise
        if found.wanted:
            self._empty.discard(model)
        elif model in self._empty:
            return Status(Phase.STOPPED)
        there = await self._pods(model, found)
        if not found.wanted and not there:
            self._empty.add(model)
        return pods.status(name, found, there, await self._pid(model, there))

    async def _pid(self, model: ModelId, there: Sequence[pods.Pod]) -> int | None:
        """The first process of its pods that is on this machine, searched for once."""
        ids = tuple(sorted(id for p in there for id in p.containers))
        known = self._pids.get(model)
        if known is not None and known[0] == ids:
            return known[1]
        pid = None
        if ids:
            try:
                pid = await self._aside.call(lambda: self._search(ids), SEARCH)
            except TimeoutError:
                return None  # searched for again at the next look
        self._pids[model] = ids, pid
        return pid

    # -- the API server

    async def _deployment(self, model: ModelId) -> pods.Deployment:
        name, namespace = self._names[model], self._served[model].namespace

        async def read(client: AsyncClient) -> pods.Deployment:
            from lightkube.resources.apps_v1 import Deployment

            return pods.deployment(await client.get(Deployment, name, namespace=namespace))

        return await self._cluster.ask(f"get deployment {name}", read)

    async def _pods(self, model: ModelId, found: pods.Deployment) -> list[pods.Pod]:
        namespace = self._served[model].namespace

        async def read(client: AsyncClient) -> list[pods.Pod]:
            from lightkube.resources.core_v1 import Pod

            labels: Any = list(found.selector)  # a key may stand there twice
            listed = client.list(Pod, namespace=namespace, labels=labels)
            return [one async for p in listed if (one := pods.pod(p)) is not None]

        return await self._cluster.ask(f"list pods of {self._names[model]}", read)

    async def _scale(self, model: ModelId, replicas: int) -> None:
        name, namespace = self._names[model], self._served[model].namespace

        async def write(client: AsyncClient) -> int:
            from lightkube.resources.apps_v1 import Deployment
            from lightkube.types import PatchType

            answer = await client.patch(
                Deployment.Scale,
                name,
                {"spec": {"replicas": replicas}},
                namespace=namespace,
                patch_type=PatchType.MERGE,
            )
            return (answer.spec.replicas or 0) if answer.spec is not None else 0  # absent: 0

        call = f"scale {name} to {replicas}"
        self._empty.discard(model)
        set_to = await self._cluster.ask(call, write, wire.CONTROL_TIMEOUT)
        if set_to != replicas:
            raise EngineRefused(self._engine, call, f"it was set to {set_to}")

    async def _scalers(self, model: ModelId, client: AsyncClient) -> list[tuple[str, str]]:
        from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler

        name, namespace = self._names[model], self._served[model].namespace
        found = []
        async for scaler in client.list(HorizontalPodAutoscaler, namespace=namespace):
            spec, meta = scaler.spec, scaler.metadata
            if spec is None or meta is None:
                continue
            target = spec.scaleTargetRef
            if (target.kind, target.name) != ("Deployment", name):
                continue
            keda = (meta.labels or {}).get("scaledobject.keda.sh/name")
            if keda is not None:
                remedy = f'annotate the ScaledObject {keda} with autoscaling.keda.sh/paused: "true"'
                found.append((f"KEDA scales {name} by itself, from 0 too", remedy))
            else:
                least, most = spec.minReplicas or 1, spec.maxReplicas
                what = f"{meta.name} scales {name} by itself, to {least} to {most} replicas"
                found.append((what, f"kubectl delete hpa {meta.name}"))
        return found
