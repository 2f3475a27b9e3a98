"""Lines, strangers and what is done about stuck models, as tables of the file and as the policy has
them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from collectors.reading import NONE, Bytes, Seconds
from supervisor.core import foreign_rule
from supervisor.core.foreign_rule import ForeignRule
from supervisor.core.policy import Amount, Policy, PoolPolicy, Watchdog
from supervisor.core.steps import Step
from supervisor.units import format_duration

from . import forms
from .forms import AMOUNT, DURATION, SIZE, Form
from .table import Table, setting

RULE = forms.one_of(ForeignRule)


def _steps(value: Any) -> tuple[Step, ...]:
    order = ", the first to be taken first"
    return forms.some_of(Step, value, "steps", "step", order=order)


STEPS = Form(
    "list of steps",
    _steps,
    lambda v: ", ".join(s.value for s in v or ()) or "none",
    forms.WORDS,
)


class Pressure(Table):
    """Of a pool: what makes models leave it, and how many."""

    soft: Amount | None = setting(
        None,
        AMOUNT,
        "Below this, for relief_grace, models are unloaded; at most the reserve, and the reserve"
        " where it is not said.",
    )
    hard: Amount | None = setting(
        None, AMOUNT, "Below this they are at once; half of the soft line where it is not said."
    )
    restore: Amount | None = setting(
        None, AMOUNT, "And until this is free again; restore_margin beyond the soft line, else."
    )
    relief_grace: Seconds | None = setting(
        None, DURATION, "How long it may be below its soft line; as the host's, where not said."
    )
    foreign_pressure: ForeignRule | None = setting(
        None, RULE, "What strangers may do to it; as the host's, where it is not said."
    )


class Stranger(Table):
    """Processes that are no models, by a pattern of their name."""

    rule: ForeignRule | None = setting(
        None,
        RULE,
        "What is done when they take so much of a pool that it falls short; see foreign_pressure."
        " refuse and alert hold for as long as they are there.",
    )
    minimum: Bytes = setting(
        "0B", SIZE, "Of a pool; who holds less is none of those who are meant."
    )


def of_pool(table: Any) -> dict[str, Any]:
    """What a table of a pool says, as fields of its policy."""
    return {
        "soft": table.soft,
        "hard": table.hard,
        "restore": table.restore,
        "grace": table.relief_grace,
        "foreign": table.foreign_pressure,
    }


def of_host(file: Any) -> dict[str, Any]:
    """The same of the whole file."""
    return {
        "relief_pause": file.relief_pause,
        "foreign": file.foreign_pressure,
        "growth_horizon": file.growth_horizon,
        "strangers": tuple(
            foreign_rule.Stranger(name, table.rule, table.minimum)
            for name, table in sorted(file.foreign.items())
            if table.rule is not None
        ),
    }


def shown_pool(pool: PoolPolicy) -> Iterator[tuple[str, str]]:
    for name, amount in (("soft", pool.soft), ("hard", pool.hard), ("restore", pool.restore)):
        yield name, AMOUNT.show(amount)
    yield "relief_grace", DURATION.show(pool.grace)
    yield "foreign_pressure", "none" if pool.foreign is None else pool.foreign.value


def shown_host(policy: Policy) -> Iterator[tuple[tuple[str, ...], str]]:
    """The strangers."""
    for stranger in policy.strangers:
        yield ("foreign", stranger.pattern, "rule"), stranger.rule.value
        if stranger.minimum != NONE:
            yield ("foreign", stranger.pattern, "minimum"), SIZE.show(stranger.minimum)


def shown_watchdog(watchdog: Watchdog) -> list[tuple[str, str]]:
    """What is said of it: keys and texts."""
    found: list[tuple[str, str]] = []
    for name in ("idle", "busy"):
        on, timeout = getattr(watchdog, name), getattr(watchdog, f"{name}_timeout")
        found += [] if on is None else [(name, "true" if on else "false")]
        found += [] if timeout is None else [(f"{name}_timeout", format_duration(timeout))]
    steps, interval = watchdog.busy_steps, watchdog.busy_step_interval
    found += [] if steps is None else [("busy_steps", STEPS.show(steps))]
    found += [] if interval is None else [("busy_step_interval", format_duration(interval))]
    return found
