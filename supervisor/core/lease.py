"""Who uses a model: clients that hold a lease on it, and what was seen of all its users."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.reading import Seconds

from .snapshot import ModelRef


@dataclass(frozen=True, slots=True)
class Lease:
    """A client's hold on a model, for a time. `client` says who holds it: an agent, a session.

    Both times are on the daemon's monotonic clock, the one of `Snapshot.taken_at`; of what is in a
    snapshot none has expired.
    """

    id: str
    ref: ModelRef
    client: str
    opened_at: Seconds
    expires_at: Seconds


@dataclass(frozen=True, slots=True)
class Use:
    """Of a model that is `there`, or still loading: since when it is, and when its last user was
    seen. None: nobody yet. `asked`: when it was asked for while it was there, and the one who did
    has not been seen since."""

    since: Seconds
    last: Seconds | None = None
    there: bool = True
    asked: Seconds | None = None
