"""What answers are made of: decisions, and what came of them, as the journal keeps them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from supervisor.core.ladder import Rung
from supervisor.core.plan import Trigger, Why
from supervisor.core.record import Mode, Result
from supervisor.core.verdict import Verdict

from .rows import Count, ModelName, PoolName, Row, Share, Signed, Size, Span, Unix
from .values import Word


class Loss(Row):
    """What it was expected to cost that a model goes, in seconds."""

    chance: Annotated[float, Field(description="0 to 1: that it is asked for again")]
    within: Span
    back: Span
    expected: Span


class Action(Row):
    action: Literal["evict", "load", "cancel"]
    model: ModelName
    why: Annotated[str, Word(Why)] | None = None
    shares: Annotated[list[Share], Field(description="what it frees, or takes")]
    ladder: list[Annotated[str, Word(Rung)]] | None = None
    loss: Loss | None = None


class Judgement(Row):
    """What came back, against what was promised."""

    verdict: Annotated[str, Word(Verdict)]
    promised: Size
    returned: Annotated[int, Field(description="bytes; below 0: a neighbour took more")]
    gone: bool
    late: bool = False


class Outcome(Row):
    decision: str
    at: Unix
    action: Literal["evict", "load", "cancel"]
    model: ModelName
    why: Annotated[str, Word(Why)] | None = None
    shares: list[Share]
    ladder: list[Annotated[str, Word(Rung)]] | None = None
    loss: Loss | None = None
    result: Annotated[str, Word(Result)]
    detail: str
    took: Span
    judgement: Judgement | None
    rung: Annotated[str, Word(Rung)] | None = None
    slipped: list[str] = Field(default_factory=list)


class Note(Row):
    """Why a model that was considered goes or stays."""

    model: ModelName
    why: Annotated[str, Word(Why)]
    loss: Loss | None = None


class InPool(Row):
    pool: PoolName
    why: str


class Room(Row):
    """A pool as it was when it was decided."""

    pool: PoolName
    total: Size
    free: Size
    reserve: Size
    budget: Size | None
    held: Size
    promised: Size
    foreign: Size
    headroom: Signed


class Holder(Row):
    """Who has bytes of a pool that cannot be reclaimed, and why not."""

    name: str
    size: Size
    why: str
    pid: Annotated[int | None, Field(description="of one that is no model of ours")]


class Short(Row):
    """Why a wish does not fit into one pool. `missing` is what would lack even if all went who
    may; `budget` what models may hold of it, `held` what they do."""

    pool: PoolName
    needs: Size
    total: Size
    free: Size
    reserve: Size
    promised: Size
    reclaimable: Size
    missing: Size
    holders: list[Holder]
    budget: Size | None = None
    held: Size = 0


class Planned(Row):
    """Actions in order, and a note for everyone who was considered; or what is missing: `unmet`
    bytes, `full` limits, pools that are `blind` or `barred`."""

    trigger: Annotated[str, Word(Trigger)]
    ranking: str | None = None
    actions: list[Action]
    notes: list[Note]
    unmet: list[Share]
    full: list[str]
    blind: list[InPool] = Field(default_factory=list)
    barred: list[InPool] = Field(default_factory=list)
    short: list[Short] = Field(default_factory=list)


class Decision(Planned):
    id: str
    at: Unix
    mode: Annotated[str, Word(Mode)]
    cause: str
    by: Annotated[str | None, Field(description="who asked for it, where somebody did")] = None
    rooms: list[Room]
    outcomes: list[Outcome]
    running: Annotated[bool, Field(description="is it under way?")] | None = None


class Departure(Row):
    """A model left, and not by our doing."""

    model: ModelName
    at: Unix
    why: str
    held: list[Share]


class Leaving(Row):
    model: ModelName
    contexts: Count
