"""The nouns of a fleet: hosts as they last spoke, what each of them offers, what was promised.

Values alone. Times are seconds of the monotonic clock of whoever looks, never of another host: no
two hosts need agree on what time it is. Sizes are whole bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, NewType

from collectors.reading import Bytes, PoolId, Seconds
from supervisor.core.snapshot import Share

HostId = NewType("HostId", str)
OfferId = NewType("OfferId", str)
PromiseId = NewType("PromiseId", str)

DRAINED = "it is drained"  # why a host rests whose daemon was told to, whoever told it


class Space(NamedTuple):
    """One pool of a host. `headroom` is the host's own word: free, less what it keeps."""

    pool: PoolId
    total: Bytes
    free: Bytes
    headroom: Bytes


@dataclass(frozen=True, slots=True)
class Housed:
    """A model that a host has or could have, by its engine there. `size` None: not known.

    `ready`: it would answer a request now. `in_flight` are requests at work, `waiting` those that
    are held for it; `slots` how many it serves at once, None: not told.
    """

    name: str  # as its engine calls it, without the engine
    engine: str
    status: str  # a core.status.Status, by its value
    ready: bool = False
    size: Bytes | None = None
    in_flight: int = 0
    waiting: int = 0
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What a host holds of a model that spans hosts. `model` is "engine/model" there, which is in
    its word as any other is.

    `leads`: requests go there, and it is loaded last, when parts of it are ready on `hosts` - 1 of
    the `others`; the other hosts say neither.
    """

    span: str
    model: str
    leads: bool = False
    hosts: int = 0
    others: tuple[HostId, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """What a host says of itself, once. `epoch` is another after each start of its daemon;
    `number` counts its words: an older one is not believed after a newer.

    `address` is where other hosts reach its gateway. `wall` is Unix time there when it spoke.
    `rests`: why nothing is placed there now, in words; None: it takes part.
    """

    host: HostId
    epoch: str
    number: int
    version: str
    wall: float
    address: str | None = None
    spaces: tuple[Space, ...] = ()
    models: tuple[Housed, ...] = ()
    rests: str | None = None
    parts: tuple[Part, ...] = ()


class Presence(Enum):
    """How a host stands with whoever looks."""

    HERE = "here"
    SILENT = "silent"  # late, and not given up: nothing new is placed there
    LOST = "lost"  # given up: what was promised there is void once its time has run out
    DRAINED = "drained"  # by the operator: what is there leaves, and nothing comes


@dataclass(frozen=True, slots=True)
class Host:
    """A host in the directory. `heard` is when its word came."""

    word: Word
    heard: Seconds
    presence: Presence = Presence.HERE

    @property
    def id(self) -> HostId:
        return self.word.host


@dataclass(frozen=True, slots=True)
class Offer:
    """What a host answers to "what would it cost you to serve this model?": its own dry run.

    It stands for `valid` seconds of the host's own monotonic clock: a load that asks for it later
    is refused there. Whoever got it at T knows that none by it begins after T + `valid`, whatever
    clocks and networks do.

    `fits` False: `why` says what is in its way. `loss`: seconds that those who would leave are
    expected to cost there; `wait`: seconds until the model would answer.
    """

    id: OfferId
    host: HostId
    model: str  # "engine/model" there
    valid: Seconds
    ready: bool
    fits: bool
    loss: float = 0.0
    wait: Seconds = Seconds(0.0)
    takes: tuple[Share, ...] = ()
    leaves: tuple[str, ...] = ()
    in_flight: int = 0
    waiting: int = 0
    slots: int | None = None
    why: str = ""

    @property
    def size(self) -> Bytes:
        return Bytes(sum(share.size for share in self.takes))


@dataclass(frozen=True, slots=True)
class Promise:
    """Bytes of a host that are spoken for, until `until`: the ledger, which is not the live
    headroom. `members`: of a model that spans hosts, all of them, this one too."""

    id: PromiseId
    model: str
    host: HostId
    size: Bytes
    until: Seconds
    members: tuple[HostId, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """All that is known of the fleet at one instant."""

    at: Seconds
    hosts: Mapping[HostId, Host] = field(default_factory=dict)
    promises: tuple[Promise, ...] = ()
