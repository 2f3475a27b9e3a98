"""How often to ask again while everybody who could go is busy, and what need not be said again."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.reading import Seconds

from .plan import Plan


@dataclass(slots=True)
class Patience:
    """Counts tries per wish. `interval` in seconds; `tries` beyond which it gives up."""

    tries: int = 30
    interval: Seconds = Seconds(1.0)
    _count: dict[str, int] = field(default_factory=dict)
    _last: dict[str, Seconds] = field(default_factory=dict)

    def give_up(self, key: str, now: Seconds) -> bool:
        """Note one more try, if it is time for one. True once there have been enough."""
        last = self._last.get(key)
        if last is None or now - last >= self.interval:
            self._last[key] = now
            self._count[key] = self._count.get(key, 0) + 1
        return self._count[key] > self.tries

    def forget(self, key: str) -> None:
        self._count.pop(key, None)
        self._last.pop(key, None)

    def count(self, key: str) -> int:
        return self._count.get(key, 0)


@dataclass(slots=True)
class Said:
    """What was last answered to each wish: the same answer is written down once."""

    _last: dict[str, object] = field(default_factory=dict)

    def is_news(self, key: str, plan: Plan) -> bool:
        """Note this answer. False: it means the same as the last one."""
        lacking = ({s.pool for s in plan.unmet}, set(plan.full))
        victims = [e.ref for e in plan.evictions]
        meaning = (victims, lacking) if victims else (plan.notes, lacking)
        if self._last.get(key) == meaning:
            return False
        self._last[key] = meaning
        return True

    def forget(self, key: str) -> None:
        self._last.pop(key, None)
