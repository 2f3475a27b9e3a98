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
    """A claim that is ours. `shares`: bytes by host. `until`: when its time is over. `renewed`: of
    a model that spans hosts, which takes long: others are told of it for so many seconds at a time,
    so that it is over soon when nobody tells of it any more."""

    id: str
    model: str
    shares: Mapping[str, Bytes]
    until: Seconds
    renewed: Seconds | None = None

    def left(self, now: Seconds) -> Seconds:
        left = Seconds(self.until - now)
        return left if self.renewed is None else min(left, self.renewed)


@dataclass(slots=True)
class Claims:
    backend: Backend
    clock: Callable[[], Seconds]
    _ours: dict[str, Promised] = field(default_factory=dict)

    def rows(self) -> tuple[Row, ...]:
        """What others are told of them."""
        now = self.clock()
        return tuple(
            {"id": p.id, "model": p.model, "shares": dict(p.shares), "left": p.left(now)}
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

    async def keep(
        self, model: str, shares: Mapping[str, Bytes], within: Seconds, renewed: Seconds
    ) -> str:
        """The same for a model that spans hosts: until it is given up, or `within` is over."""
        id = await self.take(model, shares, within)
        self._ours[id] = replace(self._ours[id], renewed=renewed)
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
            if promised.renewed is not None and not over:
                continue  # whoever brings it up gives it up
            if over or all(_has(index, HostId(h), promised.model) for h in promised.shares):
                await self.give_up(promised.id)

    def lost(self) -> None:
        """Whoever kept them is gone, and so are they. Of a model that spans hosts it may only be
        that one answer was late: it is told on, and asked for again before its leader begins."""
        self._ours = {id: p for id, p in self._ours.items() if p.renewed is not None}


def _has(index: Index, host: HostId, model: str) -> bool:
    housed = index.who(model).get(host, ())
    return any(h.ready or h.status == Status.LOADING.value for h in housed)
