"""What is answered, operation by operation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from supervisor.core.record import Mode

from .alert_rows import AlertState
from .decided import Decision, Departure, Leaving, Planned
from .fleet_rows import Fleet
from .rows import (
    Callers,
    Count,
    Device,
    Engine,
    Finding,
    Foreign,
    Group,
    Host,
    Installed,
    Lease,
    Limit,
    Model,
    ModelName,
    PastFinding,
    PinRow,
    Pool,
    Process,
    Reservation,
    Row,
    Sentences,
    SetRetention,
    Setting,
    Span,
    Unix,
)
from .values import Word


class Problem(Row):
    """RFC 9457. `errors` has every mistake, `closest` names that look like the one that is not
    known; `code` says to programs what a status alone does not."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="what is wrong, and what would be right")]
    errors: list[str] | None = None
    closest: list[str] | None = None
    what: str | None = None
    code: str | None = None


class Ok(Row):
    ok: Literal[True]


class Ready(Row):
    ready: Literal[True]


class Version(Row):
    version: str


class Journal(Row):
    lag: Annotated[int, Field(description="writes that wait for the disk")]
    failures: Count
    persistent: Annotated[bool, Field(description="is there a file behind it?")]
    meant_to_persist: Annotated[bool, Field(description="is there to be one? A demo has none")]


class Flights(Row):
    model: ModelName
    count: Count


class Held(Flights):
    longest: Span


class Token(Row):
    name: str
    in_flight: Count
    requests: Count
    idle: Span | None
    expires: Unix | None


class Gateway(Row):
    addresses: list[str]
    fault: str | None
    in_flight: list[Flights]
    held: Annotated[list[Held], Field(description="requests that wait for a model")]
    refused: dict[str, int]
    tokens: list[Token]
    fleet: Annotated[dict[str, int | str | None] | None, Field(description="in fleet mode alone")]


class Paused(Row):
    """Nothing is loaded or unloaded on our own account."""

    until: Unix | None


class Drained(Row):
    """No request and no load goes there; null: to any engine."""

    engine: str | None
    until: Unix | None
    in_flight: Count


class State(Row):
    version: str
    mode: Annotated[str, Word(Mode)]
    now: Unix
    uptime: Span
    sample_age: Span | None
    ready: bool
    pools: list[Pool]
    models: list[Model]
    installed: list[Installed]
    engines: list[Engine]
    foreign: Annotated[list[Foreign], Field(description="the largest of each pool")]
    devices: list[Device]
    host: Host | None
    findings: list[Finding]
    pins: list[str]
    pins_end: dict[str, Unix]
    leases: list[Lease]
    reservations: list[Reservation]
    retention: list[SetRetention]
    leaving: list[ModelName]
    gateway: Gateway | None
    alerts: AlertState
    callers: Callers
    running: Annotated[list[str], Field(description="ids of decisions under way")]
    journal: Journal
    notes: list[str]
    paused: Paused | None
    drained: list[Drained]
    config: Config | None
    fleet: Annotated[Fleet | None, Field(description="null: this host is in none")]


class Models(Row):
    models: list[Model]
    installed: list[Installed]


class Pools(Row):
    pools: list[Pool]


class OnePool(Row):
    pool: Pool


class Devices(Row):
    devices: list[Device]
    host: Host | None


class Processes(Row):
    """The largest first; `left_out` are not told."""

    processes: list[Process]
    left_out: Count


class Engines(Row):
    engines: list[Engine]


class OneEngine(Row):
    engine: Engine
    models: list[Model]
    installed: list[Installed]


class Findings(Row):
    findings: Annotated[list[Finding], Field(description="what is wrong now")]
    past: Annotated[list[PastFinding], Field(description="the newest first, open ones as well")]


class Groups(Row):
    groups: list[Group]


class Limits(Row):
    limits: list[Limit]
    exceeded: Annotated[list[str], Field(description="once for each model too many")]


class Pins(Row):
    pins: list[PinRow]


class Decisions(Row):
    """`next` is what `before` has to be for the next page; null: there is none."""

    decisions: list[Decision]
    next: str | None


class OneDecision(Row):
    decision: Decision
    sentences: Sentences


class Why(Row):
    model: ModelName
    sentences: Sentences
    decisions: list[Decision]
    departures: list[Departure]


class Advice(Row):
    about: str
    what: str
    remedy: str


class Doctor(Row):
    advice: list[Advice]


class Logs(Row):
    model: ModelName
    lines: list[str]


class Savings(Row):
    since: Unix
    until: Unix
    known_since: Unix | None
    requests: Count
    left_out: Count
    loads: Count
    paid_s: Span
    ranking: str
    ghosts: Annotated[dict[str, float], Field(description="seconds, by ranking")]
    optimum_s: Span
    sentences: Sentences


class Proposal(Planned):
    works: bool
    sentences: Sentences


class Carried(Row):
    """What was decided and what came of it. `ok`: all that was asked for has been done."""

    ok: bool
    decision: Decision
    sentences: Sentences
    leaving: Annotated[list[Leaving], Field(description="in use: they go when they no longer are")]


class Begun(Row):
    """Look at `/api/v1/operations/` and this."""

    operation: str


class Errand(Row):
    """A wish that is carried out in the background. `answer` is what its client would have got,
    `problem` why it was refused; failed: there is a problem, or its answer is not ok."""

    id: str
    wish: str
    asked_at: Unix
    state: Literal["waiting", "running", "done", "failed"]
    decision: str | None
    answer: dict[str, Any] | None
    problem: Problem | None


class Pinned(Row):
    pinned: ModelName
    until: Unix | None


class Unpinned(Row):
    unpinned: str


class Released(Row):
    released: Annotated[list[str], Field(description="collectors that let go of their devices")]
    until: Unix


class Resumed(Row):
    resumed: list[str]


class Leases(Row):
    leases: list[Lease]


class OneLease(Row):
    lease: Lease


class Leased(Row):
    """`lease` null: it was refused, for its model could not be loaded."""

    ok: bool
    lease: Lease | None
    decision: Decision | None = None
    sentences: Sentences


class LeaseClosed(Row):
    closed: str
    model: ModelName


class Reservations(Row):
    reservations: list[Reservation]


class OneReservation(Row):
    reservation: Reservation


class Reserved(Row):
    """`reservation` null: there is no room for it."""

    ok: bool
    reservation: Reservation | None
    decision: Decision
    sentences: Sentences


class ReservationClosed(Row):
    closed: str


class Retentions(Row):
    retention: list[SetRetention]


class Retained(Row):
    scope: str
    retention: str | None = None
    keep_alive: Annotated[float, Field(description="seconds; -1: for ever")] | None = None
    reset: Annotated[bool, Field(description="false: it was as configured already")] | None = None


class Settings(Row):
    settings: list[Setting]
    set_aside: Annotated[dict[str, str], Field(description="what is not in force, and why")]


class Changed(Row):
    """`now` leave if the limits are applied to who is there, `next_load` before another model of
    that engine loads; null: it could not load at all."""

    key: str
    value: str
    before: str
    apply_now: bool
    now: list[ModelName]
    next_load: dict[str, list[ModelName] | None]
    sentences: Sentences
    dry_run: bool


class Config(Row):
    """`restart` are keys that differ from what is in force and wait for a restart."""

    file: str | None
    read_at: Unix | None
    checked_at: Unix | None
    ok: bool
    mistakes: list[str]
    restart: list[str]


class Reloaded(Row):
    """`changed` is in force, `restart` waits for one, `hidden` is covered by what was set while
    running; `set_aside` was set while running and is not in force any more, and why."""

    file: str | None
    changed: list[str]
    restart: list[str]
    hidden: list[str]
    set_aside: dict[str, str]
    apply_now: bool
    now: list[ModelName]
    next_load: dict[str, list[ModelName] | None]
    sentences: Sentences
    dry_run: bool
