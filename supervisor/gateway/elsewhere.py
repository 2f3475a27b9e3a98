"""One request's way across the fleet, from when this host is not simply the place for it.

The agent is asked where it is to go: it goes on here, or to another host's gateway, or waits until
somebody has room. A host that is lost before it has answered is avoided, and the agent asked again.
Whatever happens to agent and hosts, a model that is here is served here in the end.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from collectors.reading import Seconds
from supervisor.config.gated import GatewayConfig
from supervisor.core.snapshot import ModelId, ModelRef

from . import refusals
from .asked import Asked, renamed
from .fleet_counts import ELSEWHERE
from .heads import Headers, forward
from .marks import HOST, refused
from .placing import Answer, Nobody, Queued, Silent, There
from .placing import Fleet as Directory
from .stages import Request
from .surfaces import PATHS, Surface, target
from .traced import ADDED
from .upstream import Origin, far
from .wishes import Refusal, Wish
from .wrong import UnknownModel, WrongModel

if TYPE_CHECKING:
    from .fleet import Fleet

log = logging.getLogger("ullage.gateway")

TRIES: Final = 2  # further hosts, after one was lost or has refused


class Traveller(Protocol):
    """Whose request it is."""

    def here(self, wish: Wish) -> None:
        """It is this host's, as if there were no other."""

    def there(self, there: There) -> None:
        """It goes to another host's gateway."""

    def waits(self) -> None:
        """Nobody has room for it now. It is placed later."""

    def fails(self, why: Refusal | WrongModel) -> None:
        """It cannot be served."""


class Way:
    """`names` are what other hosts may call its model, the likeliest first. `unknown`: why it
    cannot be this host's. After a failure it is placed anew, at most so many `tries`."""

    __slots__ = (
        "_avoid", "_config", "_error", "_fleet", "_held", "_names", "_over", "_sent", "_timer",
        "_tries", "_who", "_why", "_wish", "ref", "since", "there", "unknown", "waited",
    )  # fmt: skip

    def __init__(
        self,
        fleet: Fleet,
        who: Traveller,
        config: GatewayConfig,
        wish: Wish,
        names: tuple[str, ...],
        unknown: WrongModel | None = None,
        tries: int = TRIES,
    ) -> None:
        self._fleet, self._who, self._config, self._wish = fleet, who, config, wish
        self._names, self.unknown = list(names), unknown
        self.ref = names[0]
        self._avoid: dict[str, float] = {}  # hosts, and until when
        self._tries = tries  # that are left
        self._why: list[str] = []  # of hosts that failed, in words
        self._error: OSError | None = None  # why the last could not be reached
        self._held = self._over = self._sent = False
        self.since = fleet.clock()
        self._timer: asyncio.TimerHandle | None = None
        self.there: There | None = None
        self.waited = 0.0  # seconds until it was placed, where it had to wait for that

    def begin(self) -> None:
        self._fleet.ask(self)

    # -- how it stands, for who waits

    doing = "waits until a host of the fleet has room"
    position = 1
    eta: float | None = None

    @property
    def asks(self) -> bool:
        """It is not placed yet."""
        return not self._over and not self._sent

    @property
    def wants(self) -> tuple[str, frozenset[str]]:
        """By what name, and of whom not."""
        now = self._fleet.clock()
        return self._names[0], frozenset(h for h, until in self._avoid.items() if until > now)

    @property
    def patient(self) -> bool:
        return self.unknown is not None

    # -- what the fleet tells

    def placed(self, answer: Answer) -> None:
        match answer:
            case There() if self._fleet.is_own(answer):
                self._here()
            case There():
                self._there(answer)
            case Nobody():
                self._nobody(answer)
            case Queued():
                self._queued(answer)
            case Silent() if self.unknown is None:
                self._here()
            case Silent():
                # Who waits already waits on: an agent that is started anew is no reason to fail.
                if not self._held:
                    self._fails(self._unheard(answer))

    def stopped(self) -> None:
        self._fails(refusals.stopping())

    def _there(self, there: There) -> None:
        try:
            origin = None if there.address is None else far(there.address)
        except ValueError:
            origin = None
        if origin is None:
            self._failed(there.host, "has no gateway that could be asked")
            return
        self._rest()
        self._sent, self.there = True, there
        self._fleet.counts.under_way += 1
        self._who.there(there)

    def _nobody(self, answer: Nobody) -> None:
        if len(self._names) > 1:
            self._rest()
            del self._names[0]
            self._fleet.ask(self)
        elif self.unknown is None:
            self._here()
        elif self._why:
            self._fails(self._lost())
        else:
            self._fails(_closer(self.unknown, answer))

    def _queued(self, answer: Queued) -> None:
        fleet = self._fleet
        if self.unknown is None and fleet.is_ready(self._wish.candidates):
            return self._here()  # it has more to do than it should, and so has everybody
        if answer.busy:
            return fleet.look(partial(self._seen, answer))
        return self._hold(answer)

    def _seen(self, answer: Queued, known: Directory | None) -> None:
        """It is ready somewhere, and has too much to do wherever it is: so has a host that is
        alone, now and then, and its engine is asked all the same."""
        if not self.asks:
            return None  # its client has left meanwhile
        name, avoid = self.wants
        found = None if known is None else known.nearest(name, answer.busy - avoid)
        return self._hold(answer) if found is None else self._there(found)

    def _hold(self, answer: Queued) -> None:
        fleet, now = self._fleet, self._fleet.clock()
        if self._held:
            late = now - self.since >= self._config.drain_after
            late &= not fleet.spans(self._wish.candidates)
            # Only a host itself can make models at work leave.
            return self._here() if late and self.unknown is None else None
        if (full := self._full()) is not None:
            return self._fails(full)
        self._held = True
        left = max(0.0, self._patience - (now - self.since))
        why = f": {answer.sentences[0]}" if answer.sentences else ""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(left, self._late, why)
        fleet.hold(self)
        self._who.waits()
        return None

    # -- what becomes of it

    def sends(
        self, request: Request, surface: Surface, asked: Asked, traced: bool
    ) -> tuple[Origin, bytes]:
        """Where it goes, and what is sent there: the client's own, but for the model's name."""
        there, head, wish = self.there, request.head, self._wish
        assert there is not None
        assert there.address is not None
        origin = far(there.address)
        body = renamed(surface, head, request.body, there.model, asked)
        path = target(surface, PATHS, head, there.model) or head.target
        add = self._fleet.marks.added(head, wish.client, wish.priority)
        if traced:
            add = (*add, *ADDED)
        return origin, forward(head, body, origin.header, origin.base + path, add)

    def told(self, status: int, headers: Headers) -> Headers | None:
        """The other host's gateway answers: what is added to that for the client. None: it has
        refused, and a third may not."""
        there = self.there
        assert there is not None
        if self._tries and (why := refused(status, headers)) is not None:
            self._why.append(f"{there.host} refused ({why})")
            return None
        return ((HOST, there.host.encode("ascii", "replace")),)

    def back(self, error: OSError | None = None) -> None:
        """The other host is done with it, or gone; `error`: why it could not be reached."""
        self._error = error
        if self._sent:
            self._sent = False
            self._fleet.counts.under_way -= 1

    def lost(self) -> None:
        """And it had not begun to answer: somebody else is to."""
        there, self.there = self.there, None
        assert there is not None
        known = bool(self._why) and self._why[-1].startswith(f"{there.host} refused")
        self._fleet.counts.failed("refused" if known else "lost")
        self._failed(there.host, "" if known else unreached(self._error))

    def leave(self) -> None:
        """Its client is gone, or may not have it."""
        self.back()
        self._end()

    def _failed(self, host: str, why: str) -> None:
        if why:
            self._why.append(f"{host} {why}")
        log.info("a request for %s could not go to %s", self.ref, self._why[-1])
        self._rest()
        self._tries -= 1
        # By then the fleet has missed it, if it is gone; and if it is back, it is welcome.
        patience = self._fleet.config.lost + self._fleet.config.speaks
        self._avoid[host] = self._fleet.clock() + patience
        if self._tries >= 0:
            self._fleet.ask(self)
        elif self.unknown is None:
            self._here()
        else:
            self._fails(self._lost())

    def _here(self) -> None:
        if self.unknown is not None:  # the agent knows what our last look has not seen yet
            return self._failed(self._fleet.config.name, "does not have it yet")
        wish = self._wish
        if self._held:
            left = self._patience - (self._fleet.clock() - self.since)
            wish = wish._replace(wait=Seconds(max(0.0, left)))
        self._end()
        return self._who.here(wish)

    def _fails(self, why: Refusal | WrongModel) -> None:
        self._end()
        self._who.fails(why)

    def _late(self, why: str) -> None:
        took = self._fleet.clock() - self.since
        self._fails(refusals.nowhere(self.ref, took, why))

    # -- the end

    def _rest(self) -> None:
        """It waits no more, for the moment."""
        if self._held:
            self.waited, self._held = self._fleet.clock() - self.since, False
            self._fleet.requests.held(ModelRef(ELSEWHERE, ModelId(self.ref)), self.waited)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fleet.leave(self)

    def _end(self) -> None:
        self._rest()
        self._over = True

    @property
    def _patience(self) -> float:
        return self._config.max_wait if self._wish.wait is None else self._wish.wait

    def _full(self) -> Refusal | None:
        held = self._fleet.waiting
        if held < self._config.max_held:
            return None
        return refusals.full(ModelRef(ELSEWHERE, ModelId(self.ref)), held, "", None)

    def _lost(self) -> Refusal:
        return refusals.lost(self.ref, tuple(self._why))

    def _unheard(self, answer: Silent) -> Refusal | WrongModel:
        """The agent is away, and this host has no such model. Another had it a moment ago?"""
        assert self.unknown is not None
        if self._why:
            return self._lost()
        if self._fleet.has_met(self._names[0]):
            return refusals.unheard(self.ref, answer.why)
        return self.unknown


def unreached(error: OSError | None) -> str:
    """Why there was no answer: of a certificate that nobody vouches for it is told, for that is
    mended in our own configuration."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "did not answer"
    why = error.verify_message or error.reason or "it cannot be verified"
    return f"shows a certificate that is not trusted here ({why}): see fleet.ca_file"


def _closer(wrong: WrongModel, nobody: Nobody) -> WrongModel:
    """What is said to who asks for what no host has: names that are like it, of all hosts."""
    if not nobody.closest or type(wrong) is not UnknownModel:
        return wrong
    closest = tuple(dict.fromkeys((*nobody.closest, *wrong.closest)))[:3]
    return UnknownModel(wrong.name, closest, wrong.loaded, wrong.stands_for)
