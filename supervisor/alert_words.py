"""Alerts in words: what became of them, what holds because of them. Values in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .units import format_seconds

Row = Mapping[str, Any]

# What became of an alert, as `outcome` has it.
OUTCOMES = {
    "done": "done",
    "nothing_to_do": "nothing had to be done",
    "disagreed": "not acted on, our own measurements disagree",
    "dry_run": "only said, this is a dry run",
    "limited": "not acted on, alerts have done enough of late",
    "no_action": "no action is configured for it",
    "unknown_target": "it names what is not here",
    "duplicate": "told again",
    "resolved": "noted",
    "failed": "failed",
    "held": "holds while it fires",
    "superseded": "over before anything was done",
}
WAITING = "not acted on yet"  # it has no outcome
LATELY = 3600.0  # seconds after which the last alert is no news

# The same before a detail, which says why.
_BEFORE = {
    "nothing_to_do": "nothing done",
    "disagreed": "not acted on",
    "dry_run": "only said",
    "limited": "not acted on",
    "unknown_target": "not acted on",
    "superseded": "not acted on",
}

# Worth a look; all else is quiet.
WRONG = frozenset({"failed", "unknown_target", "no_action", "limited", "disagreed"})

# What holds, by the kind of the action.
_HOLDS = {
    "pause": "no loads through the gateway",
    "pin": "pinned",
    "reserve": "kept free",
}


def outcome(row: Row) -> str:
    """What became of it, in a few words; those of another version as they are."""
    return WAITING if row["outcome"] is None else OUTCOMES.get(row["outcome"], str(row["outcome"]))


def action(row: Row) -> str:
    """What it meant: the action, and what that acts on. "": none."""
    if row["action"] is None:
        return ""
    return str(row["action"]) + (f" on {row['target']}" if row["target"] else "")


def became(row: Row) -> str:
    """What became of it, with what there is to say of that, and the decision that has the rest."""
    text = outcome(row)
    if row["detail"] not in ("", text):
        text = f"{_BEFORE.get(row['outcome'], text)}: {row['detail']}"
    return text + _decision(row)


def _decision(row: Row) -> str:
    return f" ({row['decision']})" if row["decision"] else ""


def line(row: Row) -> str:
    """All of it in one line."""
    return f"{_head(row)}: {became(row)}"


def gist(row: Row) -> str:
    """The same without the detail, which may be long."""
    return f"{_head(row)}: {outcome(row)}{_decision(row)}"


def _head(row: Row) -> str:
    fires = "fires" if row["status"] == "firing" else "is over"
    meant = action(row)
    return f"{row['name']} {fires}{f', {meant}' if meant else ''}"


def what_holds(row: Row) -> str:
    """What holds, and why."""
    what = _HOLDS.get(row["kind"], str(row["kind"]))
    target = f"{row['target']}: " if row["target"] else ""
    return f"{target}{what} while {row['alert']} fires"


def hold(row: Row, now: float) -> str:
    """The same, and for how long. `now` in Unix time."""
    return f"{what_holds(row)}, {format_seconds(max(0.0, row['until'] - now))} more at most"


def in_short(alerts: Row, now: float) -> str | None:
    """The part of the state in a line, as long as it is worth one. `now` in Unix time."""
    firing, last = alerts["firing"], alerts["last"]
    if last is None or (not firing and now - last["at"] > LATELY):
        return None
    fire = "1 alert fires" if firing == 1 else f"{firing or 'no'} alerts fire"
    ago = format_seconds(max(0.0, now - last["at"]))
    return f"{fire}; the last, {ago} ago: {gist(last)}"


def counted(counts: Mapping[str, int]) -> str:
    """How many there were since the start, the most frequent outcome first."""
    some = sorted(((n, outcome) for outcome, n in counts.items() if n), key=lambda p: (-p[0], p[1]))
    total = sum(n for n, _ in some)
    said = ", ".join(f"{n} {outcome.replace('_', ' ')}" for n, outcome in some)
    return f"{total} received since the start: {said}" if total else ""
