"""Time, processes and a network that are values: one seed, one story. Nothing sleeps."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

Process = Generator["Pending | float", Any, Any]


@dataclass(slots=True)
class Pending:
    """What somebody waits for. It comes once."""

    value: Any = None
    done: bool = False
    then: Callable[[Any], None] | None = None

    def come(self, value: Any) -> None:
        if self.done:
            return
        self.done, self.value = True, value
        if self.then is not None:
            self.then(value)


@dataclass(slots=True)
class Kernel:
    """`now` is true time, which nobody in the model can read."""

    dice: random.Random
    now: float = 0.0
    after: Callable[[], None] = lambda: None  # what is checked after each event
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def at(self, delay: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, what))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
            self.after()
        self.now = until


@dataclass(slots=True)
class Being:
    """Somebody who can die and be paused. A process of one that died is never gone on with; of one
    that is paused, when it goes on."""

    name: str
    kernel: Kernel
    life: int = 0
    alive: bool = True
    paused_until: float = 0.0

    def die(self) -> None:
        self.alive, self.life = False, self.life + 1

    def start(self, process: Process, ended: Callable[[Any], None] = lambda _: None) -> None:
        self._go_on(process, None, self.life, ended)

    def _go_on(self, process: Process, value: Any, life: int, ended: Callable[[Any], None]) -> None:
        if life != self.life:
            process.close()
            return
        if self.kernel.now < self.paused_until:
            left = self.paused_until - self.kernel.now
            self.kernel.at(left, lambda: self._go_on(process, value, life, ended))
            return
        try:
            waits = process.send(value)
        except StopIteration as stop:
            ended(stop.value)
            return
        if isinstance(waits, Pending):
            if waits.done:
                self.kernel.at(0.0, lambda: self._go_on(process, waits.value, life, ended))
            else:
                waits.then = lambda v: self._go_on(process, v, life, ended)
        else:
            self.kernel.at(waits, lambda: self._go_on(process, None, life, ended))


@dataclass(slots=True)
class Network:
    """Messages are late, lost, or kept apart. `parts` has the part each is in; 0: the large one."""

    kernel: Kernel
    loss: float = 0.0
    slow: float = 0.0  # how likely a message takes up to 3 s
    parts: dict[str, int] = field(default_factory=dict)
    cuts: set[frozenset[str]] = field(default_factory=set)  # pairs that do not reach one another

    def together(self, one: str, other: str) -> bool:
        if frozenset({one, other}) in self.cuts:
            return False
        return self.parts.get(one, 0) == self.parts.get(other, 0)

    def ask(
        self, source: Being, target: Being, serve: Callable[[], Process], timeout: float
    ) -> Pending:
        """What `serve` comes to, there; None: nothing came in time. It may have been done."""
        answer = Pending()
        self.kernel.at(timeout, lambda: answer.come(None))
        life = source.life

        def back(value: Any) -> None:
            if life == source.life:
                answer.come(value)

        def there() -> None:
            if target.alive:
                target.start(serve(), lambda v: self._send(target, source, lambda: back(v)))

        self._send(source, target, there)
        return answer

    def _send(self, source: Being, target: Being, what: Callable[[], None]) -> None:
        dice = self.kernel.dice
        if source is target:
            self.kernel.at(0.0002, what)
            return
        if dice.random() < self.loss or not self.together(source.name, target.name):
            return
        delay = dice.uniform(0.2, 3.0) if dice.random() < self.slow else dice.uniform(0.0005, 0.05)

        def arrive() -> None:
            if self.together(source.name, target.name):
                what()

        self.kernel.at(delay, arrive)
