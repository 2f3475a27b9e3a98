"""What is promised of the policy, and whether it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log
from typing import NamedTuple

from .cells import HOST, SEQUENCE, Row

AGREES = 0.02  # others' rules, with the stored figures
AT_MOST = 1.38  # × the best offline schedule
OF_LRU, OF_IDLE_OVER_LOAD = 0.80, 0.88
BEHIND_LRU = 1.05  # in any one cell


class Check(NamedTuple):
    what: str
    found: str
    kept: bool


def mean(numbers: Iterable[float]) -> float:
    """The geometric mean; of nothing, not a number."""
    found = [log(n) for n in numbers]
    return exp(sum(found) / len(found)) if found else float("nan")


def average(rows: Iterable[Row], policy: str) -> float:
    """× the oracle, over all cells."""
    return mean(r.ratio_to_oracle for r in rows if r.policy == policy and r.ratio_to_oracle)


def policies(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(r.policy for r in rows))


def of_sequence(rows: Sequence[Row]) -> list[Check]:
    """Against the oracle, others' rules, and what is stored of them."""
    rows = [r for r in rows if r.setting == SEQUENCE]
    there = policies(rows)
    found = [c for p in there if p != "value" and (c := _agrees(rows, p)) is not None]
    if "value" not in there:
        return found
    own = average(rows, "value")
    found.append(_at_most("value, × the oracle", own, AT_MOST))
    for other, bound in (("lru", OF_LRU), ("idle_over_load", OF_IDLE_OVER_LOAD)):
        if other in there:
            found.append(_at_most(f"value, × {other}", own / average(rows, other), bound))
    if "lru" in there:
        found.append(_never_far_behind(rows))
    return found


def of_host(rows: Sequence[Row]) -> list[Check]:
    """Nothing is cut short or overfilled, and nobody waits longer than is stored."""
    rows = [r for r in rows if r.setting == HOST]
    if not rows:
        return []
    counts = {
        "loads begun without room for them": sum(r.overfull for r in rows),
        "requests cut short": sum(r.killed for r in rows),
        "requests refused": sum(r.refused for r in rows),
    }
    found = [Check(what, str(count), count == 0) for what, count in counts.items()]
    own = [r for r in rows if r.policy == "value" and r.stored is not None]
    if own:
        waits = mean(r.wait / r.stored for r in own if r.stored)
        found.append(_at_most("value, mean wait × what is stored of its prototype", waits, 1.0))
    return found


def _agrees(rows: Sequence[Row], policy: str) -> Check | None:
    told = [r.reload_s / r.stored_s for r in rows if r.policy == policy and r.stored_s]
    if not told:
        return None
    off = mean(told) - 1
    worst = max(told, key=lambda ratio: abs(log(ratio))) - 1
    text = f"off by {off:+.2%} over {len(told)} cells, by {worst:+.1%} in the worst"
    return Check(f"{policy} agrees with what is stored", text, abs(off) <= AGREES)


def _never_far_behind(rows: Sequence[Row]) -> Check:
    lru = {r.cell: r.reload_s for r in rows if r.policy == "lru"}
    behind = {r.cell: r.reload_s / lru[r.cell] for r in rows if r.policy == "value" and lru[r.cell]}
    worst = max(behind, key=lambda cell: behind[cell])
    where = f" in {worst.trace} ×{worst.ratio:g}, seed {worst.seed}"
    return _at_most("value, × lru in the worst cell", behind[worst], BEHIND_LRU, where)


def _at_most(what: str, found: float, bound: float, where: str = "") -> Check:
    return Check(what, f"{found:.3f}{where}, at most {bound:.2f}", found <= bound)
