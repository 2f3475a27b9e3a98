"""Limits and groups, as tables of the file and as the policy has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from supervisor.core import groups
from supervisor.core.policy import Brake, Policy, PoolPolicy, Scope
from supervisor.core.types import ModelType
from supervisor.units import format_duration, parse_duration, shown

from . import forms
from .forms import Form
from .table import Table, setting


def _models(value: Any) -> tuple[str, ...]:
    right = 'write it as ["qwen3:8b", "ollama/llama3*"]'
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"{shown(value)} is not a list of models; {right}")
    for name in value:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{shown(name)} is not the name of a model; {right}")
    return tuple(dict.fromkeys(value))


def _show_brake(brake: Brake | None) -> str:
    return "none" if brake is None else f"{brake.count}/{format_duration(brake.period)}"


def rate(what: str, example: str) -> Form:
    """At most so many of `what` in a time; `example` puts "6/10m" into words."""
    right = f'write it as "6/10m", {example}'

    def read(value: Any) -> Brake:
        pattern = r"\s*([0-9]{1,6})\s*/\s*(\S.*)"
        found = re.fullmatch(pattern, value) if isinstance(value, str) else None
        if found is None or not int(found[1]):
            raise ValueError(f"{shown(value)} is not a count of {what} in a time; {right}")
        period = parse_duration(found[2])
        if not period:
            raise ValueError(f"{shown(value)} leaves no time; {right}")
        return Brake(int(found[1]), period)

    return Form("count/duration", read, _show_brake)


MODELS = Form("list of models", _models, lambda v: ", ".join(v or ()) or "none", forms.WORDS)
BRAKE = rate("swaps", "six swaps in ten minutes")
RULE = forms.one_of(groups.Rule)


class Limit(Table):
    max_active_backends: int = setting(
        0, forms.COUNT, "At most this many models of this type at once; 0: no limit."
    )


class Types(Table):
    """What models are for: their engine's word, or a guess by its kind and their names."""

    chat: Limit = Limit()
    embedding: Limit = Limit()
    rerank: Limit = Limit()
    speech: Limit = Limit()
    image: Limit = Limit()


class Npu(Table):
    max_active_backends: int = setting(
        1,
        forms.COUNT,
        "At most this many models on the NPU at once; 0: no limit. Which those are is the engine's"
        " word, or `npu = true` in the table of a model or an engine.",
        at="policy.npu_most",
    )


class Group(Table):
    models: tuple[str, ...] | None = setting(
        None, MODELS, 'Which they are: as "model", or "engine/model"; a * stands for any text.'
    )
    rule: groups.Rule = setting(
        "never_together",
        RULE,
        "never_together: before one of them loads, the others leave. always_together: with one the"
        " others are loaded, or none is; and where one goes, all go.",
    )


# Of an engine or a model, and of the same name in the table and in the policy.
NAMES = ("type", "npu", "unload_on_switch", "min_residency", "priority")


def of_scope(table: Any) -> dict[str, Any]:
    """What a table of an engine or a model says, as fields of its policy."""
    return {name: getattr(table, name) for name in NAMES}


def of_host(file: Any) -> dict[str, Any]:
    """The same of the whole file."""
    limits = {type: getattr(file.types, type.value).max_active_backends for type in ModelType}
    return {
        "types": {type: most for type, most in limits.items() if most},
        "npu_most": file.npu.max_active_backends,
        "groups": {
            name: groups.Group(g.rule, g.models) for name, g in file.groups.items() if g.models
        },
        "unload_on_switch": file.unload_on_switch,
        "min_residency": file.min_residency,
    }


def of_pool(table: Any) -> dict[str, Any]:
    return {
        "max_active": table.max_active_backends,
        "exclusive": table.exclusive,
        "brake": table.swap_brake,
    }


def shown_scope(scope: Scope, said: Mapping[str, Form]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is said of an engine or a model: keys and texts. `said` has the form of each."""
    for name in NAMES:
        if (value := getattr(scope, name)) is not None:
            yield (name,), said[name].show(value)


def shown_pool(pool: PoolPolicy) -> Iterator[tuple[str, str]]:
    yield "max_active_backends", str(pool.max_active)
    yield "exclusive", forms.SWITCH.show(pool.exclusive)
    yield "swap_brake", _show_brake(pool.brake)


def shown_host(policy: Policy) -> Iterator[tuple[tuple[str, ...], str]]:
    """Limits by type, and the groups."""
    for type in ModelType:
        most = policy.types.get(type, 0)
        yield ("types", type.value, "max_active_backends"), str(most)
    for name, group in sorted(policy.groups.items()):
        yield ("groups", name, "models"), MODELS.show(group.models)
        yield ("groups", name, "rule"), RULE.show(group.rule)
