"""What a refusal for want of memory says to whoever asked: how much there is, who has the rest, and
what they could do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .asking import REFUSED, Trouble, quoted, word
from .client import Answer

Row = Mapping[str, Any]

MOST = 4  # commands that are proposed
ENFORCE = "ullage run --mode enforce; this daemon only says what it would do"


def refusal(answer: Answer, failed: str, model: str | None = None) -> Trouble:
    """Says why a wish for room, or for the `model`, was not fulfilled."""
    found = answer.document.get("decision") or {}
    lines, why = missing(found), [str(s) for s in answer.document["sentences"]]
    if lines:
        failed, why = f"{failed}: {lines[0]}", lines[1:] or why[1:]
    advice = likely(found, model)
    advice += ["ullage models" if model is None else f"ullage load {quoted(model)} --dry-run"]
    try_ = " · ".join(advice)
    return Trouble(REFUSED, failed, why, ENFORCE if only_advised(found) else try_)


def only_advised(decision: Row) -> bool:
    """Whether a daemon that acts would have done something, or waited for who is busy. What it
    would have refused as well is no matter of its mode."""
    if decision.get("mode", "enforce") == "enforce":
        return False
    busy = any(n["why"] == "busy" for n in decision.get("notes", ()))
    return bool(decision.get("actions")) or (busy and not decision.get("short"))


def missing(decision: Row) -> list[str]:
    """What is needed and what there is, then who holds the rest. Nothing, where it was not refused
    for want of memory, or by a daemon that does not say."""
    from supervisor.core.refusal import of_short

    told = [of_short(row) for row in decision.get("short") or ()]
    return (
        ["; ".join(lines[0] for lines in told), *(w for t in told for w in t[1:])] if told else []
    )


def likely(decision: Row, model: str | None) -> list[str]:
    """Commands that could change it, the most promising first."""
    found = list(dict.fromkeys(_ways(decision)))[: MOST - 1]
    return found + ([] if model is None else [f"ullage why {word(model)}"])


def _ways(decision: Row) -> Iterator[str]:
    for row in decision.get("short") or ():
        if sum(h["size"] for h in row["holders"]) < row["missing"]:
            continue  # not even all of them together
        for holder in row["holders"]:
            if holder["why"] == "pinned":
                yield f"ullage unpin {word(holder['name'])}"
            elif holder["why"] == "leased":
                yield "ullage lease --list"
            elif holder["why"] == "busy":
                yield f"ullage evict {word(holder['name'])}"
