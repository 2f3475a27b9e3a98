"""The promises of one agent: taken for a load that is to begin, given back when that is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from collectors.reading import Bytes, Seconds
from supervisor.core.status import Status
from supervisor.fleet.hosts import HostId
from supervisor.fleet.index import Index

from .backend import Backend, BackendError, Row


@dataclass(frozen=True, slots=True)
class Promised:
    """A claim that is ours. `shares`: bytes by host. `until`: when its time is over."""

    id: str
    model: str
    shares: Mapping[str, Bytes]
    until: Seconds


@dataclass(slots=True)
class Claims:
    backend: Backend
    clock: Callable[[], Seconds]
    _ours: dict[str, Promised] = field(default_factory=dict)

    def rows(self) -> tuple[Row, ...]:
        """What others are told of them."""
        now = self.clock()
        return tuple(
            {"id": p.id, "model": p.model, "shares": dict(p.shares), "left": p.until - now}
            for p in self._ours.values()
            if p.until > now
        )

    async def take(self, model: str, shares: Mapping[str, Bytes], valid: Seconds) -> str:
        """The one claim of `model`. It stands for as long as the offers that it is taken for, which
        were asked for before. Raises BackendError."""
        began = self.clock()
        id = await self.backend.claim(model, shares)
        self._ours[id] = Promised(id, model, shares, Seconds(began + valid))
        return id

    async def give_up(self, id: str) -> None:
        """One that cannot be given back now is tried again, and told to nobody any more."""
        try:
            await self.backend.release(id)
        except BackendError:
            if id in self._ours:
                self._ours[id] = replace(self._ours[id], until=self.clock())
            return
        self._ours.pop(id, None)

    async def settle(self, index: Index) -> None:
        """Give up what is over: its time has run out, or all hosts say that the model is there."""
        for promised in list(self._ours.values()):
            over = self.clock() >= promised.until
            if over or all(_has(index, HostId(h), promised.model) for h in promised.shares):
                await self.give_up(promised.id)

    def lost(self) -> None:
        """Whoever kept them is gone, and so are they."""
        self._ours.clear()


def _has(index: Index, host: HostId, model: str) -> bool:
    housed = index.who(model).get(host, ())
    return any(h.ready or h.status == Status.LOADING.value for h in housed)
