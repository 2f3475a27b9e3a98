"""Settings that cannot both be meant: each with the key to change, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from collectors.reading import RAM, MemoryPool, Seconds

from .explain import size
from .groups import Group, Rule, matches
from .policy import ACCELERATOR_RESERVE, FOREVER, HOST_RESERVE, Amount, Policy, Retention, Scope
from .snapshot import REMOTE, EngineId, ModelId, ModelRef
from .types import ModelType, guess


class Contradiction(NamedTuple):
    """`path` is that of the key in the file."""

    path: tuple[str, ...]
    message: str


def contradictions(policy: Policy) -> tuple[Contradiction, ...]:
    """All of them, as far as they can be told without the machine."""
    return tuple(
        Contradiction(path, message)
        for path, message in (
            *_pins(policy),
            *_groups(policy),
            *_pools(policy),
            *_scopes(policy),
            *_lines(policy),
        )
    )


def too_large(policy: Policy, pools: Iterable[MemoryPool]) -> tuple[Contradiction, ...]:
    """What is wanted of a pool, and is more than there is of it."""
    found = []
    for pool in pools:
        own = policy.pools.get(pool.id)
        for name, amount in (
            () if own is None else (("reserve", own.reserve), ("budget", own.budget))
        ):
            if _beyond(amount, pool, name):
                assert amount is not None
                has = f"{pool.id} has {size(pool.total)}"
                message = (
                    f"is {size(max(amount.size, int(amount.fraction * pool.total)))}, and {has}"
                )
                found.append(Contradiction(("pools", pool.id, name), message))
    return tuple(found)


def not_here(policy: Policy, pools: Iterable[MemoryPool]) -> tuple[Contradiction, ...]:
    """What engines are said to use, and is no pool of this machine, all of which are given."""
    here = sorted(pool.id for pool in pools)
    return tuple(
        Contradiction(
            ("engines", engine, "pools"), f"names {_and(lost)}, and there is {_and(here)}"
        )
        for engine, own in sorted(policy.engines.items())
        if (lost := sorted(own.pools - {REMOTE, *here}))
    )


def _beyond(amount: Amount | None, pool: MemoryPool, name: str) -> bool:
    if amount is None or not pool.total:
        return False
    return amount.size >= pool.total if name == "reserve" else amount.size > pool.total


Found = tuple[tuple[str, ...], str]


def _pins(policy: Policy) -> Iterator[Found]:
    """More pins than a limit lets be active together."""
    pins = _pinned(policy)
    if policy.single and len(pins) > 1:
        yield ("single_active_backend",), f"is for one model at a time, and {_and(pins)} are pinned"
    if policy.max_active and len(pins) > policy.max_active:
        yield ("max_active_backends",), f"is {policy.max_active}, and {_and(pins)} are pinned"
    by_engine: dict[str, list[str]] = defaultdict(list)
    by_type: dict[ModelType, list[str]] = defaultdict(list)
    for pin in pins:
        by_type[_type(policy, pin)].append(pin)
        if "/" in pin:
            by_engine[pin.partition("/")[0]].append(pin)
    for engine, own in sorted(policy.engines.items()):
        mine = by_engine[engine]
        if own.max_active and len(mine) > own.max_active:
            message = f"is {own.max_active}, and {_and(mine)} are pinned"
            yield ("engines", engine, "max_active_backends"), message
    for type, most in policy.types.items():
        if most and len(by_type[type]) > most:
            path = ("types", type.value, "max_active_backends")
            yield path, f"is {most}, and {_and(by_type[type])} are pinned"
    on_npu = [p for p in pins if policy.said(_ref(p), "npu")]
    if policy.npu_most and len(on_npu) > policy.npu_most:
        message = f"is {policy.npu_most}, and {_and(on_npu)} are pinned"
        yield ("npu", "max_active_backends"), message
    for name, group in sorted(policy.groups.items()):
        inside = [p for p in pins if _in(group, p)]
        if group.rule is Rule.NEVER_TOGETHER and len(inside) > 1:
            message = f"{_and(inside)} are never together, and each of them is pinned"
            yield ("groups", name, "models"), message


def _groups(policy: Policy) -> Iterator[Found]:
    for name, group in sorted(policy.groups.items()):
        path = ("groups", name, "models")
        if len(group.models) < 2 and "*" not in "".join(group.models):
            yield path, f"{_and(group.models)} alone is no group; name two models or more"
        if group.rule is not Rule.ALWAYS_TOGETHER:
            continue
        for other, rival in sorted(policy.groups.items()):
            both = [m for m in group.models if _in(rival, m)]
            if rival.rule is Rule.NEVER_TOGETHER and len(both) > 1:
                yield path, f"{_and(both)} are always together, and in {other} never"
        count = len(group.models)
        if policy.single:
            yield path, f"{_and(group.models)} are always together, and one may be active at once"
        elif policy.max_active and count > policy.max_active:
            yield path, f"they are {count}, and {policy.max_active} may be active at once"
        for engine, own in sorted(policy.engines.items()):
            mine = [m for m in group.models if m.startswith(f"{engine}/")]
            if own.max_active and len(mine) > own.max_active:
                yield path, f"{_and(mine)} are more than {engine} may have active at once"
        for type, most in policy.types.items():
            alike = [m for m in group.models if _type(policy, m) is type]
            if most and len(alike) > most:
                yield (
                    path,
                    f"{_and(alike)} are more of type {type.value} than may be active at once",
                )


def _pools(policy: Policy) -> Iterator[Found]:
    for pool, own in sorted(policy.pools.items()):
        if own.exclusive and own.max_active > 1:
            message = f"is for one model, and max_active_backends is {own.max_active}"
            yield ("pools", pool, "exclusive"), message
    for engine, its in sorted(policy.engines.items()):
        if REMOTE in its.pools and len(its.pools) > 1:
            others = _and(sorted(its.pools - {REMOTE}))
            message = f"names {REMOTE}, for an engine on another machine; leave out {others}"
            yield ("engines", engine, "pools"), message


def _scopes(policy: Policy) -> Iterator[Found]:
    """What one and the same table says of how long a model stays."""
    tables: list[tuple[tuple[str, ...], Scope]] = [((), policy)]
    tables += [(("engines", e), own) for e, own in sorted(policy.engines.items())]
    tables += [(("models", m), own) for m, own in sorted(policy.models.items())]
    for path, scope in tables:
        if scope.min_residency and scope.keep_alive == Seconds(0):
            message = "it stays for that long, and keep_alive = 0 makes it go after each request"
            yield (*path, "min_residency"), message
    for model, own in sorted(policy.models.items()):
        pinned = own.pinned or own.retention is Retention.PINNED
        if own.pinned and own.retention not in (None, Retention.PINNED):
            message = f"is {own.retention.value}, and it is pinned"
            yield ("models", model, "retention"), message
        elif pinned and own.keep_alive is not None and own.keep_alive != FOREVER:
            yield ("models", model, "keep_alive"), "makes it go, and it is pinned"


def _lines(policy: Policy) -> Iterator[Found]:
    """Lines of a pool that cannot be in order whatever it holds: hard, soft and restore."""
    for id, own in sorted(policy.pools.items()):
        reserve = own.reserve or (HOST_RESERVE if id == RAM else ACCELERATOR_RESERVE)
        soft = reserve if own.soft is None else own.soft
        if _above(soft, reserve):
            message = (
                f"{_says(soft)} is above the reserve of {_says(reserve)}: a load may fill the pool"
                " down to that, and would be short at once; raise the reserve"
            )
            yield ("pools", id, "soft"), message
        if own.hard is not None and _above(own.hard, soft):
            message = f"{_says(own.hard)} is above the soft line, {_says(soft)}: it is met later"
            yield ("pools", id, "hard"), message
        if own.restore is not None and _above(soft, own.restore):
            message = (
                f"{_says(own.restore)} is below the soft line, {_says(soft)}: relief goes at least"
                " that far"
            )
            yield ("pools", id, "restore"), message


def _above(one: Amount, other: Amount) -> bool:
    """Of a pool of any size. Bytes and shares are compared once it is known."""
    return one != other and one.size >= other.size and one.fraction >= other.fraction


def _says(amount: Amount) -> str:
    parts = [size(amount.size)] if amount.size else []
    parts += [f"{100 * amount.fraction:g}%"] if amount.fraction else []
    return " or ".join(parts) or "0"


def _pinned(policy: Policy) -> list[str]:
    """Every pin once: a name without its engine may well be that of one with it."""
    told = (m for m, own in policy.models.items() if own.pinned or own.keeps is Retention.PINNED)
    every = {*policy.pinned, *told}
    full = {p.partition("/")[2] for p in every if "/" in p}
    return sorted(p for p in every if "/" in p or p not in full)


def _in(group: Group, name: str) -> bool:
    """Does `group` have the model, or the models, that `name` stands for?"""
    bare = name.partition("/")[2] or name
    for pattern in group.models:
        if pattern == name or ("*" not in name and matches(pattern, _ref(name))):
            return True
        if "/" in pattern and "/" not in name and pattern.partition("/")[2] == bare:
            return True
    return False


def _ref(name: str) -> ModelRef:
    engine, slash, model = name.partition("/")
    return ModelRef(EngineId(engine if slash else ""), ModelId(model if slash else name))


def _type(policy: Policy, name: str) -> ModelType:
    ref = _ref(name)
    said: ModelType | None = policy.said(ref, "type")
    return said or guess("", ref.model)


def _and(names: Iterable[str]) -> str:
    every = list(names)
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)
