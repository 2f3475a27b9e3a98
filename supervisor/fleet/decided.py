"""What is asked of a fleet, and what is decided: where a model is served, and each host's note."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from collectors.reading import NONE, Bytes, Seconds

from .hosts import HostId, Offer, PromiseId


class Why(Enum):
    """One word per host considered; fleet/explain.py turns it into a sentence."""

    READY = "ready"  # chosen: it would answer now
    COMING = "coming"  # chosen: it is being loaded there
    LEAST_LOSS = "least loss"  # chosen: of those that offered it loses least
    PART = "part"  # chosen: it holds a part of a model that spans hosts
    BUSIER = "busier"  # ready there as well, and more is asked of it
    NOT_NEEDED = "not needed"  # it is served elsewhere without a load
    OVERLOADED = "overloaded"  # ready there, and has more to do than it may have
    DEARER = "dearer"  # it offered, and another loses less
    NOT_ENOUGH = "not enough"  # it would do, and too few others would for a model that spans hosts
    BROKEN = "broken"  # it leads a model that spans hosts, and has lost a part of that
    IN_PLACE = "in place"  # what it holds is part of a model that is served already
    NOT_ASKED = "not asked"  # others were more promising
    ASKED = "asked"  # for its offer, which is to come
    NO_OFFER = "no offer"  # it was asked, and did not answer
    OVER = "over"  # its offer's time has run out
    NO_FIT = "no fit"  # it was asked, and has no room
    PROMISED = "promised"  # its memory is spoken for
    CLAIMED = "claimed"  # another placement of this model is under way there
    WAITS = "waits"  # not asked before it is known how another placement of the model ended
    UNSURE = "unsure"  # it has the model or is loading it, and is not heard of
    NO_MODEL = "no model"
    ENGINE = "engine"  # has it, by an engine that does not answer
    TOO_SMALL = "too small"
    NO_POOLS = "no pools"
    NO_ADDRESS = "no address"
    AVOIDED = "avoided"  # whoever asks does not want it
    SILENT = "silent"
    LOST = "lost"
    DRAINED = "drained"
    RESTS = "rests"


CHOSEN = frozenset({Why.READY, Why.COMING, Why.LEAST_LOSS, Why.PART})


class Note(NamedTuple):
    """`loss`: seconds that those who would leave are expected to cost. `detail`: the host's own
    words, a number of bytes or of seconds in words."""

    host: HostId
    why: Why
    loss: float | None = None
    detail: str = ""


class Rules(NamedTuple):
    """How a fleet places. A host is overloaded from slots × `factor` requests on; one that does not
    tell its slots counts as if it had `slots`. At most `offers` hosts are asked for one."""

    factor: float = 2.0
    offers: int = 4
    slots: int = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """A model that is to be served somewhere, by whoever is at `own`.

    `sent`: requests for it that `own` has sent to a host since that spoke last, and that its word
    cannot know of. `mine`: the promise that this very wish holds, which is not in its way.
    """

    model: str
    own: HostId | None = None
    avoid: frozenset[HostId] = frozenset()
    sent: Mapping[HostId, int] = field(default_factory=dict)
    mine: PromiseId | None = None


class Answer(NamedTuple):
    """What came of asking a host for an offer. `at`: when it came, on the clock of whoever asked;
    without an offer `why` says what went wrong."""

    offer: Offer | None
    at: Seconds
    why: str = ""


@dataclass(frozen=True, slots=True)
class Asking:
    """No host serves it without a load: these are to be asked for an offer, the most promising
    first. `eligible` are all whose offer would do. `claim` is the one name under which a promise
    for it is made; `size` what it is thought to take of each host, 0: not known."""

    claim: str
    hosts: tuple[HostId, ...]
    eligible: tuple[HostId, ...]
    notes: tuple[Note, ...]
    size: Bytes = NONE


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model is served. `ready`: it answers now; `coming`: it is loading already, and there
    is nothing to begin; neither: `offers` are to be accepted, one for each of `members`."""

    model: str
    host: HostId
    notes: tuple[Note, ...]
    ready: bool = False
    coming: bool = False
    offers: tuple[Offer, ...] = ()

    @property
    def members(self) -> tuple[HostId, ...]:
        return tuple(o.host for o in self.offers) or (self.host,)


@dataclass(frozen=True, slots=True)
class Queued:
    """Nobody can have it now. `unknown`: no host that is heard of has such a model. `wait`: seconds
    after which it is worth asking again, None: nobody can tell. `nearest`: the least loaded of the
    hosts where it is ready and overloaded."""

    model: str
    notes: tuple[Note, ...]
    unknown: bool = False
    wait: Seconds | None = None
    nearest: HostId | None = None


Choice = Placement | Asking | Queued
Decision = Placement | Queued
