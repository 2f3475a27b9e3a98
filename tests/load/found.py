"""What a storm has shown: figures, and verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from .clients import percentile
from .judges import Verdict


@dataclass
class Found:
    table: list[tuple[str, str]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def add(self, what: str, said: str) -> None:
        self.table.append((what, said))

    def judge(self, what: str, ok: bool, said: str) -> None:
        self.verdicts.append(Verdict(what, ok, said))

    def at_most(self, what: str, figure: float, limit: float, timed: bool = False) -> None:
        self.verdicts.append(
            Verdict(what, figure < limit, f"{figure:,.1f}, asked: below {limit:,g}", timed)
        )

    def held(self, timed: bool = True) -> bool:
        """Without `timed`: apart from what another machine would do faster."""
        return all(v.ok for v in self.verdicts if timed or not v.timed)


def ms(values: list[float]) -> str:
    return " / ".join(f"{1000 * percentile(values, q):.1f}" for q in (0.5, 0.99, 1.0))


def port_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)
