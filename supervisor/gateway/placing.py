"""What the fleet's agent answers, read strictly: where a request is to go, that nobody can take it
now, or what the fleet holds. Values in, values out; whatever else comes is no answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.fleet.decided import Why
from supervisor.fleet.place import USUAL
from supervisor.printable import printable

from .question import Said

NEAR: Final = "here"  # of a host in the directory: it takes part
LONGEST = 300  # characters of a sentence that goes on


@dataclass(frozen=True, slots=True)
class There:
    """A host of the fleet serves it, or is about to. `address` is that of its gateway, None: it
    has none that others could ask; `model` what it calls the model, "engine/model". `id` is the
    placement's."""

    host: str
    address: str | None
    model: str
    id: str = ""
    ready: bool = False

    @property
    def ref(self) -> ModelRef:
        engine, apart, model = self.model.partition("/")
        return ModelRef(EngineId(engine if apart else ""), ModelId(model if apart else engine))


@dataclass(frozen=True, slots=True)
class Queued:
    """No host can take it now: why, in sentences. On the `busy` hosts it is ready, and has more to
    do than it should."""

    sentences: tuple[str, ...] = ()
    busy: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Nobody:
    """No host has such a model. `closest` are called something like it."""

    closest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Silent:
    """There is no fleet to be had now: why."""

    why: str


Answer = There | Queued | Nobody | Silent


class Model(msgspec.Struct, frozen=True):
    """One that a host has: `name` as its engine calls it; `size` in bytes."""

    name: str
    engine: str
    status: str
    ready: bool = False
    size: int | None = None
    in_flight: int = 0
    waiting: int = 0
    slots: int | None = None

    @property
    def load(self) -> float:
        """Requests that it has, for each that it could work on at once."""
        return (self.in_flight + self.waiting) / max(1, self.slots or USUAL.slots)

    @property
    def ref(self) -> ModelRef:
        return ModelRef(EngineId(self.engine), ModelId(self.name))

    @property
    def names(self) -> tuple[str, str]:
        return self.name, f"{self.engine}/{self.name}"


class Word(msgspec.Struct, frozen=True):
    host: str
    address: str | None = None
    models: tuple[Model, ...] = ()


class Host(msgspec.Struct, frozen=True):
    word: Word
    presence: str = NEAR


class Hosts(msgspec.Struct, frozen=True):
    hosts: tuple[Host, ...] = ()


class Fleet(msgspec.Struct, frozen=True):
    """The directory, as far as a gateway has use for it: thousands of models are read in a few
    milliseconds, for nothing else of them is built."""

    own: str = msgspec.field(name="self")
    directory: Hosts
    connected: bool = True

    def others(self) -> tuple[Word, ...]:
        """Hosts that take part and can be asked, but for this one."""
        found = (h.word for h in self.directory.hosts if h.presence == NEAR)
        return tuple(w for w in found if w.host != self.own and w.address)

    def having(self, name: str) -> tuple[tuple[Word, Model], ...]:
        """Which of them have a model of that name, with its engine's or without; those where it is
        ready come first."""
        found = [(w, m) for w in self.others() for m in w.models if name in m.names]
        return tuple(sorted(found, key=lambda each: (not each[1].ready, each[1].load)))

    def nearest(self, name: str, busy: frozenset[str]) -> There | None:
        """Of hosts where it is ready and has too much to do, the one with the least."""
        found = [(m.load, w.host, w, m) for w, m in self.having(name) if w.host in busy and m.ready]
        if not found:
            return None
        _, host, word, model = min(found, key=lambda each: each[:2])
        return There(host, word.address, str(model.ref), ready=True)


class _There(msgspec.Struct, frozen=True):
    host: str
    model: str
    address: str | None = None
    placement: str = ""
    ready: bool = False


class _Note(msgspec.Struct, frozen=True):
    host: str = ""
    why: str = ""


class _Else(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""
    sentences: tuple[str, ...] = ()
    notes: tuple[_Note, ...] = ()
    closest: tuple[str, ...] = ()


_there: Final = msgspec.json.Decoder(_There)
_else: Final = msgspec.json.Decoder(_Else)
_fleet: Final = msgspec.json.Decoder(Fleet)


def read(said: Said | str) -> Answer:
    """Of `POST /place`."""
    if isinstance(said, str):
        return Silent(said)
    try:
        if said.status == 200:
            found = _there.decode(said.body)
            if not found.host or not found.model:
                return Silent("its answer names no host, or no model")
            return There(
                _line(found.host), found.address, found.model, found.placement, found.ready
            )
        told = _else.decode(said.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Silent(f"its answer cannot be read: {_line(str(error))}")
    if said.status == 409:
        busy = frozenset(n.host for n in told.notes if n.why == Why.OVERLOADED.value)
        return Queued(tuple(map(_line, told.sentences)), busy)
    if 400 <= said.status < 500:  # also of a name that no model can have
        return Nobody(tuple(map(_line, told.closest)))
    return Silent(f"it answered {said.status}" + (f": {_line(told.detail)}" if told.detail else ""))


def seen(said: Said | str) -> Fleet | str:
    """Of `GET /fleet`; or why there is nothing to be seen."""
    if isinstance(said, str):
        return said
    if said.status != 200:
        return f"it answered {said.status}"
    try:
        return _fleet.decode(said.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"its answer cannot be read: {_line(str(error))}"


def asked(model: str, avoid: frozenset[str]) -> bytes:
    """What `POST /place` is asked. It is not to wait until somebody has room: that we do."""
    told = {"model": model, "dry": False, "within": 0, "avoid": sorted(avoid)}
    return msgspec.json.encode(told)


def _line(text: str) -> str:
    return printable(text[:LONGEST], "?")
