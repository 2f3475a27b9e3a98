"""The engines that are asked, each within its time, and what each of them said last."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from collectors.reading import Seconds

from .core.snapshot import EngineId, EngineState
from .engines.base import (
    CALL_TIMEOUT,
    Engine,
    EngineConfused,
    EngineDown,
    EngineError,
    EngineModel,
)
from .probes import Probes
from .sources import SourceHealth

log = logging.getLogger("ullage.sampler")


@dataclass(slots=True)
class _Said:
    """What an engine said last, kept to be shown while it does not answer."""

    models: tuple[EngineModel, ...] = ()
    state: EngineState | None = None
    is_another: bool = False  # something answers, and not as its kind would
    asked_at: float = -math.inf


@dataclass(slots=True)
class Roster:
    """`health` is how the last call of each engine went."""

    engines: dict[EngineId, Engine] = field(default_factory=dict)
    call_timeout: Seconds = CALL_TIMEOUT
    clock: Callable[[], float] = time.monotonic
    services: Mapping[EngineId, str] = field(default_factory=dict)  # what whole engines run in
    missing: tuple[EngineState, ...] = ()  # named by the operator, and never yet found
    health: dict[EngineId, SourceHealth] = field(default_factory=dict)
    _said: dict[EngineId, _Said] = field(default_factory=dict)
    _probes: Probes[EngineId, EngineState] = field(default_factory=lambda: Probes("probe"))

    async def ask(self, only: Collection[EngineId] | None = None) -> dict[EngineId, EngineState]:
        """Engines that are up are waited for. One that was silent last time is asked aside,
        so that it delays nobody, and counts again as soon as it answers.

        Where `only` some are to be asked, the others count as they were seen last.
        """
        for gone in self._said.keys() - self.engines.keys():
            del self._said[gone]
            self.health.pop(gone, None)
        self._probes.forget_all_but(self.engines)
        last = {} if only is None else self.last()
        due = [e for e in self.engines.values() if e.id not in last or e.id in (only or ())]
        answers = await asyncio.gather(*(self._state_of(e) for e in due))
        found = last | {state.id: state for state in answers}
        return {id: found[id] for id in self.engines if id in found}

    def last(self) -> dict[EngineId, EngineState]:
        """How each engine that was ever asked was seen last."""
        said = ((id, self._said.get(id)) for id in self.engines)
        return {id: s.state for id, s in said if s is not None and s.state is not None}

    def models(self, id: EngineId) -> tuple[EngineModel, ...]:
        """What this engine listed last."""
        said = self._said.get(id)
        return () if said is None else said.models

    def found(
        self, engines: Iterable[Engine], missing: tuple[EngineState, ...]
    ) -> tuple[Engine, ...]:
        """Ask these, too, from now on. `missing` were named, and nobody knows yet what they are.
        Returns those in whose place others answer: they are asked no more."""
        self.missing = missing
        replaced = []
        for engine in engines:
            there = next((e for e in self.engines.values() if e.url == engine.url), None)
            if there is None:
                log.info("found %s at %s", engine.kind, engine.url)
            elif there.kind == engine.kind or there.id not in self.replaceable:
                continue
            else:
                log.info("found %s at %s, where %s was", engine.kind, engine.url, there.id)
                replaced.append(self.engines.pop(there.id))
                self._said[there.id] = _Said()  # who comes may have its name
            self.engines[engine.id] = engine
        return tuple(replaced)

    @property
    def replaceable(self) -> frozenset[EngineId]:
        """Engines at whose address something answers that is none of their kind."""
        return frozenset(id for id, said in self._said.items() if said.is_another)

    async def close(self) -> None:
        """End what is still being asked aside."""
        await self._probes.close()

    async def _state_of(self, engine: Engine) -> EngineState:
        said = self._said.setdefault(engine.id, _Said())
        last = said.state or self._state(engine, None, "not asked yet")
        return await self._probes.ask(
            engine.id, lambda: self._ask(engine), lambda state: not state.up, last
        )

    async def _ask(self, engine: Engine) -> EngineState:
        said = self._said.setdefault(engine.id, _Said())
        started = self.clock()
        models: tuple[EngineModel, ...] | None = None
        fault: str | None = None
        degraded = refuses = is_another = False
        version = said.state.version if said.state else None
        asks_who = said.state is None or not said.state.up
        try:
            async with asyncio.timeout(self.call_timeout):
                if asks_who:  # whoever answers now need not be who answered before
                    identity = await engine.identify()
                    if identity is None:
                        raise EngineConfused(engine.id, "identify", f"is no {engine.kind} server")
                    asks_who, version = False, identity.version
                models = await engine.list()
        except TimeoutError:
            fault = f"no answer within {self.call_timeout:g} s"
        except EngineError as error:
            fault, degraded = f"{error.call}: {error.message}", not isinstance(error, EngineDown)
            refuses = isinstance(error, EngineDown) and error.refused
            is_another = asks_who and isinstance(error, EngineConfused)
        except Exception as error:  # our bug: it costs us this engine, and no other
            log.debug("asking %s", engine.id, exc_info=True)
            fault = f"cannot be read: {type(error).__name__}: {error}"
        took = Seconds(self.clock() - started)
        before = self.health.get(engine.id, SourceHealth())
        self.health[engine.id] = before.after(Seconds(started), took, fault)
        state = replace(self._state(engine, version, fault), degraded=degraded, refuses=refuses)
        if started < said.asked_at:  # it was asked again meanwhile, and has answered that first
            return said.state or state
        said.asked_at, said.state, said.is_another = started, state, is_another
        if models is not None:
            said.models = models
        return state

    def _state(self, engine: Engine, version: str | None, fault: str | None) -> EngineState:
        service = self.services.get(engine.id)
        return EngineState(
            engine.id, engine.kind, engine.url, engine.abilities, version, fault, service
        )
