"""Models that span hosts, in the configuration: what this host holds of each, and its checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from supervisor.core.policy import Amount
from supervisor.fleet.hosts import HostId, Part
from supervisor.units import shown

from . import forms
from .forms import Form
from .table import Table, form_of, setting

if TYPE_CHECKING:
    from .given import Given

Path = tuple[str, ...]


def _model(value: Any) -> str:
    engine, _, model = value.partition("/") if isinstance(value, str) else ("", "", "")
    if engine and model:
        return str(value)
    raise ValueError(f'{shown(value)} is not a model of an engine; write it as "rpc/qwen3:235b"')


def _hosts(value: Any) -> tuple[str, ...]:
    right = 'write their fleet.name, as ["gpu2", "gpu3"]'
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{shown(value)} is not a list of hosts; {right}")
    for name in value:
        if not isinstance(name, str) or not name:
            raise ValueError(f"{shown(name)} is not the name of a host; {right}")
    if len(set(value)) < len(value):
        raise ValueError(f"{shown(list(value))} names a host twice; name each once")
    return tuple(value)


def _number(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= 1000:
        return value
    raise ValueError(f"{shown(value)} is not a number of hosts, 2 or more")


MODEL = Form("engine/model", _model)
HOSTS = Form("list of other hosts", _hosts, lambda v: ", ".join(v or ()) or "none")
NUMBER = Form("count from 2", _number, lambda v: "none" if v is None else str(v))


class Span(Table):
    """What this host holds of a model that spans hosts."""

    model: str | None = setting(
        None,
        MODEL,
        "What this host holds of it, a model of one of its engines. Where it leads, that is called"
        " NAME too.",
    )
    leads: bool = setting(
        False,
        forms.SWITCH,
        "Requests for it go to this host, whose part is loaded last, once the others are ready.",
    )
    others: tuple[str, ...] | None = setting(
        None,
        HOSTS,
        "Where it leads: the hosts that may hold the other parts, each with a table of its own.",
    )
    hosts: int | None = setting(
        None,
        NUMBER,
        "Where it leads: how many hosts it takes, this one too. Of more `others` than that, those"
        " that lose least.",
        shown="this one and all others",
    )
    memory: Amount | None = setting(
        None,
        forms.AMOUNT,
        "What the part takes at least: room for as much is made before it is loaded, though its"
        " engine fills it later.",
    )


def read(tables: Mapping[str, Span], own: str, given: Given) -> tuple[Part, ...]:
    """What this host, called `own`, holds of which spans. Notes what is wrong, all of it."""
    found: list[Part] = []
    models: dict[str, str] = {}
    for name, table in sorted(tables.items()):
        path = ("fleet", "spans", name)
        before = len(given.problems)
        for key, message in _mistakes(name, table, own, given.keys(path)):
            given.problem((*path, key), message)
        if table.model is None:
            continue
        if (other := models.setdefault(table.model, name)) != name:
            why = (
                f"is this host's part of {shown(other)} too; give each an engine's model of its own"
            )
            given.problem((*path, "model"), why)
        if len(given.problems) == before:
            others = tuple(HostId(h) for h in table.others or ())
            hosts = (table.hosts or len(others) + 1) if table.leads else 0
            found.append(Part(name, table.model, table.leads, hosts, others))
    return tuple(found)


def _mistakes(name: str, table: Span, own: str, said: frozenset[str]) -> Iterator[tuple[str, str]]:
    if table.model is None and "model" not in said:
        yield "model", 'is missing; write it as "rpc/qwen3:235b"'
    if not table.leads:
        for key in sorted(said & {"others", "hosts"}):
            yield key, "is said by the host that leads; leave it out, or set leads = true"
        return
    if table.model is not None and table.model.partition("/")[2] != name:
        right = f'"{table.model.partition("/")[0]}/{name}"'
        yield "model", f"is what requests ask for where this host leads: it has to be {right}"
    if table.others is None:
        if "others" not in said:
            yield "others", 'is missing: who holds the other parts? Write it as ["gpu2"]'
        return
    if own in table.others:
        yield "others", f"has this host, {own}, in it; name the others alone"
    elif table.hosts is not None and table.hosts > len(table.others) + 1:
        most = len(table.others) + 1
        yield "hosts", f"is {table.hosts}, and this host and its others are {most}"


def shown_spans(tables: Mapping[str, Span]) -> Iterator[tuple[Path, str]]:
    """What is told of them: keys and texts."""
    for name, table in sorted(tables.items()):
        for key in type(table).model_fields:
            form = form_of(Span, key)
            if form is not None and key in table.model_fields_set:
                yield ("fleet", "spans", name, key), form.show(getattr(table, key))
