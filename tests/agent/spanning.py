"""Hosts that hold parts of a model, made of values: their loads take time, and may fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from collectors.reading import Bytes, PoolId, Seconds, gib
from supervisor.agent.backend import BackendError, Row
from supervisor.core.snapshot import Share, Source
from supervisor.fleet.hosts import DRAINED, HostId, Housed, Offer, OfferId, Part, Space, Word
from supervisor.fleet.words import offer_row, word_row

from .fakes import VALID, Clock, Fleet

SPAN = "big:400b"
SIZE = gib(8)


@dataclass
class Holder:
    """Stands for the daemon of a host, and for the bridge to it. `begun`: when which loads began,
    and when their offers were made."""

    part: Part
    room: Bytes = SIZE
    loss: float = 0.0
    load: float = 3.0
    host: str = ""
    clock: Clock = field(default_factory=Clock)
    away: bool = False
    drained: bool = False
    fails: bool = False  # its loads come to nothing
    accepts: BackendError | None = None
    deaf: bool = False  # it begins what it is told to, and its answer is lost
    there: bool = False
    leaving: bool = False
    loading: float | None = None  # until then
    begun: list[tuple[float, float]] = field(default_factory=list)
    unloads: int = 0
    leases: dict[str, float] = field(default_factory=dict)
    offers: dict[str, float] = field(default_factory=dict)
    count: int = 0
    last: float = float("-inf")  # when it was there

    @property
    def status(self) -> str:
        now = self.clock()
        if self.loading is not None and now >= self.loading:
            self.loading, self.there = None, not self.fails
        self.leases = {id: ends for id, ends in self.leases.items() if ends > now}
        if self.there and (self.leaving or self.drained) and not self.leases:
            self.there = self.leaving = False
        if self.loading is not None:
            return "loading"
        if self.there:
            self.last = now
        return "local" if not self.there else "leaving" if self.leaving else "loaded"

    async def word(self, within: float = 1.0) -> Row:
        self._answers()
        engine, _, name = self.part.model.partition("/")
        status = self.status
        model = Housed(name, engine, status, status == "loaded", SIZE, slots=4)
        space = Space(PoolId("gpu0"), gib(24), self.room, self.room)
        return word_row(Word(HostId(self.host), f"{self.host}1", 0, "1", self.clock.wall(),
                             f"http://{self.host}", (space,), (model,),
                             DRAINED if self.drained else None, (self.part,)))  # fmt: skip

    async def offer(self, model: str, within: float = 1.0) -> Row:
        self._answers()
        assert model == self.part.model
        self.count += 1
        id = f"{self.host}-{self.count}"
        self.offers[id] = self.clock()
        ready = self.status == "loaded"
        share = Share(PoolId("gpu0"), SIZE, Source.LEARNED)
        fits = ready or self.room >= SIZE
        return offer_row(Offer(OfferId(id), HostId(self.host), model, VALID, ready, fits,
                               self.loss, takes=() if ready else (share,)))  # fmt: skip

    async def accept(self, offer: str, within: float = 1.0) -> Row:
        self._answers()
        if self.accepts is not None:
            raise self.accepts
        made = self.offers.pop(offer)
        if self.clock() >= made + VALID:
            raise BackendError("offer_over", "its time is over", 410)
        if self.status == "local":
            self.begun.append((self.clock(), made))
            self.loading = self.clock() + self.load
        self.leaving = False
        if self.deaf:
            raise BackendError("away", "no answer", 503, unsure=True)
        return {}

    async def hold(self, model: str, client: str, ttl: float, within: float = 1.0) -> str:
        self._answers()
        assert (model, client) == (self.part.model, f"span {self.part.span}")
        if self.status not in ("loaded", "loading"):
            raise BackendError("refused", "it is not there", 409)
        self.count += 1
        self.leases[f"l{self.count}"] = self.clock() + ttl
        return f"l{self.count}"

    async def held(self, model: str, within: float = 1.0) -> dict[str, str]:
        self._answers()
        assert model == self.part.model
        return dict.fromkeys(self.leases, f"span {self.part.span}") if self.status else {}

    async def renew(self, lease: str, within: float = 1.0) -> None:
        self._answers()
        if self.status and lease not in self.leases:
            raise BackendError("unknown", "no such lease", 404)
        self.leases[lease] = self.clock() + 60

    async def let_go(self, lease: str, within: float = 1.0) -> None:
        self._answers()
        if self.leases.pop(lease, None) is None:
            raise BackendError("unknown", "no such lease", 404)

    async def unload(self, model: str, within: float = 1.0) -> Row:
        self._answers()
        assert model == self.part.model
        self.unloads += 1
        if self.loading is not None:
            self.loading, self.there = None, True
        self.leaving = self.there
        return {}

    async def drain(self, seconds: float | None = None, within: float = 1.0) -> Row:
        self.drained = True
        return {}

    async def undrain(self, within: float = 1.0) -> Row:
        self.drained = False
        return {}

    async def close(self) -> None:
        return

    def _answers(self) -> None:
        if self.away:
            raise BackendError("away", f"no daemon of {self.host}")


def leads(others: Sequence[str], hosts: int = 0, **more: object) -> Holder:
    mine = tuple(HostId(h) for h in others)
    part = Part(SPAN, f"llama/{SPAN}", True, hosts or len(mine) + 1, mine)
    return Holder(part, **more)  # type: ignore[arg-type]


def holds(**more: object) -> Holder:
    return Holder(Part(SPAN, "rpc/part"), **more)  # type: ignore[arg-type]


def fleet_of(**holders: Holder) -> Fleet:
    for host, holder in holders.items():
        holder.host = host
    return Fleet(**holders)  # type: ignore[arg-type]


async def place(fleet: Fleet, host: str, within: float | None = None, dry: bool = False) -> Row:
    seconds = None if within is None else Seconds(within)
    return await fleet.during(fleet.agents[host].place(SPAN, dry, seconds, ()))
