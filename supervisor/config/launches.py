"""What may be wrong with engines that are ours to start, where one key alone does not show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from supervisor.units import shown

from .engine import Engine
from .forms import is_loopback, split_url
from .given import Given
from .served import EVERY, LAUNCHED, Launching, Served, places
from .settings import File, KeyPath

NO_API = frozenset({*LAUNCHED, "http"})  # kinds that `serves` cannot name: what speaks is inside
OURS = ("PORT", "MODEL")  # the variables that we give
Note = Callable[[KeyPath, str], None]


def launches(file: File, given: Given, kinds: frozenset[str]) -> None:
    """Notes every mistake of every engine that is ours to start, and of those that are not and
    say how."""
    said: set[tuple[KeyPath, str]] = set()

    def note(path: KeyPath, message: str) -> None:
        if (path, message) not in said:  # many models may have one mistake
            said.add((path, message))
            given.problem(path, message)

    for name, engine in file.engines.items():
        path: KeyPath = ("engines", name)
        if engine.kind in LAUNCHED:
            _of_one(engine, path, note, given, kinds)
        elif engine.kind is None or engine.kind in kinds:
            _misplaced(engine, path, note)
    _once(file, note)


def _of_one(engine: Engine, path: KeyPath, note: Note, given: Given, kinds: frozenset[str]) -> None:
    assert engine.kind is not None
    needed, _ = LAUNCHED[engine.kind]
    if engine.url is not None:
        example = "its models have" if engine.served else "the table of a model has"
        note((*path, "url"), f"is not for an engine that we start: {example} one each")
    if not engine.served and not _is_written(given, (*path, "served")):
        table = f'[engines.{path[1]}.served."NAME"]'
        note((*path, "served"), f"is missing; write a table for each model, as {table}")
    _strange_keys(engine.kind, engine, path, note)
    for own, place in _tables(engine, path):
        _strange_keys(engine.kind, own, place, note)
    for model, (own, place) in zip(engine.served, _tables(engine, path), strict=True):
        whole = engine.of(model)

        def at(key: str, own: Served = own, place: KeyPath = place) -> KeyPath:
            """Where the value that counts was written."""
            return (*place, key) if key in own.model_fields_set else (*path, key)

        if getattr(whole, needed) is None and not any(
            _is_written(given, (*p, needed)) for p in (place, path)
        ):
            note((*place, needed), f"is missing; an engine of kind {engine.kind} needs it")
        if whole.serves is not None and (hint := _no_kind(whole.serves, kinds - NO_API)):
            note(at("serves"), hint)
        if whole.ready is not None and not whole.ready.startswith("/"):
            note(at("ready"), f'{shown(whole.ready)} is not a path; write it as "/health"')
        if whole.url is not None:
            host = split_url(whole.url)[1]
            if engine.kind == "process" and not is_loopback(host):
                note(at("url"), f"{shown(host)} is not this machine, where it is started")
            elif not is_loopback(host) and not engine.allow_remote:
                why = (
                    f"{shown(host)} is not this machine; if that is meant, set allow_remote = true"
                )
                note(at("url"), why)
        left_out = _left_out(engine, path, given) or _left_out(own, place, given)
        if engine.kind == "process" and not left_out:
            for key, message in _of_program(whole):
                note(at(key), message)


def _left_out(table: Launching | Served, path: KeyPath, given: Given) -> bool:
    """Is something of its program wrong by itself? Then the rest says nothing."""
    keys = ("command", "variables", "environment")
    return any(k not in table.model_fields_set and _is_written(given, (*path, k)) for k in keys)


def _of_program(whole: Served) -> Iterator[tuple[str, str]]:
    variables = whole.variables or {}
    names = {*OURS, *variables}
    for name, text in variables.items():
        if name in OURS:
            yield "variables", f"{name} is given by Ullage; call yours otherwise"
        yield from _unknown("variables", [text], set(OURS), "variables may name")
    yield from _unknown("command", whole.command or (), names)
    yield from _unknown("environment", (whole.environment or {}).values(), names)
    if whole.command is None or whole.url is not None:
        return
    texts = (*whole.command, *(whole.environment or {}).values(), *variables.values())
    if not any("PORT" in places(text) for text in texts):
        yield "command", "has no ${PORT}, and there is no url: nobody would know where it answers"


def _unknown(
    key: str, texts: Iterable[str], known: set[str], which: str = "there is"
) -> Iterator[tuple[str, str]]:
    for name in dict.fromkeys(n for text in texts for n in places(text) if n not in known):
        close = get_close_matches(name, known, 1)
        hint = f"did you mean ${{{close[0]}}}?" if close else f"{which} {_listed(known)}"
        yield key, f"${{{name}}} is no variable; {hint}"


def _strange_keys(kind: str, table: Launching | Served, path: KeyPath, note: Note) -> None:
    """Keys that are of use to engines of another kind alone."""
    needed, others = LAUNCHED[kind]
    for key in _said(table):
        if key not in (needed, *others, *EVERY):
            note((*path, key), f"is not for an engine of kind {kind}; {_for(key)}")


def _misplaced(engine: Engine, path: KeyPath, note: Note) -> None:
    """It is not ours to start. Or should it be?"""
    kind = "a kind that is found out" if engine.kind is None else f"kind {engine.kind}"
    for key in (*_said(engine), *(("served",) if engine.served else ())):
        note((*path, key), f"is not for an engine of {kind}; {_for(key)}")


def _for(key: str) -> str:
    kinds = [k for k, (needed, others) in LAUNCHED.items() if key in (needed, *others)]
    return f"it is for {' or '.join(kinds or LAUNCHED)}"


def _said(table: Launching | Served) -> list[str]:
    own = Launching.model_fields.keys() if isinstance(table, Launching) else Served.model_fields
    return [k for k in own if k in table.model_fields_set and k != "served"]


def _tables(engine: Engine, path: KeyPath) -> list[tuple[Served, KeyPath]]:
    return [(own, (*path, "served", model)) for model, own in engine.served.items()]


def _once(file: File, note: Note) -> None:
    """What only one model can have: its unit, its container, its address."""
    seen: dict[tuple[object, ...], str] = {}
    for name, engine in file.engines.items():
        if engine.kind not in LAUNCHED:
            continue
        needed, _ = LAUNCHED[engine.kind]
        for model in engine.served:
            whole, path = engine.of(model), ("engines", name, "served", model)
            for key in ("url",) if needed == "command" else ("url", needed):
                value = getattr(whole, key)
                if value is None:
                    continue
                mark: tuple[object, ...] = (key, value)
                if key == "url":
                    _, host, port = split_url(value)
                    mark = (key, "127.0.0.1" if host == "localhost" else host, port)
                    if mark[1:] == (file.listen.host, file.listen.port):
                        note((*path, key), f"{shown(value)} is where Ullage itself listens")
                elif key != "unit":
                    mark = (key, value, whole.namespace, engine.socket, engine.kubeconfig)
                else:
                    mark = (key, value, engine.user)
                twin = seen.setdefault(mark, f"{name}/{model}")
                if twin != f"{name}/{model}":
                    note((*path, key), f"{shown(value)} is that of {twin} too; each needs its own")


def _no_kind(kind: str, kinds: frozenset[str]) -> str | None:
    if kind in kinds:
        return None
    close = get_close_matches(kind, kinds, 1)
    hint = f"did you mean {close[0]}?" if close else f"write one of {_listed(kinds)}"
    return f"{shown(kind)} is no kind of engine with an API of its own; {hint}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _is_written(given: Given, path: KeyPath) -> bool:
    """Also what was wrong with it and has been left out: that has been said."""
    tree: Any = given.tree
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True
