"""Does a model hold what was learned of it, and does it keep to that while it works?"""

from __future__ import annotations

from collectors.reading import Bytes, Seconds, mib

from .explain import size as told

# Learned and measured bytes of one setup differ by a percent or two; a quarter is another model,
# another context that its engine does not tell, or a leak. Of small models it has to be worth it.
MARGIN = 0.25
WORTH = mib(256)
LASTS = Seconds(300.0)
# What is not there yet may be on its way while it has not worked much: some engines take their
# caches as they need them.
WORKED = Seconds(600.0)
# Growth of an hour of work that is worth saying: so much, and so much of what it holds.
PER_HOUR = mib(64)
PART = 0.02


def off(held: Bytes, learned: Bytes, busy: Seconds) -> bool:
    """Is what it holds, after so much work, not what was learned?"""
    margin = max(WORTH, int(learned * MARGIN))
    return held > learned + margin or (busy >= WORKED and held < learned - margin)


def grows(held: Bytes, per_hour: float | None) -> bool:
    return per_hour is not None and per_hour >= max(PER_HOUR, PART * held)


def sentence(held: Bytes, learned: Bytes | None, per_hour: float | None) -> str:
    """What is odd about it; `learned` None: it holds what it should."""
    said = []
    if learned is not None:
        said.append(f"holds {told(held)}, and {told(learned)} were learned of it")
    if per_hour is not None:
        said.append(f"grows by {told(per_hour)} with each hour of work")
    return "; ".join(said)
