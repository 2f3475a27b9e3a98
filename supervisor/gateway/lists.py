"""Lists of models, of the host or the fleet, as OpenAI's, Anthropic's and Ollama's clients read
them.

What is not known is null, or what the API itself says in its place. Only a digest is made up, of
the model's name: Ollama's command line cuts it short, and fails without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from collectors.reading import RAM, PoolId, PoolKind
from supervisor import __version__
from supervisor.core.snapshot import ModelRef, Resident, Snapshot, State
from supervisor.engines.serves import Api

from .fleet_lists import Others, about, ref_of, remote
from .names import Names, Visible, everyone
from .placing import Fleet
from .reply import Reply
from .surfaces import Surface
from .wrong import UnknownModel

HELLO: Final = Reply(200, b"Ollama is running", b"text/plain; charset=utf-8")
HEALTHY: Final = Reply(200, b'{"status":"ok"}')
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC).timestamp()  # whatever is later is no end
EPOCH: Final = "1970-01-01T00:00:00Z"  # as Anthropic has it where a model's date is not known
NEVER: Final = "2318-01-01T00:00:00Z"  # as Ollama writes the end of a keep-alive without end

_encode: Final = msgspec.json.Encoder().encode


def _reply(content: Any) -> Reply:
    return Reply(200, _encode(content))


def models(
    snapshot: Snapshot,
    names: Names,
    api: Api,
    visible: Visible = everyone,
    fleet: Fleet | None = None,
) -> Reply:
    """All that can be asked by name, aliases among them: in OpenAI's form, or Anthropic's."""
    host = _Host(snapshot, names)
    entries = [host.entry(id, refs, api) for id, refs in host.ids(visible)]
    if fleet is not None:
        others = Others(fleet, visible)
        others.mark(entries)
        beside = others.beside(entries)
        entries += [_entry(id, ref_of(found), about(found), api) for id, found in beside]
    if api is Api.OPENAI:
        return _reply({"object": "list", "data": entries})
    ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]} if entries else {}
    page = {"data": entries, "has_more": False, "first_id": None, "last_id": None}
    return _reply(page | ends)


def model(
    name: str,
    snapshot: Snapshot,
    names: Names,
    surface: Surface,
    api: Api,
    visible: Visible = everyone,
    fleet: Fleet | None = None,
) -> Reply:
    """One of them, under the name that was asked for. Raises UnknownModel."""
    others = None if fleet is None else Others(fleet, visible)
    try:
        known = names.candidates(name, snapshot, surface, visible)
        refs = [ref for ref in known if visible(ref, name)]
        if not refs:
            raise names.unknown(name, snapshot, surface, visible)
    except UnknownModel:
        if others is None or (found := others.models.get(name)) is None:
            raise
        return _reply(_entry(name, ref_of(found), about(found), api))
    entry = _Host(snapshot, names).entry(name, refs, api)
    if others is not None:
        others.mark([entry])
    return _reply(entry)


def tags(
    snapshot: Snapshot, names: Names, visible: Visible = everyone, fleet: Fleet | None = None
) -> Reply:
    """All that can be asked, as Ollama lists them, with the parts of APIs that each serves."""
    host = _Host(snapshot, names)
    rows = [host.tag(id, refs) for id, refs in host.ids(visible)]
    if fleet is not None:
        others = Others(fleet, visible)
        others.mark(rows)
        rows += [
            _listed(id, ref_of(found), about(found)) | _UNDATED | {"size": found[0][1].size}
            | remote(found)
            for id, found in others.beside(rows, "name")
        ]  # fmt: skip
    return _reply({"models": rows})


def ps(
    snapshot: Snapshot, names: Names, visible: Visible = everyone, fleet: Fleet | None = None
) -> Reply:
    """The loaded ones as Ollama lists them."""
    host = _Host(snapshot, names)
    known = [r for r in snapshot.residents if r.state is not State.UNKNOWN and visible(r.ref)]
    rows = [host.loaded(resident) for resident in known]
    if fleet is not None:
        others = Others(fleet, visible)
        others.mark(rows)
        rows += [
            _listed(id, ref_of(found), about(found)) | _UNTIMED | {"size": found[0][1].size}
            | remote(found)
            for id, found in others.beside(rows, "name")
            if found[0][1].ready
        ]  # fmt: skip
    return _reply({"models": rows})


def unloaded(surface: Surface, name: str, now: datetime | None = None) -> Reply:
    """What Ollama answers to whoever wants a model to go that is not loaded."""
    if surface.name in ("embed", "ollama_embeddings"):
        empty = "embeddings" if surface.name == "embed" else "embedding"
        return _reply({"model": name, empty: []})
    told: dict[str, Any] = {"model": name, "created_at": _instant(now or datetime.now(UTC))}
    if surface.name == "ollama_chat":
        told["message"] = {"role": "assistant", "content": ""}
    else:
        told["response"] = ""
    return _reply(told | {"done": True, "done_reason": "unload"})


def version(snapshot: Snapshot) -> Reply:
    """Ollama's, where there is one, for its clients ask what it can do; else our own. That it is
    us is told besides: a gateway is no engine, and is not to be found as one."""
    own = [e.version for e in snapshot.engines if e.kind == "ollama" and e.version]
    return _reply({"version": own[0] if own else __version__, "ullage": __version__})


class _Host:
    """The models of a snapshot, as entries of lists."""

    def __init__(self, snapshot: Snapshot, names: Names) -> None:
        names.look(snapshot)
        self._names = names
        self._residents = {r.ref: r for r in snapshot.residents}
        self._sizes = {i.ref: i.size for i in snapshot.installed}
        self._kinds = {pool.id: pool.kind for pool in snapshot.pools}

    def ids(self, visible: Visible) -> Iterator[tuple[str, list[ModelRef]]]:
        """What a client may name, and whom that means: models that anything can be asked of."""
        for alias in self._names.aliases:
            meant = self._names.meant(alias)
            refs = [r for r in meant if visible(r, alias) and self._names.serves(r)]
            if refs:
                yield alias, refs
        for ref in self._names.known:
            if visible(ref) and self._names.serves(ref):
                yield self._names.id_of(ref), [ref]

    def entry(self, id: str, refs: list[ModelRef], api: Api) -> dict[str, Any]:
        return _entry(id, refs[0], self._about(id, refs), api)

    def tag(self, id: str, refs: list[ModelRef]) -> dict[str, Any]:
        return self._ollama(id, refs) | _UNDATED | {"size": self._sizes.get(refs[0])}

    def loaded(self, resident: Resident) -> dict[str, Any]:
        ends = resident.expires_at
        known = ends is not None and 0 <= ends < LATEST
        on_devices = sum(resident.holds(p) for p in resident.pools if self._is_device(p))
        return self._ollama(self._names.id_of(resident.ref), [resident.ref]) | {
            "size": resident.size or None,
            "size_vram": on_devices if resident.size else None,
            "expires_at": _instant(datetime.fromtimestamp(ends or 0, UTC)) if known else NEVER,
            "context_length": resident.context,
        }

    def _is_device(self, pool: PoolId) -> bool:
        kind = self._kinds.get(pool)  # None: it is blind
        return pool != RAM if kind is None else kind is not PoolKind.HOST

    def _about(self, id: str, refs: list[ModelRef]) -> dict[str, Any]:
        """What we know besides. Of several the loaded one is told of."""
        there = next((r for r in map(self._residents.get, refs) if r is not None), None)
        ref = refs[0] if there is None else there.ref
        size = self._sizes.get(ref) if there is None else there.size or None
        state = "local" if there is None else there.state.value
        about: dict[str, Any] = {
            "engine": ref.engine,
            "model": ref.model,
            "state": state,
            "size": size,
        }
        type = self._names.type_of(ref)
        if type is not None:
            about["type"] = type.value
        if id in self._names.aliases:
            about["alias_of"] = [str(r) for r in refs]
        return about

    def _ollama(self, id: str, refs: list[ModelRef]) -> dict[str, Any]:
        serves = sorted(self._names.serves(refs[0]))
        return _listed(id, refs[0], self._about(id, refs) | {"serves": serves})


def _entry(id: str, ref: ModelRef, about: dict[str, Any], api: Api) -> dict[str, Any]:
    """As OpenAI's clients read it, or Anthropic's."""
    if api is Api.ANTHROPIC:
        named = {"type": "model", "display_name": id, "created_at": EPOCH}
        return {"id": id, **named, "ullage": about}
    owner = ref.engine
    return {"id": id, "object": "model", "created": 0, "owned_by": owner, "ullage": about}


def _listed(id: str, ref: ModelRef, about: dict[str, Any]) -> dict[str, Any]:
    """As Ollama's clients read it."""
    return {
        "name": id,
        "model": id,
        "digest": sha256(str(ref).encode(errors="replace")).hexdigest(),
        "details": _DETAILS,
        "ullage": about,
    }


_UNDATED: Final = {"modified_at": None}
_UNTIMED: Final = {"size_vram": None, "expires_at": NEVER, "context_length": None}
_DETAILS: Final = dict.fromkeys(
    ("parent_model", "format", "family", "families", "parameter_size", "quantization_level")
)


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
