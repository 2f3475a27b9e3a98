"""A machine whose engine can let its models sleep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from collectors.reading import gib
from supervisor.core.snapshot import Ability, Installed, ModelRef, Share, State
from tests.builders import ABLE, engine, ref, resident

from .fakes import GPU, FakeEngine, World

SLEEPS = frozenset({*ABLE, Ability.SLEEP, Ability.DEEP_SLEEP})
ASLEEP = Share(GPU, gib(0.5))


class SleepyEngine(FakeEngine):
    """As vLLM: a model that sleeps keeps half a GiB."""

    abilities = SLEEPS

    async def sleep(self, model: str, deep: bool = False) -> None:
        self.world.told.append(("deep sleep" if deep else "sleep", model))
        self._change(ref(model, self.id), State.SLEEPING, (ASLEEP,))

    async def wake(self, model: str) -> None:
        self.world.told.append(("wake", model))
        self._change(ref(model, self.id), State.LOADED, (Share(GPU, gib(6)),))

    def _change(self, who: ModelRef, state: State, shares: tuple[Share, ...]) -> None:
        self.world.residents = [
            replace(r, state=state, shares=shares) if r.ref == who else r
            for r in self.world.residents
        ]


class SleepyWorld(World):
    """Two models of an engine that sleeps, one of them at work; and one of an engine that does
    not."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []
        self.engines = (replace(engine("vllm"), abilities=SLEEPS), engine("ollama"))
        self.residents = [
            resident("qwen3", 6, pool=GPU, idle=120, engine="vllm"),
            resident("llama3", 6, pool=GPU, busy=3, engine="vllm"),
            resident("gemma", 2, pool=GPU, idle=60),
        ]
        self.installed = [Installed(r.ref, gib(6)) for r in self.residents]

    def engine(self, id: str) -> Any:
        return (SleepyEngine if id == "vllm" else FakeEngine)(self, id)
