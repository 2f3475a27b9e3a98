"""How a fleet looks in answers: this host's word and its offers; the others, as they were heard."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from supervisor.core.status import Status
from supervisor.fleet.hosts import Presence

from .rows import Count, ModelName, PoolName, Row, Share, Signed, Size, Span, Unix
from .values import Word


class FleetSpace(Row):
    pool: PoolName
    total: Size
    free: Size
    headroom: Signed


class FleetModel(Row):
    """One that this host has or could have."""

    name: Annotated[str, Field(description="as its engine calls it")]
    engine: str
    status: Annotated[str, Word(Status)]
    ready: Annotated[bool, Field(description="it would answer a request now")]
    size: Size | None
    in_flight: Count
    waiting: Annotated[Count, Field(description="requests that are held for it")]
    slots: Annotated[int | None, Field(description="requests at once; null: not told")]


class FleetPart(Row):
    """What it holds of a model that spans hosts."""

    span: str
    model: ModelName
    leads: Annotated[bool, Field(description="requests go there, and it is loaded last")]
    hosts: Annotated[int, Field(description="of a leader: how many hosts it takes, this one too")]
    others: Annotated[list[str], Field(description="of a leader: who may hold the other parts")]


class FleetWord(Row):
    """What this host says of itself. `epoch` is another after each start of the daemon; `number` is
    0: who carries its words counts them."""

    host: str
    epoch: str
    number: Count
    version: str
    wall: Unix
    address: Annotated[str | None, Field(description="of its gateway, for other hosts")]
    spaces: list[FleetSpace]
    models: list[FleetModel]
    rests: Annotated[str | None, Field(description="why nothing is placed here; null: it may be")]
    parts: list[FleetPart]


class FleetOffer(Row):
    """What it would cost this host to serve the model now. It stands for `valid` seconds."""

    id: str
    host: str
    model: ModelName
    valid: Span
    ready: bool
    fits: bool
    loss: Annotated[float, Field(description="seconds that those who would leave cost")]
    wait: Annotated[float, Field(description="seconds until it would answer")]
    takes: list[Share]
    leaves: list[ModelName]
    in_flight: Count
    waiting: Count
    slots: int | None
    why: Annotated[str, Field(description='what is in its way; "": nothing')]


class Neighbour(Row):
    """A host as the agent of this one knows it. `total` and `headroom` are of its accelerators, of
    RAM where it has none; `promised` is the ledger's."""

    host: str
    presence: Annotated[str, Word(Presence)]
    age: Annotated[float, Field(description="seconds since it was heard")]
    version: str
    total: Count
    headroom: int
    promised: Count
    ready: Annotated[int, Field(description="models that would answer now")]
    in_flight: Count
    waiting: Count
    address: str | None
    rests: Annotated[str | None, Field(description="why nothing is placed there")]


class Fleet(Row):
    """`fault`: why nothing is known of it now; `heard`: seconds since the agent answered."""

    host: Annotated[str, Field(description="this one")]
    fault: str | None
    backend: str | None
    connected: bool | None
    heard: Span | None
    trouble: list[str]
    hosts: list[Neighbour]
    left_out: Count
    promises: Count
