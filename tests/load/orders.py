"""What engines are told in the soak, a history for each GPU: judged by the rules of the fault
bench."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.history import Call, History, Life, Memory, Trouble
from tests.faults.invariants import check

from .churn import Churn
from .clients import Crowd
from .machine import GPUS, RESERVE, TOTAL, Engine, Machine

SETTLE = 5.0  # seconds for which an unload's memory is waited for, unless the configuration says so
LATELY = 300  # decisions among which one is looked for that an engine has just been told of


class Orders:
    """Begins with the daemon. `dark` and `away` are told by whoever breaks something."""

    def __init__(
        self, machine: Machine, crowd: Crowd, churn: Churn, pid: int, journal: Path
    ) -> None:
        self.machine, self.crowd, self.churn, self.journal = machine, crowd, churn, journal
        now, cards = time.monotonic(), machine.cards
        self.histories = [History(SETTLE, RESERVE, TOTAL) for _ in range(GPUS)]
        self._strange: dict[int, Trouble] = {}
        for history in self.histories:
            history.lives.append(Life(pid=pid, began=now, ready=now, wall=time.time()))
        cards.held, cards.meddled = self._held, self._meddled
        for engine in machine.engines:
            engine.told, engine.done = partial(self._told, engine), partial(self._done, engine)

    def broken(self) -> list[str]:
        """Each breach of a rule, by GPU."""
        self._lost()
        return [f"GPU {i}: {words}" for i, h in enumerate(self.histories) for words in check(h)]

    def __len__(self) -> int:
        return sum(len(history.calls) for history in self.histories)

    def _held(self, gpu: int, why: str) -> None:
        used = self.machine.cards.used[gpu]
        self.histories[gpu].memory.append(Memory(time.monotonic(), used, why))

    def _meddled(self, gpu: int, begins: bool) -> None:
        """What somebody takes there whom the daemon cannot know is not its doing."""
        if begins:
            trouble = Trouble("a stranger", time.monotonic(), meddles=True)
            self._strange[gpu] = trouble
            self.histories[gpu].troubles.append(trouble)
        else:
            trouble = self._strange.pop(gpu)
            trouble.lifted = trouble.normal = time.monotonic()

    def _lost(self) -> None:
        for gpu, began, ended in self.churn.lost:
            trouble = Trouble("lost", began, dark=True, lifted=ended, normal=ended)
            self.histories[gpu].troubles.append(trouble)

    def _told(self, engine: Engine, kind: str, model: str) -> None:
        """An order has just reached an engine."""
        now, ref = time.monotonic(), f"{engine.name}/{model}"
        # Of a model that was never there, nobody knows what it will take.
        size = 0 if model in engine.untold else engine.sizes.get(model, 0)
        call = Call(
            engine=engine.name,
            kind=kind,
            model=model,
            began=now,
            life=0,
            busy=sum(map(self.crowd.waits, engine.serving[model])),
            was=engine.is_doing(model),
            size=size,
            free=TOTAL - self.machine.cards.used[engine.gpu],
            pinned=self.churn.is_pinned(model, now),
            leased=self.churn.is_leased(model, now),
            decisions=list(self._decided("evict" if kind == "unload" else kind, ref)),
        )
        self.histories[engine.gpu].calls.append(call)

    def _done(self, engine: Engine, kind: str, model: str) -> None:
        for call in reversed(self.histories[engine.gpu].calls):
            if (call.engine, call.kind, call.model, call.ended) == (engine.name, kind, model, None):
                call.ended = time.monotonic()
                return

    def _decided(self, action: str, ref: str) -> Iterator[dict[str, Any]]:
        """The latest decision on disk that has this without an outcome."""
        with closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True)) as db:
            for body in latest(db):
                if ref in body and self._open(db, decision := json.loads(body), action, ref):
                    yield decision
                    return

    @staticmethod
    def _open(db: sqlite3.Connection, decision: dict[str, Any], action: str, ref: str) -> bool:
        if not any((a["action"], a["model"]) == (action, ref) for a in decision["actions"]):
            return False
        told = db.execute("SELECT body FROM outcomes WHERE decision = ?", (decision["id"],))
        found = [json.loads(text) for (text,) in told]
        return not any((o["action"], o["model"]) == (action, ref) for o in found)


def latest(db: sqlite3.Connection) -> Iterator[str]:
    """The newest first."""
    rows = db.execute(f"SELECT body FROM decisions ORDER BY rowid DESC LIMIT {LATELY}")
    yield from (body for (body,) in rows)
