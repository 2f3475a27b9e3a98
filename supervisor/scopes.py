"""What may be said of the whole host, of an engine, and of a model, as tables of the file."""

from __future__ import annotations

from collectors.reading import Seconds
from supervisor.core.ladder import Rung

from . import forms
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
        None, forms.SWITCH, "Unload a model that has been busy, without a rest, for `busy_timeout`."
    )
    busy_timeout: Seconds | None = setting(
        None, forms.INTERVAL, "Busy for this long is stuck. Giving it switches `busy` on."
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
        "Unload a model that has been busy, without a rest, for `busy_timeout`.",
        at="policy.watchdog.busy",
    )
    busy_timeout: Seconds | None = setting(
        "5m",
        forms.INTERVAL,
        "Busy for this long is stuck. Giving it switches `busy` on, unless `busy = false`.",
        at="policy.watchdog.busy_timeout",
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
    watchdog: Watchdog = Watchdog()
