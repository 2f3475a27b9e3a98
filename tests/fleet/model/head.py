"""The one place that a fleet shares: directory and ledger. It may be gone, and begin anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.fleet.model.kernel import Being, Kernel

DEAD_AFTER = 2.0  # seconds without a word: what its agent claimed is taken back


@dataclass(slots=True)
class Claim:
    id: str
    model: str
    agent: str
    life: int  # of the process that claimed
    bundles: dict[str, int]  # bytes of each host
    until: float


@dataclass
class Head:
    """`unique` and `atomic` are what the ledger promises; tests take them away."""

    being: Being
    kernel: Kernel
    unique: bool = True
    atomic: bool = True
    began: float = 0.0
    words: dict[str, dict[str, Any]] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    capacities: dict[str, int] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)

    def boot(self) -> None:
        """Nothing is kept."""
        self.began = self.kernel.now
        self.words, self.heard, self.claims, self.capacities, self.lives = {}, {}, [], {}, {}

    def tell(self, agent: str, life: int, row: dict[str, Any], capacity: int) -> dict[str, Any]:
        known = self.words.get(agent)
        if known is None or known["epoch"] != row["epoch"] or known["number"] < row["number"]:
            self.words[agent] = row
        self.heard[agent] = self.kernel.now
        self.lives[agent] = max(life, self.lives.get(agent, 0))
        self.capacities[agent] = capacity
        return self.read()

    def read(self) -> dict[str, Any]:
        self.sweep()
        now = self.kernel.now
        return {
            "age": now - self.began,
            "words": list(self.words.values()),
            "dead": [a for a, at in self.heard.items() if now - at >= DEAD_AFTER],
            "claims": [
                {"id": c.id, "model": c.model, "host": h, "size": size, "left": c.until - now}
                for c in self.claims
                for h, size in c.bundles.items()
            ],
        }

    def claim(
        self, agent: str, life: int, id: str, model: str, bundles: dict[str, int], lasts: float
    ) -> str:
        self.sweep()
        if self.kernel.now - self.heard.get(agent, -99.0) >= DEAD_AFTER:
            return "whoever claims is not there"
        if life < self.lives[agent]:
            return "whoever claims has ended"
        if self.unique and any(c.model == model for c in self.claims):
            return "the name is taken"
        for host, size in bundles.items():
            used = sum(c.bundles.get(host, 0) for c in self.claims)
            if host not in self.capacities or (self.atomic and used + size > self.capacities[host]):
                return "it does not fit"
        self.claims.append(Claim(id, model, agent, life, bundles, self.kernel.now + lasts))
        return "claimed"

    def release(self, id: str) -> str:
        self.claims = [c for c in self.claims if c.id != id]
        return "released"

    def stands(self, id: str) -> str:
        self.sweep()
        return "stands" if any(c.id == id for c in self.claims) else "gone"

    def sweep(self) -> None:
        """What an agent claimed ends with it."""
        gone = {a for a, at in self.heard.items() if self.kernel.now - at >= DEAD_AFTER}
        self.claims = [
            c for c in self.claims if c.agent not in gone and c.life == self.lives[c.agent]
        ]
        self.capacities = {h: c for h, c in self.capacities.items() if h not in gone}
