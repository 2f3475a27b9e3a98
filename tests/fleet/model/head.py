"""The one place that a fleet shares: directory and ledger. It may be gone, and begin anew.

The directory is the very one that hosts share in earnest; the ledger is made of values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from supervisor.agent.directory import Directory
from tests.fleet.model.kernel import Being, Kernel

DEAD_AFTER = 2.0  # seconds without a sign of its node: what its agent claimed is taken back
Row = dict[str, Any]
Kind = Callable[[Callable[[], float], str], Directory]  # of a clock and a name


@dataclass(slots=True)
class Claim:
    id: str
    model: str
    agent: str
    life: int  # of the process that claimed
    bundles: dict[str, int]  # bytes of each host
    made: float


@dataclass
class Head:
    """`unique` and `atomic` are what the ledger promises; tests take them away. `kind` is the
    directory's, which tests break."""

    being: Being
    kernel: Kernel
    unique: bool = True
    atomic: bool = True
    kind: Kind = Directory
    directory: Directory = field(default_factory=Directory)
    signs: dict[str, float] = field(default_factory=dict)  # of life, of each node
    claims: list[Claim] = field(default_factory=list)
    capacities: dict[str, int] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)
    turns: dict[tuple[str, int], int] = field(default_factory=dict)

    def boot(self) -> None:
        """Nothing is kept."""
        self.directory = self.kind(lambda: self.kernel.now, f"directory-{self.being.life}")
        self.signs, self.claims, self.capacities, self.lives = {}, [], {}, {}
        self.turns = {}

    def sign(self, host: str, life: int, capacity: int) -> str:
        """A node is there, whatever its agent does."""
        self.signs[host] = self.kernel.now
        self.lives[host] = max(life, self.lives.get(host, 0))
        self.capacities[host] = capacity
        return "seen"

    def tell(
        self, host: str, life: int, turn: int, row: Row, kept: list[Row], since: str, basis: str
    ) -> Row | None:
        """`mine`: claims of this agent's, and how old each is. Of one agent nothing is heard after
        what it said later: connections keep the order."""
        if life < self.lives.get(host, 0) or turn < self.turns.get((host, life), 0):
            return None
        self.turns[host, life] = turn
        self.sweep()
        agent = f"{host}.{life}"
        now = self.kernel.now
        return {
            **self.directory.tell(host, agent, row, tuple(kept), None, since, basis),
            "dead": [h for h, at in self.signs.items() if now - at >= DEAD_AFTER],
            "mine": {c.id: now - c.made for c in self.claims if (c.agent, c.life) == (host, life)},
        }

    def bar(self, host: str, claim: str, model: str, valid: float, lost: float) -> str:
        self.directory.bar(host, claim, model, valid, lost)
        return "told"

    def claim(self, agent: str, life: int, id: str, model: str, bundles: dict[str, int]) -> str:
        self.sweep()
        if self.kernel.now - self.signs.get(agent, -99.0) >= DEAD_AFTER:
            return "whoever claims is not there"
        if life < self.lives[agent]:
            return "whoever claims has ended"
        if self.unique and any(c.model == model for c in self.claims):
            return "the name is taken"
        for host, size in bundles.items():
            used = sum(c.bundles.get(host, 0) for c in self.claims)
            if host not in self.capacities or (self.atomic and used + size > self.capacities[host]):
                return "it does not fit"
        self.claims.append(Claim(id, model, agent, life, bundles, self.kernel.now))
        return "claimed"

    def release(self, id: str) -> str:
        self.claims = [c for c in self.claims if c.id != id]
        return "released"

    def stands(self, id: str) -> str:
        self.sweep()
        return "stands" if any(c.id == id for c in self.claims) else "gone"

    def sweep(self) -> None:
        """What an agent claimed ends with it."""
        gone = {h for h, at in self.signs.items() if self.kernel.now - at >= DEAD_AFTER}
        self.claims = [
            c for c in self.claims if c.agent not in gone and c.life == self.lives[c.agent]
        ]
        self.capacities = {h: c for h, c in self.capacities.items() if h not in gone}
