"""Wishes: carried out while their client waits, or behind its back with a place to look."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from supervisor.door import Door, DoorError, NotReady
from supervisor.events import Run

from .problems import Json, of_door, problem
from .requests import GONE, while_there

log = logging.getLogger("ullage.web")

T = TypeVar("T")
Row = dict[str, Any]
# Asks at a door: its own if it is to be told when that has been decided.
Ask = Callable[[Door], Coroutine[Any, Any, T]]
# What it answers, and with which status.
Tell = Callable[[T], tuple[Row, int]]

MOST = 256  # that are remembered, and so the most that may be under way
PATH = "/api/v1/operations"


@dataclass(slots=True)
class Errand:
    """A wish whose client does not wait. `state` is "waiting" until it is decided, then "running",
    then "done" or "failed"; `answer` is what its client would have got, `problem` why not."""

    id: str
    wish: str
    asked_at: float
    state: str = "waiting"
    decision: str | None = None
    answer: Row | None = None
    problem: Row | None = None

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed")

    def begun(self, run: Run) -> None:
        self.state, self.decision = "running", run.decision.id

    def end(self, answer: Row | None, problem: Row | None = None) -> None:
        self.answer, self.problem = answer, problem
        went_well = answer is not None and answer.get("ok") is not False
        self.state = "done" if went_well else "failed"

    @property
    def row(self) -> Row:
        """`asked_at` is Unix time."""
        return {
            "id": self.id,
            "wish": self.wish,
            "asked_at": self.asked_at,
            "state": self.state,
            "decision": self.decision,
            "answer": self.answer,
            "problem": self.problem,
        }


@dataclass(slots=True)
class Errands:
    """Those under way, and the last ones that are over."""

    door: Door
    most: int = MOST
    _kept: OrderedDict[str, Errand] = field(default_factory=OrderedDict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _count: int = 0
    # A page that asks across a restart is not told what became of somebody else's wish.
    _run: str = field(default_factory=lambda: token_hex(3))

    def get(self, id: str) -> Errand | None:
        return self._kept.get(id)

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all that are remembered, the newest first."""
        return tuple(reversed(self._kept))

    async def answer(
        self, request: Request, background: bool, ask: Ask[T], tell: Tell[T]
    ) -> Response:
        """Carry it out and tell what came of it; or, in the `background`, where that is told.

        Raises DoorError where it can be refused at once, in either case.
        """
        if background:
            errand = await self._send(request.url.path.rpartition("/")[2], ask, tell)
            where = f"{PATH}/{errand.id}"
            return Json({"operation": errand.id}, 202, {"location": where})
        found = await while_there(request, ask(self.door))
        if found is None:
            return problem(503, GONE)
        row, status = tell(found)
        return Json(row, status)

    async def _send(self, wish: str, ask: Ask[T], tell: Tell[T]) -> Errand:
        self._make_room()
        self._count += 1
        errand = Errand(f"o-{self._run}-{self._count:06}", wish, self.door.loop.wall())
        door = replace(self.door, begun=errand.begun)
        refused: list[DoorError] = []
        self._kept[errand.id] = errand
        task = asyncio.create_task(_carry_out(errand, ask(door), tell, refused), name=errand.id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(0)  # it runs until it has to wait for something
        if refused:
            del self._kept[errand.id]
            raise refused[0]
        return errand

    def _make_room(self) -> None:
        while len(self._kept) >= self.most:
            oldest = next((e.id for e in self._kept.values() if e.over), None)
            if oldest is None:
                raise NotReady(f"{self.most} wishes are under way already; ask again when one ends")
            del self._kept[oldest]


async def _carry_out(
    errand: Errand,
    asked: Coroutine[Any, Any, T],
    tell: Tell[T],
    refused: list[DoorError],
) -> None:
    try:
        row, _ = tell(await asked)
        errand.end(row)
    except DoorError as error:
        refused.append(error)
        errand.end(None, _row(of_door(error)))
    except asyncio.CancelledError:
        errand.end(None, _row(problem(503, "the daemon is stopping")))
        raise
    except Exception:
        log.exception("could not carry out %s", errand.id)
        errand.end(None, _row(problem(500, "an internal error; the log has it")))


def _row(response: Response) -> Row:
    found: Row = json.loads(bytes(response.body))
    return found
