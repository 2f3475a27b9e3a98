"""Those who ask for models through the gateway, and those who go to an engine behind its back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from supervisor.core.snapshot import ModelRef
from supervisor.gateway.admission import Grant, Refusal, RefusalKind, Ticket, Wish
from tests.stateful.town import Town


@dataclass(eq=False)
class Guest:
    """One request. `heard`: all that it was answered; `over`: when it was answered to its end, was
    refused, or has gone."""

    town: Town
    wish: Wish
    service: float
    at: float
    heard: list[Grant | Refusal] = field(default_factory=list)
    ticket: Ticket | None = None
    grant: Grant | None = None
    began: float = 0.0
    over: float | None = None
    gone: bool = False
    again: bool = False
    wrong: list[str] = field(default_factory=list)
    _works: asyncio.Task[None] | None = None
    _request: tuple[float, float] | None = None

    @property
    def held(self) -> bool:
        return self.ticket is not None and self.over is None

    @property
    def working(self) -> bool:
        return self.grant is not None and self.over is None

    @property
    def refused(self) -> RefusalKind | None:
        """Why it was."""
        return next((a.why for a in self.heard if isinstance(a, Refusal)), None)

    def enter(self) -> None:
        """Within the loop."""
        self.take(self.town.admission.enter(self.wish, self.hear))

    def take(self, answer: Grant | Refusal | Ticket) -> None:
        if isinstance(answer, Ticket):
            self.ticket = answer
        else:
            self.hear(answer)

    def hear(self, answer: Grant | Refusal) -> None:
        now = self.town.clock()
        if self.over is not None:
            self.wrong.append(f"answered {answer} although it was over")
        if self.grant is not None:
            self.wrong.append(f"answered {answer} although it had been let through")
        self.heard.append(answer)
        self.ticket = None
        if isinstance(answer, Refusal):
            self.over = now
            return
        self.grant, self.began = answer, now
        if self.town.is_told_to_go(answer.ref):
            self.wrong.append(f"I1: let through to {answer.ref}, which is told to go")
        self._works = self.town.keep(self._work(answer))

    async def _work(self, grant: Grant) -> None:
        """Its engine answers for `service` seconds, if the model is there and stays so long."""
        engine = self.town.engines[grant.ref.engine]
        model, clock = grant.ref.model, self.town.clock
        if engine.fault is not None or not engine.there(model):
            if engine.there(model) or not engine.loads_by_itself:
                return self._broke_off(grant)
            try:
                engine.serve(model, self.service)  # its first request loads it
            except Exception:
                return self._broke_off(grant)
        else:
            engine.serve(model, self.service)
        tenant, self._request = engine.models[model].tenant, engine.models[model].requests[-1]
        until = self._request[1]
        while (now := clock()) < until:
            await clock.sleep(min(1.0, until - now))
            grant.flight.moved()
            if engine.models[model].tenant is not tenant or not engine.models[model].state(clock()):
                break  # the model is gone: so is the answer
        self._finish(grant)
        return None

    def _broke_off(self, grant: Grant) -> None:
        """Nothing was answered: it is sent once more, as the gateway does."""
        if self.gone:
            return self._finish(grant)
        self.grant = None
        self.take(self.town.admission.again(grant, self.hear))
        return None

    def _finish(self, grant: Grant) -> None:
        grant.flight.end()
        if self.over is None:
            self.over = self.town.clock()

    def leave(self) -> None:
        """Its client is gone, wherever it was."""
        self.gone = True
        if self.over is not None:
            return
        if self.ticket is not None:
            self.ticket.leave()
        if self.grant is not None:
            if self._request is not None:
                engine = self.town.engines[self.grant.ref.engine]
                engine.rest(self.grant.ref.model, self._request)
            self.grant.flight.end()
        self.over = self.town.clock()

    def cut(self) -> None:
        """The daemon has died: so have its connections."""
        if self._works is not None:
            self._works.cancel()
        if self.over is None and self.grant is not None and self._request is not None:
            engine = self.town.engines[self.grant.ref.engine]
            engine.rest(self.grant.ref.model, self._request)
        self.over = self.over or self.town.clock()
        if self.grant is not None:
            self.grant.flight.end()  # of a gateway that is gone


@dataclass(frozen=True)
class Stranger:
    """A request that went to an engine without us."""

    ref: ModelRef
    began: float
    until: float
