"""What answers are made of: the machine and its models, row by row. Sizes are bytes; what could not
be read is null, and never 0."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from collectors.reading import DeviceKind, Level, PoolKind
from supervisor.core.account import Owner
from supervisor.core.groups import Rule
from supervisor.core.policy import Retention
from supervisor.core.snapshot import Ability, Source, State
from supervisor.core.status import Status
from supervisor.core.types import ModelType
from supervisor.core.watch import Kind, Severity

from .values import Word


def _open(schema: dict[str, Any]) -> None:
    """A later version may say more; what is said here stays."""
    schema.pop("additionalProperties", None)


class Row(BaseModel):
    """An object of an answer. Nothing is checked when it is sent: tests do that."""

    model_config = ConfigDict(extra="forbid", defer_build=True, json_schema_extra=_open)


def _said(text: str) -> Any:
    return Field(description=text)


Size = Annotated[int, Field(description="bytes", ge=0)]
Signed = Annotated[int, Field(description="bytes; below 0 it is a shortfall")]
Span = Annotated[float, Field(description="seconds")]
Unix = Annotated[float, Field(description="Unix time in seconds")]
Ratio = Annotated[float, Field(description="0 to 1")]
ModelName = Annotated[str, Field(description='"engine/model"')]
PoolName = Annotated[str, Field(description="id of a pool")]
Count = Annotated[int, Field(ge=0)]
Sentences = Annotated[list[str], Field(description="for people")]


class Part(Row):
    """Of the used bytes of a pool."""

    owner: Annotated[str, Word(Owner)]
    name: str
    size: Size
    pid: int | None
    engine: str | None


class Pool(Row):
    """One body of memory. The numbers of one that could not be read (`blind` says why) are null."""

    id: str
    kind: Annotated[str, Word(PoolKind)] | None
    name: Annotated[str, _said("what people call it")]
    total: Size | None
    free: Size | None
    reserve: Annotated[Size | None, _said("bytes that are never handed out")]
    budget: Annotated[Size | None, _said("bytes that models may hold of it; null: all of it")]
    held: Annotated[Size | None, _said("bytes that models hold")]
    promised: Annotated[Size | None, _said("bytes kept for loads under way and reservations")]
    foreign: Annotated[Size | None, _said("bytes that no model accounts for")]
    headroom: Signed | None
    hard: Annotated[int | None, _said("headroom if mapped weights were dropped, bytes")]
    device_limit: Size | None
    device_used: Size | None
    mapped: Annotated[Size | None, _said("bytes of mapped weights")]
    parts: Annotated[list[Part], _said("their sizes add up to what is used")]
    overlap: Size | None
    blind: Annotated[str | None, _said("why it could not be read")]


class Share(Row):
    pool: PoolName
    size: Size
    source: Annotated[str, Word(Source)]


class Model(Row):
    """One that holds memory."""

    name: ModelName
    engine: str
    model: str
    state: Annotated[str, Word(State)]
    size: Size
    shares: list[Share]
    busy: bool
    in_flight: Annotated[int | None, _said("requests; null: nobody can tell")]
    idle: Span
    busy_for: Span
    pinned: bool
    type: Annotated[str, Word(ModelType)]
    pids: list[int]
    status: Annotated[str, Word(Status)]
    kept_by: Annotated[list[str], _said("who keeps it, for people")]
    contexts: Annotated[Count, _said("how many use it: leases, and requests in flight")]


class Installed(Row):
    """One that an engine could load."""

    name: ModelName
    engine: str
    model: str
    size: Annotated[Size | None, _said("bytes of its file")]
    trouble: Annotated[str | None, _said("what went wrong with it last")]
    status: Annotated[str, Word(Status)]


class Engine(Row):
    id: str
    kind: str
    url: str
    up: bool
    fault: Annotated[str | None, _said("why it is not up")]
    degraded: Annotated[bool, _said("it answers, with what cannot be used")]
    version: str | None
    abilities: list[Annotated[str, Word(Ability)]]


class Foreign(Row):
    pool: PoolName
    pid: int
    name: str
    size: Size
    engine: str | None


class Process(Row):
    """One that holds bytes of a pool: `model` whose they are, `engine` whose process it is."""

    pool: PoolName
    pid: int
    name: str
    size: Annotated[Size | None, _said("bytes; null: all its model's processes hold them together")]
    model: ModelName | None
    engine: str | None


class Health(Row):
    utilization: Ratio | None
    memory_utilization: Ratio | None
    temperature: Annotated[float | None, _said("degrees Celsius")]
    memory_temperature: Annotated[float | None, _said("degrees Celsius")]
    power: Annotated[float | None, _said("watts")]
    power_limit: Annotated[float | None, _said("watts")]
    energy: Annotated[float | None, _said("joules since the driver was loaded")]
    clock: Annotated[float | None, _said("hertz")]
    memory_clock: Annotated[float | None, _said("hertz")]
    throttled: Annotated[list[str] | None, _said("why it is slower than it could be")]
    ecc_corrected: Annotated[int | None, _said("errors since the driver was loaded")]
    ecc_uncorrected: Annotated[int | None, _said("errors since the driver was loaded")]
    pcie_generation: int | None
    pcie_width: Annotated[int | None, _said("lanes")]
    recovery: str | None


class Device(Row):
    uuid: str
    pool: PoolName | None
    name: str
    index: int
    vendor: str
    driver: str | None
    pci: str | None
    kind: Annotated[str, Word(DeviceKind)]
    parent: Annotated[str | None, _said("uuid of the GPU that it is an instance of")]
    asleep: bool
    numa_node: int | None
    health: Health | None


class Pressure(Row):
    some: Span
    full: Span


class NumaNode(Row):
    node: int
    total: Size
    free: Size


class Host(Row):
    """RAM besides its pool."""

    swap_total: Size
    swap_free: Size
    limit: Size | None
    limited_by: str | None
    physical: Size | None
    available: Size | None
    anonymous: Size | None
    shared: Size | None
    tables: Size | None
    locked: Size | None
    kernel: Size | None
    huge: Size | None
    huge_free: Size | None
    zram: Size | None
    compressed: Size | None
    swapped: Annotated[int | None, _said("pages since boot")]
    oom_kills: int | None
    refaults: Annotated[int | None, _said("pages since boot")]
    pressure: Pressure | None
    level: Annotated[str, Word(Level)] | None
    nodes: list[NumaNode]


class Finding(Row):
    kind: Annotated[str, Word(Kind)]
    subject: str
    lasts: Annotated[float, Field(alias="for", description="seconds")]
    severity: Annotated[str, Word(Severity)]
    detail: str


class PastFinding(Row):
    kind: str
    subject: str
    severity: str
    detail: str
    amount: Annotated[float, _said("bytes, seconds or models, as its kind says")] = 0
    opened: Unix
    cleared: Unix | None


class Lease(Row):
    id: str
    model: ModelName
    client: str
    ttl: Span
    opened: Unix
    expires: Unix
    left: Span
    status: Annotated[str, Word(Status)] | None = None


class Reservation(Row):
    """Bytes kept for another program: `used` by its processes, as far as they are known, and the
    rest `held` free."""

    id: str
    client: str
    pool: PoolName
    size: Size
    used: Size
    held: Size
    pids: list[int]
    expires: Unix
    left: Span


class SetRetention(Row):
    """Set while running."""

    scope: str
    retention: Annotated[str, Word(Retention)]
    keep_alive: Annotated[float | None, _said("seconds; -1: for ever")]


class Group(Row):
    """Models that are never, or always, together."""

    name: str
    rule: Annotated[str, Word(Rule)]
    models: Annotated[list[str], _said("as configured; a * stands for any text")]
    members: Annotated[list[ModelName], _said("whom that means now")]
    loaded: list[ModelName]


class Limit(Row):
    """How many models may be active at once, and how many are."""

    limit: str
    most: Count
    active: Count


class PinRow(Row):
    model: Annotated[str, _said('"model" or "engine/model"')]
    until: Annotated[float | None, _said("Unix time; null: until it is unpinned")]
    source: Annotated[str, Field(description="set while running, configured, or an alert")]


class Setting(Row):
    key: str
    value: Annotated[str, _said("as it may be written in the file")]
    source: Annotated[str, _said("default, the file, environment, flag or override")]
    settable: Annotated[bool, _said("can it be changed while running?")]


class Entrusted(Row):
    """One with which this API may be used. That of listen.token is called token."""

    name: str
    scopes: Annotated[list[str], _said("without those that others of them include")]
    expires: Unix | None
    requests: Count
    used_at: Unix | None


class Callers(Row):
    """Requests that were `refused`, by why: unknown, none (was sent), expired, scope, slowed (too
    many wrong ones came from there), machine (another one, while there is no token)."""

    tokens: list[Entrusted]
    refused: dict[str, int]
    alert_refused_at: Annotated[float | None, _said("Unix time in seconds, of the latest")]


class Whoami(Row):
    """Who asks, and what it may do."""

    name: str
    via: Annotated[str, _said("token, socket or local")]
    scopes: Annotated[list[str], _said("with those that they include")]
