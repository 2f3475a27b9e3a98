"""A host made of values: its daemon, which decides by the core's own plan and by its own clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from collectors.reading import RAM, PoolId, Seconds, gib
from supervisor.core.plan import Evict, Plan, plan
from supervisor.core.snapshot import Share, State
from supervisor.fleet.hosts import HostId, Housed, Offer, OfferId, Space, Word
from tests.builders import GPU, NO_RESERVE, demand, machine, resident
from tests.fleet.model.kernel import Being, Kernel, Process

VALID = 10.0
TOTAL = 24.0
IDLE = 2.0


@dataclass(slots=True)
class There:
    """A model that is loaded or loading. `claim`: by whose placement; None: its host's doing."""

    ready: bool
    claim: str | None
    since: float
    work: int = 0
    used: float = 0.0


@dataclass(slots=True)
class Made:
    """An offer as its host remembers it; `at` true time, for the checks alone."""

    model: str
    until: float
    at: float
    used: bool = False


@dataclass
class Daemon:
    being: Being
    kernel: Kernel
    sizes: dict[str, float]
    loads: dict[str, float]
    fenced: bool = True
    valid: float = VALID  # seconds that an offer stands
    offset: float = 0.0
    wall: float = 1.8e9
    boots: int = 0
    there: dict[str, There] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    begun: list[tuple[str, str, float]] = field(default_factory=list)  # late loads, for the checks
    drained: bool = False
    loss: Callable[[], float] = lambda: 0.0

    def boot(self) -> None:
        self.boots += 1
        self.offset = self.kernel.dice.uniform(0, 1e6)
        self.there, self.made = {}, {}

    def tidy(self) -> Process:
        """Its own idle timeout: models come and go all the time."""
        while True:
            for name, there in [*self.there.items()]:
                if there.ready and not there.work and self.kernel.now - there.used > IDLE:
                    del self.there[name]
            yield 0.5

    @property
    def mono(self) -> float:
        return self.kernel.now + self.offset

    @property
    def free(self) -> float:
        return TOTAL - sum(self.sizes[m] for m in self.there)

    def word(self, number: int) -> Word:
        models = tuple(
            Housed(name, "ollama", self._status(name), self._ready(name), gib(size),
                   self.there[name].work if name in self.there else 0, 0, 8)
            for name, size in self.sizes.items()
        )  # fmt: skip
        spaces = (
            Space(PoolId(GPU), gib(TOTAL), gib(self.free), gib(self.free)),
            Space(RAM, gib(64), gib(60), gib(60)),
        )
        host = HostId(self.being.name)
        epoch = f"{host}-{self.boots}"
        rests = "it is drained" if self.drained else None
        wall = self.wall + self.kernel.now
        return Word(host, epoch, number, "1.0", wall, f"http://{host}", spaces, models, rests)

    def offer(self, model: str) -> Offer | None:
        if model not in self.sizes:
            return None
        found = self._plan(model)
        id = f"{self.being.name}-{self.boots}-{len(self.made)}"
        self.made[id] = Made(model, self.mono + self.valid, self.kernel.now)
        # What it has learned is its own: two that ask at once are offered different losses.
        losses = [self.loss(), *(1.0 for _ in found.evictions)]
        return Offer(
            OfferId(id), HostId(self.being.name), f"ollama/{model}", Seconds(self.valid),
            self._ready(model), found.works and not self.drained, sum(losses),
            Seconds(self.loads[model]), (Share(GPU, gib(self.sizes[model])),),
            tuple(str(e.ref) for e in found.evictions), slots=8,
            why="" if found.works else "who is there may not leave",
        )  # fmt: skip

    def accept(self, offer: str, claim: str) -> str:
        made = self.made.get(offer)
        if made is None:
            return "there is no such offer"
        if self.fenced and self.mono >= made.until:
            return "its time is over"
        if made.used:
            return "it was accepted already"
        found = self._plan(made.model)
        if not found.works or self.drained:
            return "it does not fit any more"
        made.used = True
        if made.model not in self.there:
            self._load(made.model, found, claim)
            if self.kernel.now > made.at + self.valid:
                self.begun.append((made.model, offer, self.kernel.now - made.at))
        return "begun"

    def load(self, model: str) -> bool:
        """By its own decision, for a request that came here."""
        found = self._plan(model)
        if model not in self.there and found.works:
            self._load(model, found, None)
        return model in self.there

    def withdraw(self, claim: str) -> None:
        for model, there in [*self.there.items()]:
            if there.claim == claim and not there.work:
                del self.there[model]

    def _load(self, model: str, found: Plan, claim: str | None) -> None:
        for action in found.actions:
            if isinstance(action, Evict):
                del self.there[action.ref.model]
        there = self.there[model] = There(False, claim, self.kernel.now, used=self.kernel.now)
        assert self.free >= -1e-9

        def ready() -> None:
            if self.there.get(model) is there:
                there.ready, there.used = True, self.kernel.now

        self.kernel.at(self.loads[model], ready)

    def _plan(self, model: str) -> Plan:
        residents = [
            resident(
                name,
                self.sizes[name],
                state=State.LOADED if t.ready else State.LOADING,
                busy=1.0 if t.work else None,
                idle=self.kernel.now - t.used,
            )
            for name, t in self.there.items()
        ]
        snapshot = machine(*residents, free=max(0.0, self.free), total=TOTAL)
        return plan(snapshot, NO_RESERVE, demand(model, self.sizes[model]))

    def _status(self, model: str) -> str:
        there = self.there.get(model)
        return "local" if there is None else "loaded" if there.ready else "loading"

    def _ready(self, model: str) -> bool:
        return model in self.there and self.there[model].ready
