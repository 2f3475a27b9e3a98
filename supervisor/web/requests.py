"""What the routes share: a request's query and body, its client's patience, and what is answered
to a wish."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from supervisor.core import explain
from supervisor.core.plan import Load, Trigger, Why
from supervisor.core.record import Mode, Result
from supervisor.core.rows import decision_row
from supervisor.door import Carried

from . import bodies, view

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)
Q = TypeVar("Q", bound=BaseModel)

MOST_MEMBERS = 65_536  # of a body: each that is wrong is a mistake, and takes a KiB to be told
GONE = "whoever asked has hung up"


class BadQuery(Exception):
    """The query string is wrong; the message has every mistake, and so has `mistakes`."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = list(mistakes)


class BadBody(Exception):
    """`mistakes` as bodies.mistakes has them."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def query_of(request: Request, kind: type[Q]) -> Q:
    """What was asked. A typo must not pass for an answer: raises BadQuery with every mistake."""
    items, known = request.query_params.multi_items(), list(kind.model_fields)
    given = [key for key, _ in items]
    unknown = [key for key in dict.fromkeys(given) if key not in known]
    most, longest = bodies.MOST_MISTAKES, bodies.LONGEST_MISTAKE
    wrong = [_no_such(key, known)[:longest] for key in unknown[:most]]
    if len(unknown) > most:
        wrong.append(f"and {len(unknown) - most} more")
    wrong += [f"{key} is given twice" for key in known if given.count(key) > 1]
    try:
        query = kind.model_validate({key: value for key, value in items if key in known})
    except ValidationError as error:
        wrong += bodies.mistakes(error, kind)
    if wrong:
        raise BadQuery(*wrong)
    return query


def _no_such(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, 1, 0.5)
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    return f"no parameter is called {key!r}; " + (f"did you mean {near[0]}?" if near else takes)


async def nothing_in(request: Request) -> None:
    """Raises BadBody where something was sent with a request that takes nothing."""
    if request.method not in ("GET", "HEAD") and await request.body():
        raise BadBody(["this takes no body"])


async def body_of(request: Request, kind: type[B]) -> B:
    raw = await request.body() or b"{}"
    if raw.count(b",") > MOST_MEMBERS:
        raise BadBody([f"it has more than {MOST_MEMBERS} members"])
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise BadBody(bodies.mistakes(error, kind)) from error


def told(carried: Carried) -> view.Json:
    """A decision and what came of it, as a row and in words."""
    row = decision_row(carried.decision, carried.outcomes)
    later = [explain.of_farewell(str(ref), count) for ref, count in carried.leaving]
    return {"decision": row, "sentences": explain.tell(row) + later}


def went_well(carried: Carried) -> bool:
    """Was all done that was asked for? What turned out not to be needed counts as done."""
    decision, plan = carried.decision, carried.decision.plan
    if not plan.works or (plan.actions and decision.mode is not Mode.ENFORCE):
        return False
    results = {o.result for o in carried.outcomes}
    if plan.trigger is Trigger.OPERATOR:
        leaving = {ref for ref, _ in carried.leaving}
        done = {o.result for o in carried.outcomes if o.action.ref not in leaving}
        stayed = (n for n in plan.notes if n.ref not in leaving)
        return done <= {Result.DONE} and all(n.why is Why.ASKED for n in stayed)
    loads = {o.result for o in carried.outcomes if isinstance(o.action, Load)}
    return loads <= {Result.DONE} and (bool(loads) or Result.FAILED not in results)


async def while_there(request: Request, wish: Coroutine[Any, Any, T]) -> T | None:
    """Have it carried out. None: its client hung up before it was begun, and it is dropped."""
    asked = asyncio.create_task(wish, name="wish")
    gone = asyncio.create_task(_hung_up(request), name="client")
    try:
        await asyncio.wait((asked, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (asked, gone):
            task.cancel()
    await asyncio.wait((asked,))
    return None if asked.cancelled() else asked.result()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
