"""Names of models: what clients call them, and whom that may mean.

Who stands for a name is kept until the models or the engines change, for it is asked with every
request. Who of several it is decides whoever lets the request in: the one that is loaded, or fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from supervisor.core.snapshot import EngineId, ModelRef, Snapshot, State
from supervisor.core.types import ModelType
from supervisor.engines.base import Engine
from supervisor.engines.serves import Serves
from supervisor.likeness import Likeness

from .surfaces import PARTS, PATHS, Surface
from .wrong import NotYetKnown, UnknownModel, WrongApi, WrongType

KEPT = 4096  # names with their candidates
LATEST = ":latest"


class Visible(Protocol):
    """May a client use this model, which it has `asked` for by that name?"""

    def __call__(self, ref: ModelRef, asked: str = "") -> bool: ...


# What a model of a type surely cannot do. An embedding model may rank, and one that chats embed.
_NEVER: Mapping[ModelType, frozenset[ModelType]] = {
    ModelType.CHAT: frozenset({ModelType.IMAGE}),
    ModelType.EMBEDDING: frozenset({ModelType.CHAT, ModelType.SPEECH, ModelType.IMAGE}),
    ModelType.RERANK: frozenset({ModelType.CHAT, ModelType.SPEECH, ModelType.IMAGE}),
    ModelType.SPEECH: frozenset({ModelType.EMBEDDING, ModelType.RERANK, ModelType.IMAGE}),
    ModelType.IMAGE: frozenset(ModelType) - {ModelType.IMAGE},
}


_THERE = (State.LOADED, State.SLEEPING)


def everyone(ref: ModelRef, asked: str = "") -> bool:
    return True


def said_by_nobody(_: ModelRef) -> ModelType | None:
    return None


class Names:
    """`engines` by id, in the order of the configuration; looked at, never changed. `aliases` stand
    for one name or for several, the first that is there first. `said` is what the configuration
    says a model is for. `searching`: engines that nobody named are still being looked for."""

    def __init__(
        self,
        engines: Mapping[EngineId, Engine],
        aliases: Mapping[str, str | Sequence[str]] | None = None,
        said: Callable[[ModelRef], ModelType | None] = said_by_nobody,
        searching: Callable[[], bool] = lambda: False,
    ) -> None:
        self.aliases = {
            alias: (names,) if isinstance(names, str) else tuple(names)
            for alias, names in (aliases or {}).items()
        }
        self._engines, self._said, self._searching = engines, said, searching
        self._seen: Snapshot | None = None
        self._print: object = None
        self.forget()

    def forget(self) -> None:
        """Settings have changed: whatever is kept may be untrue."""
        self._seen = None
        self._print = None
        self._kept: dict[tuple[str, str, str | None], tuple[ModelRef, ...]] = {}
        self._by_name: dict[str, list[ModelRef]] = {}
        self._types: dict[ModelRef, ModelType] = {}
        self._likeness: Likeness[ModelRef] | None = None
        self.known: tuple[ModelRef, ...] = ()

    def candidates(
        self,
        name: str,
        snapshot: Snapshot,
        surface: Surface,
        visible: Visible = everyone,
    ) -> tuple[ModelRef, ...]:
        """All that may be meant, in the order of the configuration, loaded or not, and those that
        are not `visible` too: where the client may use none of them, `unknown` is the answer.
        Raises UnknownModel, WrongApi or WrongType, which tell of nobody who is not visible."""
        if snapshot is not self._seen:
            self.look(snapshot)
        key = (name, surface.name, surface.engine)
        found = self._kept.get(key)
        if found is None:
            found = self._find(name, snapshot, surface, visible)
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[key] = found
        return found

    def knows(self, name: str, snapshot: Snapshot, surface: Surface) -> bool:
        """Is anybody called that? What passes to an engine may name what only that knows."""
        self.look(snapshot)
        return bool(self.meant(name, surface.engine))

    def look(self, snapshot: Snapshot) -> None:
        """Which models and engines are there? What is kept of others goes."""
        if snapshot is self._seen:
            return
        residents, installed = snapshot.residents, snapshot.installed
        seen = (
            tuple((r.ref, r.type) for r in residents),
            tuple((i.ref, i.type) for i in installed),
            tuple(self._engines),
        )
        if seen != self._print:
            self.forget()
            self._print = seen
            order = {id: place for place, id in enumerate(self._engines)}
            refs = dict.fromkeys([i.ref for i in installed] + [r.ref for r in residents])
            # Models of an engine that is configured no more can be asked of nobody.
            known = sorted((r for r in refs if r.engine in order), key=lambda r: order[r.engine])
            self.known = tuple(known)
            for ref in self.known:
                for name in (ref.model, str(ref)):
                    self._by_name.setdefault(name, []).append(ref)
            told: list[tuple[ModelRef, ModelType | None]] = [*seen[1], *seen[0]]
            self._types = {ref: type for ref, type in told if type is not None}
        self._seen = snapshot

    def id_of(self, ref: ModelRef) -> str:
        """What we call it: its bare name where no other has that, nor an alias."""
        alone = len(self._by_name.get(ref.model, ())) == 1 and ref.model not in self.aliases
        return ref.model if alone else str(ref)

    def serves(self, ref: ModelRef) -> Serves:
        engine = self._engines.get(ref.engine)
        return {} if engine is None else engine.serves(ref.model)

    def meant(self, name: str, engine: str | None = None) -> tuple[ModelRef, ...]:
        """Whom a name means, whatever is asked of them; nobody if it is not known. As of the last
        look; an `engine` limits it to that one's."""
        names: Iterable[str] = self.aliases.get(name, (name,))
        found = dict.fromkeys(ref for each in names for ref in self._called(each))
        return tuple(ref for ref in found if engine is None or ref.engine == engine)

    def elsewhere(self, name: str, candidates: Sequence[ModelRef]) -> tuple[str, ...]:
        """What other hosts may call the model that is meant, the likeliest first; `candidates` are
        those of this host, if there are any."""
        if candidates:
            whole = any(name == str(ref) for ref in candidates)
            return (name,) if whole else tuple(dict.fromkeys(ref.model for ref in candidates))
        names = self.aliases.get(name, (name,))
        ways = (way for each in names for way in (each, each.removesuffix(LATEST)))
        return tuple(dict.fromkeys(ways))

    def _called(self, name: str) -> Sequence[ModelRef]:
        known = self._by_name
        if name in known:
            return known[name]
        # As Ollama and registries have it, no tag means the latest.
        other = name.removesuffix(LATEST) if name.endswith(LATEST) else name + LATEST
        return known.get(other, ())

    # -- the slow way, once for each name

    def _find(
        self, name: str, snapshot: Snapshot, surface: Surface, visible: Visible
    ) -> tuple[ModelRef, ...]:
        meant = self.meant(name, surface.engine)
        if not meant:
            raise self.unknown(name, snapshot, surface, visible)
        # Behind /engines/NAME the path is the client's own, and the engine's affair.
        any_path = surface.engine is not None or surface.name not in PARTS
        able = [ref for ref in meant if any_path or surface.name in self.serves(ref)]
        fit = tuple(ref for ref in able if self._may(ref, surface))
        if fit:
            return fit
        shown = [ref for ref in able or meant if visible(ref, name)]
        if not shown:
            raise self.unknown(name, snapshot, surface, visible)
        ref = shown[0]
        if not able:
            engine = self._engines.get(ref.engine)  # another may answer in its place by now
            title = str(ref.engine) if engine is None else engine.title
            raise WrongApi(name, ref, title, surface, self._instead(shown, surface.type))
        told = self.type_of(ref)
        assert told is not None  # or it would have been fit
        raise WrongType(name, ref, told, surface.type, self._instead(shown, told))

    def type_of(self, ref: ModelRef) -> ModelType | None:
        """What it is for, by the configuration's word or its engine's; None: nobody says."""
        return self._said(ref) or self._types.get(ref)

    def _may(self, ref: ModelRef, surface: Surface) -> bool:
        told = self.type_of(ref)
        return told is None or surface.type is None or surface.type not in _NEVER[told]

    def unknown(
        self, name: str, snapshot: Snapshot, surface: Surface, visible: Visible = everyone
    ) -> UnknownModel:
        """What is said to whoever names nobody that it may use."""

        def shown(ref: ModelRef) -> bool:
            return visible(ref) and surface.engine in (None, ref.engine)

        if self._likeness is None:
            self._likeness = Likeness((self.id_of(ref), ref) for ref in self.known)
        loaded = [r.ref for r in snapshot.residents if r.state in _THERE and shown(r.ref)]
        # A snapshot for an alarm has no word of engines that were not asked yet.
        heard = {ref.engine for ref in self.known} | {e.id for e in snapshot.engines if e.up}
        silent = any(surface.engine in (None, id) and id not in heard for id in self._engines)
        return (NotYetKnown if silent or self._searching() else UnknownModel)(
            name,
            self._likeness.closest(name, shown),
            tuple(self.id_of(ref) for ref in loaded),
            tuple(self.aliases.get(name, ())),
        )

    def _instead(self, meant: Iterable[ModelRef], type: ModelType | None) -> tuple[str, ...]:
        """Our paths at which one of them could be asked for what is like it."""
        parts = [part for part in PARTS if any(part in self.serves(ref) for ref in meant)]
        alike = [part for part in parts if PARTS[part].type is type and type is not None]
        return tuple(PATHS[part] for part in alike or parts)
