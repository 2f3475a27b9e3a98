"""What may be said of the whole host, of an engine, and of a model, as tables of the file."""

from __future__ import annotations

from collectors.reading import Seconds
from supervisor.core.ladder import Rung
from supervisor.core.policy import Retention, Switch
from supervisor.core.policy import Watchdog as Rules
from supervisor.core.steps import Step
from supervisor.core.types import ModelType

from . import forms, pressures
from .table import Table, setting


class Watchdog(Table):
    """A watchdog of an engine or a model: what is not said here is decided further out."""

    idle: bool | None = setting(
        None, forms.SWITCH, "Unload a model that has been idle for `idle_timeout`."
    )
    idle_timeout: Seconds | None = setting(
        None, forms.INTERVAL, "Idle for this long is too long. Giving it switches `idle` on."
    )
    busy: bool | None = setting(
        None, forms.SWITCH, "Act on a model that has been busy without progress for `busy_timeout`."
    )
    busy_timeout: Seconds | None = setting(
        None, forms.INTERVAL, "Busy for this long is stuck. Giving it switches `busy` on."
    )
    busy_steps: tuple[Step, ...] | None = setting(
        None, pressures.STEPS, "What is done about it, one after the other; see the host's."
    )
    busy_step_interval: Seconds | None = setting(
        None, forms.INTERVAL, "How long each step has to help before the next is taken."
    )


class HostWatchdog(Watchdog):
    """The watchdog of every model for which nothing more particular is said."""

    idle: bool | None = setting(
        False,
        forms.SWITCH,
        "Unload a model that has been idle for `idle_timeout`.",
        at="policy.watchdog.idle",
    )
    idle_timeout: Seconds | None = setting(
        "15m",
        forms.INTERVAL,
        "Idle for this long is too long. Giving it switches `idle` on, unless `idle = false`.",
        at="policy.watchdog.idle_timeout",
    )
    busy: bool | None = setting(
        False,
        forms.SWITCH,
        "Act on a model that has been busy for `busy_timeout` without progress (tokens, bytes, ends"
        " of requests), or at all where its engine shows none.",
        at="policy.watchdog.busy",
    )
    busy_timeout: Seconds | None = setting(
        "5m",
        forms.INTERVAL,
        "Busy for this long is stuck. Giving it switches `busy` on, unless `busy = false`.",
        at="policy.watchdog.busy_timeout",
    )
    busy_steps: tuple[Step, ...] | None = setting(
        ("unload",),
        pressures.STEPS,
        "What is done about one that is stuck, one after the other until it helps: report (say so"
        " and wait), cancel its requests where the engine can, unload it, restart its engine. What"
        " is not possible is passed over.",
        at="policy.watchdog.busy_steps",
    )
    busy_step_interval: Seconds | None = setting(
        "30s",
        forms.INTERVAL,
        "How long each step has to help before the next is taken.",
        at="policy.watchdog.busy_step_interval",
    )


class Scope(Table):
    """Of an engine or a model: what is not said here is decided further out."""

    eviction_ladder: tuple[Rung, ...] | None = setting(
        None,
        forms.LADDER,
        "How its models may be made to go; as the host's, where it is not said.",
    )
    force_eviction_when_busy: bool | None = setting(
        None, forms.SWITCH, "Unload it although it is busy, when nothing else helps."
    )
    type: ModelType | None = setting(
        None, forms.one_of(ModelType), "What it is for, where its engine does not say."
    )
    npu: bool | None = setting(
        None, forms.SWITCH, "It runs on the NPU, where its engine does not say."
    )
    unload_on_switch: Switch | None = setting(
        None,
        forms.one_of(Switch),
        "It leaves when its client moves on to another model of its engine, or of the host, unless"
        " somebody else holds it.",
    )
    min_residency: Seconds | None = setting(
        None, forms.DURATION, "Once it is there, it stays for this long; see the host's."
    )
    priority: int | None = setting(
        None, forms.PRIORITY, "Its loss counts twice as much for each 1 more; usually 0."
    )
    retention: Retention | None = setting(
        None, forms.RETENTION, "How long it stays, unless its memory is needed; see the host's."
    )
    keep_alive: Seconds | None = setting(
        None,
        forms.KEEP_ALIVE,
        "Idle for this long, it goes; 0: after its last request, -1: never. Counts more than an"
        " idle watchdog of the same or a wider scope.",
    )
    watchdog: Watchdog = Watchdog()


def watchdog(table: Watchdog) -> Rules:
    """A timeout that is given switches its watchdog on, unless the switch is given too."""

    def on(switch: bool | None, name: str) -> bool | None:
        said = table.model_fields_set
        return True if f"{name}_timeout" in said and name not in said else switch

    return Rules(
        on(table.idle, "idle"),
        table.idle_timeout,
        on(table.busy, "busy"),
        table.busy_timeout,
        table.busy_steps,
        table.busy_step_interval,
    )
