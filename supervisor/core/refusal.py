"""Why there was no room for a model, and what would have to change, in words. Rows of the journal
in, sentences out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .actions import Why
from .wording import size


def of_short(row: Mapping[str, Any]) -> list[str]:
    """What a demand needs of a pool and what there is, then who has the rest."""
    aside = row["reserve"] + row["promised"]
    text = f"it needs about {size(row['needs'])} of {row['pool']}, "
    if _is_tighter(row):
        of_it = f"models may hold {size(row['budget'])} of it (pools.{row['pool']}.budget)"
        text += f"{of_it}, hold {size(row['held'])}"
    else:
        text += f"{size(row['free'])} is free"
        text += f" ({size(aside)} set aside)" if aside else ""
    lines = [f"{text} and {size(row['reclaimable'])} can be reclaimed"]
    if row["holders"]:
        who = "; ".join(_holder(h) for h in row["holders"])
        lines.append(f"the rest of {row['pool']} is held: {who}")
    return lines


def _is_tighter(row: Mapping[str, Any]) -> bool:
    """Is it the budget that leaves the least? Older rows say nothing of it."""
    budget: int | None = row.get("budget")
    if budget is None:
        return False
    return bool(budget - row["held"] < row["free"] - row["reserve"] - row["promised"])


def _holder(row: Mapping[str, Any]) -> str:
    pid = "" if row["pid"] is None else f", pid {row['pid']}"
    return f"{row['name']} {size(row['size'])} ({row['why']}{pid})"


def of_change(row: Mapping[str, Any], name: str) -> str:
    """What would have to change, so that a demand for `name` that was short of a pool fits."""
    missing, holders = row["missing"], row["holders"]
    if row["needs"] > row["total"] - row["reserve"]:
        spare = size(row["total"] - row["reserve"])
        return f"{name} can never fit: {row['pool']} has {spare} in all, besides its reserve"
    if (budget := row.get("budget")) is not None and row["needs"] > budget:
        return f"{name} can never fit: models may hold {size(budget)} of {row['pool']}, its budget"
    alone = [h for h in holders if h["size"] >= missing]
    if alone:
        ways = " or ".join(_gone(h) for h in alone[:3])
        return f"{name} would fit if {ways}: {size(missing)} of {row['pool']} is missing"
    together = sum(h["size"] for h in holders)
    if together >= missing:
        return f"{name} would fit if all of those left: {size(missing)} of {row['pool']} is missing"
    other = "take a smaller one, or a smaller context"
    return f"{name} would not fit if all of those left, either: {other}"


def of_limit(key: str) -> str:
    """A limit as `Slots.full` has it, and the setting that says it."""
    kind, _, name = key.partition(" ")
    settings = {
        "host": "max_active_backends, or single_active_backend",
        "npu": "npu.max_active_backends",
        "engine": f"engines.{name}.max_active_backends",
        "pool": f"pools.{name}.max_active_backends",
        "type": f"types.{name}.max_active_backends",
        "group": f"groups.{name}",
    }
    return f"{key} ({settings[kind]})" if kind in settings else key


def _gone(row: Mapping[str, Any]) -> str:
    if row["pid"] is not None:
        return f"{row['name']} (pid {row['pid']}) ended"
    if row["why"] == Why.PINNED.value:
        return f"{row['name']} were not pinned (`ullage unpin {row['name']}`)"
    if row["why"] in (Why.BUSY.value, Why.LOADING.value):
        return f"{row['name']} were done with its work"
    if row["why"] == Why.LEASED.value:
        return f"nobody had a lease on {row['name']} (`ullage lease --list`)"
    return f"{row['name']} left"
