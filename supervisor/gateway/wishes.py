"""What a request asks of the models, and what it is answered: let through, held, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, Protocol

from collectors.reading import Bytes, Seconds
from supervisor.core.snapshot import ModelRef
from supervisor.traffic import Flight


class Wish(NamedTuple):
    """`candidates` would serve it as well as one another, the most welcome first. `client` is the
    session or agent that asks, "" where nobody says; `priority` is higher for who goes first;
    `lease` the lease that it renews; `token` whose it is. `wait` is how long it may be held; None:
    as long as is configured."""

    candidates: tuple[ModelRef, ...]
    client: str = ""
    priority: int = 0
    lease: str | None = None
    token: str = ""
    wait: Seconds | None = None


@dataclass(slots=True)
class Grant:
    """It may go to `ref` now, whose engine is at `url`. Its `flight` counts until it is ended.
    `waited` is how long it was held; `again`: it was let through once before."""

    ref: ModelRef
    flight: Flight
    url: str
    wish: Wish
    waited: Seconds = Seconds(0.0)
    again: bool = False


class Flies(Protocol):
    """A flight, or what stands in its place."""

    def moved(self) -> None: ...
    def end(self) -> None: ...


class _Still:
    def moved(self) -> None: ...

    def end(self) -> None: ...


STILL: Final = _Still()  # in place of a flight, for what no model of ours works on


class RefusalKind(Enum):
    """The values are how metrics and clients are told."""

    FULL = "full"  # too many are held already
    WAITED = "waited"  # it was held for as long as it may be
    NO_ROOM = "no_room"  # it could not fit, whoever rests or goes
    LOAD_FAILED = "load_failed"
    COOLING_DOWN = "cooling_down"  # memory was missing for it lately: not tried for a while
    STOPPING = "stopping"  # the daemon ends
    ENGINE_DOWN = "engine_down"
    LIMIT = "limit"  # of a token
    PAUSED = "paused"  # nothing is loaded of our own accord now
    DRAINED = "drained"  # its engine takes no requests
    HOST_LOST = "host_lost"  # other hosts were to serve it, and did not
    FAULT = "fault"  # of ours


@dataclass(frozen=True, slots=True)
class Refusal:
    """`retry_after` and `eta` in seconds. `needed` and `free` are bytes of the pool in which most
    is missing, `holders` who has them; `state` says how the model stands."""

    why: RefusalKind
    message: str
    retry_after: float | None = None
    ref: ModelRef | None = None
    needed: Bytes | None = None
    free: Bytes | None = None
    holders: tuple[tuple[str, Bytes], ...] = ()
    state: str = ""
    eta: float | None = None


Ready = Callable[[Grant | Refusal], None]
