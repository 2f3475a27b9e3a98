"""What most adapters have in common: one wire, and a plain no to what their engine cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import httpx

from supervisor.core.snapshot import Ability, EngineId, ModelId

from .base import Activity, Checked, EngineModel, EngineRefused, Habit, Notes, Proof, WhenBusy
from .serves import Serves
from .wire import Wire


class Adapter:
    """One running engine, as in base.Engine; its kind overrides what its engine can do."""

    kind: ClassVar[str]
    title: ClassVar[str]
    ports: ClassVar[tuple[int, ...]] = ()
    proof: ClassVar[Proof] = Proof.POOL
    when_busy: ClassVar[WhenBusy] = WhenBusy.UNKNOWN
    checked: ClassVar[Checked] = Checked.SOURCE
    described: ClassVar[bool] = False
    lists_loads: ClassVar[bool] = False  # or nobody has looked
    abilities: frozenset[Ability] = frozenset({Ability.LIST})
    sometimes: ClassVar[frozenset[Ability]] = frozenset()
    paths: ClassVar[Serves] = {}
    orders: tuple[tuple[str, str], ...] = ()

    def __init__(
        self,
        id: EngineId,
        url: str,
        client: httpx.AsyncClient,
        key: str | None,
        options: Any = None,
    ) -> None:
        self.id, self.url = id, url
        self._wire = Wire(id, url, client, key)
        self._begin(key, options)

    def _begin(self, key: str | None, options: Any) -> None:
        """What its kind keeps of its own, from the start."""
        return

    def started_with(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """We started it ourselves, like this: some ask more of one that they know more of."""
        return

    def remembers(self, notes: Notes) -> None:
        """Most need not: their engines say themselves how they are."""
        return

    def forget(self, model: ModelId) -> None:
        """Most do not bring anybody back."""
        return

    async def activity(self, model: EngineModel) -> Activity:
        return Activity(in_flight=None, mark=model.mark)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        raise self._unable(f"load {model}")

    async def unload(self, model: ModelId) -> None:
        raise self._unable(f"unload {model}")

    async def sleep(self, model: ModelId, *, deep: bool = False) -> None:
        raise self._unable(f"let {model} sleep")

    async def wake(self, model: ModelId) -> None:
        raise self._unable(f"wake {model}")

    async def restart(self) -> None:
        raise self._unable("restart")

    async def cancel(self, model: ModelId) -> None:
        raise self._unable(f"end the requests of {model}")

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        whose = f"{self.title} writes that itself; Ullage keeps it of models that it has started"
        raise EngineRefused(self.id, f"show the log of {model}", whose)

    async def close(self) -> None:
        return

    async def habits(self) -> tuple[Habit, ...]:
        return ()

    def serves(self, model: ModelId) -> Serves:
        return self.paths

    def address(self, model: ModelId) -> str:
        return self.url

    def called(self, model: ModelId) -> str:
        return model

    def _unable(self, call: str) -> EngineRefused:
        return EngineRefused(self.id, call, f"{self.title} cannot be told to do that")
