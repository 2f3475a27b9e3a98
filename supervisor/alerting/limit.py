"""At most so many actions by alerts in a time."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from collectors.reading import Seconds
from supervisor.core.policy import Brake


@dataclass(slots=True)
class Limit:
    """`clock` is monotonic, in seconds."""

    most: Brake
    clock: Callable[[], float]
    _taken: deque[float] = field(default_factory=deque)

    def wait(self) -> Seconds | None:
        """How long until there may be one more. None: there may be one now."""
        now = self.clock()
        while self._taken and now - self._taken[0] >= self.most.period:
            self._taken.popleft()
        if len(self._taken) < self.most.count:
            return None
        return Seconds(self._taken[-self.most.count] + self.most.period - now)

    def take(self, ago: float = 0.0) -> float:
        """One is begun, or was so many seconds ago. What `give_back` takes."""
        at = self.clock() - ago
        insort(self._taken, at)
        return at

    def give_back(self, taken: float) -> None:
        """Nothing came of it."""
        if taken in self._taken:
            self._taken.remove(taken)
