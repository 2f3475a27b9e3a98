"""What alerts may do here: their table of the configuration, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from pydantic import Field

from collectors.reading import Bytes, Seconds
from supervisor.core.groups import alike
from supervisor.core.policy import Amount, Brake
from supervisor.units import shown

from . import bounds, forms
from .forms import Form
from .table import Table, form_of, setting


class Kind(Enum):
    """What an action does."""

    EVICT = "evict"  # models leave, until so much is free, or those that are named
    SLEEP = "sleep"  # models give their accelerator's memory back, and stay
    PAUSE = "pause"  # the gateway makes no loads while the alert fires
    PIN = "pin"  # models stay while it fires
    RESTART = "restart"  # an engine, that is down or whose model is stuck
    RESERVE = "reserve"  # bytes are kept free while it fires


HELD = frozenset({Kind.PAUSE, Kind.PIN, Kind.RESERVE})  # for as long as the alert fires


def _match(value: Any) -> Mapping[str, str]:
    right = 'write it as { alertname = "UllageHeadroomLow", severity = "warning" }'
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not a table of labels; {right}")
    if not value:
        raise ValueError(f"names no label, which would be every alert; {right}, or leave it out")
    for name, text in value.items():
        if not isinstance(text, str) or not text:
            raise ValueError(f"{shown(text)} is not the text of the label {name}; {right}")
    return MappingProxyType(dict(value))


def _show_match(value: Mapping[str, str] | None) -> str:
    return ", ".join(f'{name}="{text}"' for name, text in (value or {}).items()) or "none"


MATCH = Form("table of labels", _match, _show_match)
LIMIT = bounds.rate("actions", "six actions in ten minutes")


class Action(Table):
    """One thing that an alert may cause."""

    action: Kind | None = setting(
        None,
        forms.one_of(Kind),
        "What it does. evict: models leave. sleep: they give their accelerator's memory back, and"
        " stay. While the alert fires: pause (the gateway loads nothing), pin (models stay),"
        " reserve (bytes are kept free). restart: an engine.",
    )
    match: Mapping[str, str] | None = setting(
        None,
        MATCH,
        "Labels of the alerts that cause it, all of which have to be so; a * stands for any text."
        " Without it: only alerts that name the action in their label `ullage_action`.",
    )
    free: Amount | None = setting(
        None,
        forms.AMOUNT,
        "evict: until so much of the pool is free.",
        shown="as below says",
    )
    models: tuple[str, ...] | None = setting(
        None, bounds.MODELS, "evict, sleep and pin: which models; a * stands for any text."
    )
    engine: str | None = setting(
        None, forms.TEXT, "restart: which engine. evict, sleep and pause: of that one alone."
    )
    pool: str | None = setting(
        None, forms.TEXT, "In which pool.", shown="that of the alert's label pool or uuid"
    )
    size: Bytes | None = setting(
        None, forms.SIZE, "reserve: how many bytes are kept free in the pool."
    )
    below: Amount | None = setting(
        None,
        forms.AMOUNT,
        "It acts only where less than this is free in the pool, by our own measurement. restart:"
        " only where the engine is down, or one of its models is stuck. pin and reserve: always.",
        shown="its restore line",
    )
    dry_run: bool = setting(False, forms.SWITCH, "Say what would be done, and do nothing.")


class Alerts(Table):
    limit: Brake = setting(
        "6/10m", LIMIT, "At most so many actions by alerts in a time.", at="alerts.limit"
    )
    dry_run: bool = setting(
        False, forms.SWITCH, "Say what would be done, and do nothing.", at="alerts.dry_run"
    )
    hold_for: Seconds = setting(
        "15m",
        forms.INTERVAL,
        "What holds while an alert fires ends so long after it was last heard of: longer than the"
        " repeat_interval of its sender.",
        at="alerts.hold_for",
    )
    actions: dict[str, Action] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActionConfig:
    """One configured action. `match` None: only by its name."""

    name: str
    kind: Kind
    match: Mapping[str, str] | None = None
    free: Amount | None = None
    models: tuple[str, ...] | None = None
    engine: str | None = None
    pool: str | None = None
    size: Bytes = Bytes(0)
    below: Amount | None = None
    dry_run: bool = False

    def agrees(self, labels: Mapping[str, str]) -> bool:
        """Is every label of `match` as it says? True where there is none."""
        return all(alike(labels.get(name, ""), text) for name, text in (self.match or {}).items())


@dataclass(frozen=True, slots=True)
class AlertsConfig:
    """What alerts may do, checked. Times in seconds. `actions` in the order of the file."""

    limit: Brake = Brake(6, Seconds(600))
    dry_run: bool = False
    hold_for: Seconds = Seconds(900)
    actions: tuple[ActionConfig, ...] = field(default=())

    def action(self, name: str) -> ActionConfig | None:
        return next((a for a in self.actions if a.name == name), None)


def shown_actions(config: AlertsConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is said of each action: keys below [alerts], and texts."""
    for action in config.actions:
        yield ("actions", action.name, "action"), action.kind.value
        for name in Action.model_fields:
            value, form = getattr(action, name, None), form_of(Action, name)
            if value and form is not None:
                yield ("actions", action.name, name), form.show(value)
