"""What the rest of the daemon learns of requests: who is asked for, by whom, and on what lease.

No more often than is of use: there may be thousands of them a second.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from collectors.reading import Seconds
from supervisor.core.snapshot import ModelRef
from supervisor.events import Arrived, ClaimsChanged, Uses
from supervisor.loop import Loop

from .wishes import Wish

ASKED_EVERY = 1.0  # seconds: that a model is asked for
USES_EVERY = 30.0  # that a client goes on with the same model
RENEWS_EVERY = 1.0  # that a lease runs anew
MOST_CLIENTS = 10_000  # remembered, for that
MOST_MODELS = 1000  # the same, of models: some come under another name each time


@dataclass(slots=True)
class Told:
    loop: Loop
    _asked: OrderedDict[ModelRef, float] = field(default_factory=OrderedDict)
    _clients: OrderedDict[str, tuple[ModelRef, float]] = field(default_factory=OrderedDict)

    def of(self, ref: ModelRef, wish: Wish, now: float) -> None:
        """A request is let through to `ref`."""
        self.asked_for(ref, now)
        if wish.client:
            self._uses(wish.client, ref, now)
        if wish.lease is not None:
            self._renew(wish.lease, ref, now)

    def asked_for(self, ref: ModelRef, now: float) -> None:
        """`ref` is asked for, whether it is there or not."""
        at = self._asked.get(ref)
        if at is None or now - at >= ASKED_EVERY:
            self._asked[ref] = now
            self._asked.move_to_end(ref)
            if len(self._asked) > MOST_MODELS:
                self._asked.popitem(last=False)
            self.loop.post(Arrived(ref))

    def _uses(self, client: str, ref: ModelRef, now: float) -> None:
        before = self._clients.get(client)
        if before is not None and before[0] == ref and now - before[1] < USES_EVERY:
            return
        self._clients[client] = (ref, now)
        self._clients.move_to_end(client)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        self.loop.post(Uses(client, ref, Seconds(now)))

    def _renew(self, id: str, ref: ModelRef, now: float) -> None:
        """A lease runs anew with every request for its model; that is written down now and then."""
        leases = self.loop.keeping.leases
        lease = leases.get(id)
        if lease is None or lease.ref != ref:
            return
        ttl = leases.ttl_of(id)
        if lease.expires_at - now < ttl - min(RENEWS_EVERY, ttl / 4):
            leases.renew(id)
            self.loop.post(ClaimsChanged())
