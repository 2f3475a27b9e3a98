"""A request that other hosts of the fleet may serve: an exchange that goes another host's way,
where this one is not simply its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Snapshot

from . import placing
from .elsewhere import Way
from .exchange import Exchange
from .fleet_counts import ELSEWHERE
from .heads import Headers
from .placing import There
from .relay import End, Relay
from .surfaces import Does
from .unforeseen import guarded
from .wishes import STILL, Flies, Grant, Refusal, Wish
from .wrong import UnknownModel, WrongModel

if TYPE_CHECKING:
    from .fleet import Fleet

LISTS: Final = frozenset({Does.MODELS, Does.MODEL, Does.TAGS, Does.PS})


class Roaming(Exchange):
    """`way` is there from when the agent is asked; it is over once the request is this host's."""

    __slots__ = ()  # most are this host's own: they are to cost no more than any exchange

    @property
    def _fleet(self) -> Fleet:
        fleet = self._gate.fleet
        assert fleet is not None
        return fleet

    # -- what needs no model

    def _own(self, snapshot: Snapshot) -> None:
        if self._entry.surface.does not in LISTS:
            return super()._own(snapshot)
        self._client.on_gone = self._left
        return self._fleet.look(self._listed)

    @guarded
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

    @guarded
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
        asked, fleet = self._asked, self._gate.fleet
        if fleet is None or asked is None or asked.unload or fleet.is_here(wish.candidates):
            found = self._gate.admission.enter(wish, self._ready)
            return self._go(found) if type(found) is Grant else self._take(found)
        names = self._gate.names.elsewhere(self._name, wish.candidates)
        self._way = Way(fleet, self, self._gate.config, wish, names, self._unknown)
        self._client.on_gone = self._left
        return self._way.begin()

    @guarded
    def here(self, wish: Wish) -> None:
        self._quiet()
        super()._enter(wish)

    @guarded
    def there(self, there: There) -> None:
        self._quiet()
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
        self._relay = Relay(self._client, gate.links, origin, to, _Abroad(self))
        return None

    def waits(self) -> None:
        if self._way is not None:
            self._tell(self._way, self._entry.cors)

    @guarded
    def fails(self, why: Refusal | WrongModel) -> None:
        self._quiet()
        if isinstance(why, WrongModel):
            self._wrong(why)
        else:
            self._turned_away(why)

    # -- what the relay tells

    def heard(self, status: int, headers: Headers) -> Headers:
        """Another host answers."""
        way, relay = self._way, self._relay
        assert way is not None
        assert relay is not None
        told = way.told(status, headers)
        if told is None:
            relay.cancel()
            return ()
        self._first = self._gate.clock() - self._began
        if self._waited is not None and all(name != b"x-ullage-waited" for name, _ in headers):
            told = (*told, (b"x-ullage-waited", b"%.3f" % self._waited))
        return (*told, *self._entry.cors)

    def came_back(self, end: End, status: int) -> None:
        """Another host is done with it, or gone."""
        if self._way is not None:
            self._way.back(None if self._relay is None else self._relay.error)
        self.ended(end, status)

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

    def broke(self, text: str) -> None:
        if self._way is not None:
            self._way.leave()
        super().broke(text)

    def revoke(self) -> None:
        way = self._way
        if not self._entry.caller.gone or way is None or not way.asks:
            return super().revoke()
        way.leave()
        self._quiet()
        return self._revoked()

    @property
    def _counted(self) -> ModelRef | None:
        ref, way = self._ref, self._way
        if ref is None or way is None or way.there is None:
            return ref
        return ModelRef(ELSEWHERE, ref.model)


class _Abroad:
    """Hears of the relay to another host."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Roaming) -> None:
        self._exchange = exchange

    @property
    def flight(self) -> Flies:
        return STILL

    def answered(self, status: int, headers: Headers) -> Headers:
        return self._exchange.heard(status, headers)

    def spoke(self) -> None:
        self._exchange.spoke()

    def ended(self, end: End, status: int) -> None:
        self._exchange.came_back(end, status)

    def last_words(self, content_type: bytes) -> bytes | None:
        return self._exchange.last_words(content_type)

    def event_of(self, status: int, content_type: bytes, body: bytes) -> bytes:
        return self._exchange.event_of(status, content_type, body)
