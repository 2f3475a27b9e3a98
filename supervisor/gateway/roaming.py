"""A request that other hosts of the fleet may serve: an exchange that goes another host's way,
where this one is not simply its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Snapshot

from . import placing
from .elsewhere import Way
from .exchange import Exchange
from .fleet_counts import ELSEWHERE
from .gate import Entry, Gate
from .heads import Headers
from .placing import There
from .relay import End, Relay
from .surfaces import Does
from .wishes import Refusal, Wish
from .wrong import UnknownModel, WrongModel

if TYPE_CHECKING:
    from .client import Client
    from .fleet import Fleet
    from .stages import Request

LISTS: Final = frozenset({Does.MODELS, Does.MODEL, Does.TAGS, Does.PS})


class Roaming(Exchange):
    """`way` is there from when the agent is asked; it is over once the request is this host's."""

    __slots__ = ("_fleet", "_unknown", "_way")

    def __init__(
        self, gate: Gate, fleet: Fleet, client: Client, request: Request, entry: Entry
    ) -> None:
        super().__init__(gate, client, request, entry)
        self._fleet = fleet
        self._unknown: UnknownModel | None = None
        self._way: Way | None = None

    # -- what needs no model

    def _own(self, snapshot: Snapshot) -> None:
        if self._entry.surface.does not in LISTS:
            return super()._own(snapshot)
        self._client.on_gone = self._left
        return self._fleet.look(self._listed)

    def _listed(self, fleet: placing.Fleet | None) -> None:
        snapshot = self._gate.snapshot
        if self._over or snapshot is None:
            return
        self._client.on_gone = None
        try:
            self._say(self._gate.own(self._entry, snapshot, fleet))
        except WrongModel as wrong:
            self._wrong(wrong)

    def _wrong(self, wrong: WrongModel) -> None:
        """What is only told of a model is told by whichever host has it."""
        shows = self._entry.surface.does is Does.SHOW and type(wrong) is UnknownModel
        if not shows or self._way is not None or not self._could(self._name):
            return super()._wrong(wrong)
        names = self._gate.names.elsewhere(self._name, ())
        self._way = Way(self._fleet, self, self._gate.config, Wish(()), names, wrong, tries=0)
        self._client.on_gone = self._left
        return self._fleet.look(self._seen)

    def _seen(self, fleet: placing.Fleet | None) -> None:
        way = self._way
        if self._over or way is None or way.unknown is None:
            return
        names = self._gate.names.elsewhere(self._name, ())
        found = () if fleet is None else next(filter(None, map(fleet.having, names)), ())
        if found:
            word, model = found[0]
            way.placed(There(word.host, word.address, str(model.ref)))
        else:
            self.fails(way.unknown)

    # -- where it goes

    @property
    def _name(self) -> str:
        """As the client calls the model."""
        return "" if self._asked is None else self._asked.model or ""

    def _not_here(self, wrong: UnknownModel) -> tuple[ModelRef, ...]:
        if self._asked is None or self._asked.unload or not self._could(self._name):
            raise wrong
        self._unknown = wrong
        return ()

    def _could(self, name: str) -> bool:
        """May its token use a model of that name, whichever host has it?"""
        token = self._entry.caller.token
        if token is None or (token.engines is None and token.models is None):
            return True
        engine, _, model = name.partition("/")
        refs = [ModelRef(EngineId(engine), ModelId(model))] if model else []
        if token.engines is None:
            refs.append(ModelRef(EngineId(""), ModelId(name)))
        return any(self._entry.caller.may_use(ref, name) for ref in refs)

    def _enter(self, wish: Wish) -> None:
        asked, fleet = self._asked, self._fleet
        if asked is None or asked.unload or fleet.is_here(wish.candidates):
            return super()._enter(wish)
        names = self._gate.names.elsewhere(self._name, wish.candidates)
        self._way = Way(fleet, self, self._gate.config, wish, names, self._unknown)
        self._client.on_gone = self._left
        return self._way.begin()

    def here(self, wish: Wish) -> None:
        self._let_go()
        super()._enter(wish)

    def there(self, there: There) -> None:
        self._let_go()
        way, asked, gate = self._way, self._asked, self._gate
        assert way is not None
        assert asked is not None
        if not self._entry.caller.may_use(there.ref, self._name):
            way.leave()
            return self._not_allowed()
        self._ref, self._waited = there.ref, way.waited or None
        origin, to = way.sends(self._request, self._entry.surface, asked, self._trace is not None)
        if self._trace is not None:
            to = self._trace.sent(to, f"host {there.host}", there.ref, origin)
        self._relay = Relay(self._client, gate.links, origin, to, self)
        return None

    def waits(self) -> None:
        if self._way is not None:
            self._tell(self._way, self._entry.cors)

    def fails(self, why: Refusal | WrongModel) -> None:
        self._let_go()
        if isinstance(why, WrongModel):
            self._wrong(why)
        else:
            self._turned_away(why)

    def _let_go(self) -> None:
        """It waits no more: for the agent, or for room."""
        self._quiet()
        self._client.on_gone = None

    # -- what the relay tells

    @property
    def _roams(self) -> bool:
        """Another host has it."""
        return self._way is not None and self._way.there is not None

    def answered(self, status: int, headers: Headers) -> Headers:
        way, relay = self._way, self._relay
        if way is None or way.there is None or relay is None:
            return super().answered(status, headers)
        told = way.told(status, headers)
        if told is None:
            relay.cancel()
            return ()
        self._first = self._gate.clock() - self._began
        if self._waited is not None and all(name != b"x-ullage-waited" for name, _ in headers):
            told = (*told, (b"x-ullage-waited", b"%.3f" % self._waited))
        return (*told, *self._entry.cors)

    def ended(self, end: End, status: int) -> None:
        if self._way is not None:
            self._way.back()
        super().ended(end, status)

    def _again(self) -> bool:
        way = self._way
        if way is None or way.there is None:
            return super()._again()
        self._ref = None
        self._client.on_gone = self._left
        way.lost()
        return True

    # -- the end

    def _left(self) -> None:
        if self._way is not None:
            self._way.leave()
        super()._left()

    def revoke(self) -> None:
        way = self._way
        if not self._entry.caller.gone or way is None or not way.asks:
            return super().revoke()
        way.leave()
        self._let_go()
        return self._revoked()

    @property
    def _counted(self) -> ModelRef | None:
        ref = self._ref
        return ModelRef(ELSEWHERE, ref.model) if ref is not None and self._roams else ref
