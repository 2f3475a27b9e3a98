"""What can be replayed: the rankings of the product, and the rules of others, in its own nouns.

The others' rules do as theirs do: whoever is next in order goes until there is enough, and nobody
is given back who turns out not to have been needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate

from collectors.reading import Bytes, Seconds
from supervisor.core.choose import Chosen, least_loss
from supervisor.core.headroom import Tally
from supervisor.core.limits import Slots
from supervisor.core.policy import Policy, Watchdog
from supervisor.core.rank import RANKINGS, Ranking, Score, Weighing
from supervisor.core.snapshot import ModelRef, Resident

from .trace import Model

Models = Mapping[ModelRef, Model]


class Queue(Enum):
    """Which of the models that requests wait for is loaded next."""

    WAITERS = "waiters"  # most waiting by seconds to load, but nobody waits on for ever
    ARRIVAL = "arrival"  # whoever has waited the longest
    HEAD = "head"  # one request after another: who cannot be served blocks all behind it


@dataclass(frozen=True, slots=True)
class Rule:
    """`policy` is made for a set of models and the bytes there are for them. `queue`: where the
    rule brings its own; None: any. `learns`: how likely a model is asked for again counts."""

    name: str
    meaning: str
    policy: Callable[[Models, Bytes], Policy]
    queue: Queue | None = None
    learns: bool = False


def ranked(ranking: Ranking) -> Rule:
    """A ranking of the product, with nothing else set."""
    learns = ranking.choose is least_loss
    return Rule(
        ranking.name,
        ranking.meaning,
        lambda models, capacity: Policy(ranking=ranking),
        learns=learns,
    )


def greedy(
    weighing: Weighing,
    candidates: Sequence[Resident],
    asleep: Mapping[ModelRef, Resident],
    tally: Tally,
    slots: Slots,
) -> Chosen:
    """In order until it is enough; nobody is given back."""
    chosen: list[Resident] = []
    for resident in candidates:
        if tally.fits and not slots.full():
            break
        chosen.append(resident)
        tally.leave(asleep.get(resident.ref, resident))
        slots.leave(resident)
    return chosen, (tally.lacking, slots.full())


def _plain(name: str) -> Ranking:
    """As `name` ranks, ties by name alone; and nobody is given back."""
    ranking = RANKINGS[name]

    def score(weighing: Weighing, resident: Resident) -> Score:
        return ranking.score(weighing, resident)[:1]

    return replace(ranking, score=score, choose=greedy)


LRU, BY_NAME = _plain("lru"), _plain("shortest_keep_alive")
FIVE_MINUTES = Watchdog(True, Seconds(300.0), False, Seconds(300.0))


def safe_count(models: Models, capacity: Bytes) -> int:
    """How many models fit, whichever they are."""
    sizes = accumulate(sorted((m.size for m in models.values()), reverse=True))
    return max(1, sum(total <= capacity for total in sizes))


PEERS: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "single_model",
            "one model at a time",
            lambda models, capacity: Policy(ranking=LRU, single=True),
        ),
        Rule(
            "count_lru_safe",
            "as many models as fit whichever they are, then the longest idle",
            lambda models, capacity: Policy(ranking=LRU, max_active=safe_count(models, capacity)),
        ),
        Rule(
            "ttl_5m_lru",
            "unloaded after 5 min idle, else the longest idle",
            lambda models, capacity: Policy(ranking=LRU, watchdog=FIVE_MINUTES),
        ),
        Rule(
            "ollama_like",
            "unloaded after 5 min idle, else by name; requests one after another",
            lambda models, capacity: Policy(ranking=BY_NAME, watchdog=FIVE_MINUTES),
            Queue.HEAD,
        ),
        *(
            Rule(
                f"{name}_plain",
                f"as {name}; whoever turns out not to be needed goes, too",
                ranked(_plain(name)).policy,
            )
            for name in ("lru", "idle_over_load", "landlord", "gdsf")
        ),
    )
}

RULES: Mapping[str, Rule] = {**{n: ranked(r) for n, r in RANKINGS.items()}, **PEERS}
