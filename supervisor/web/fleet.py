"""The routes by which a fleet hears of this host: its word, what a model would cost it, and the
load of what it offered."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from supervisor.config.entrusted import OPERATE, READ
from supervisor.door import Carried, Door
from supervisor.fleet.hosts import HostId
from supervisor.fleet.speak import speak
from supervisor.fleet.words import offer_row, word_row
from supervisor.offers import Offers

from . import answers
from .background import Errands
from .bodies import Body, Name
from .fleet_rows import FleetOffer, FleetWord
from .operations import API, Call, Operation
from .problems import Json
from .queries import Query
from .site import Site
from .wishes import row_of

OFFERS = f"{API}/fleet/offers"


class AskOffer(Body):
    model: Name


class Accept(Body):
    pass


def operations(site: Site, errands: Errands) -> list[Operation]:
    at = Fleet(site, errands)
    return [
        Operation(
            "GET",
            f"{API}/fleet/word",
            at.word,
            "What this host says of itself to a fleet",
            FleetWord,
            problems=(503,),
            scope=READ,
        ),
        Operation(
            "POST",
            OFFERS,
            at.offer,
            "What would it cost to serve a model here? Changes nothing",
            FleetOffer,
            body=AskOffer,
            problems=(404, 503),
            scope=OPERATE,
        ),
        Operation(
            "POST",
            f"{OFFERS}/{{id}}/accept",
            at.accept,
            "Load what was offered, in the background",
            answers.Begun,
            body=Accept,
            statuses=(202,),
            problems=(404, 409, 410, 503),
            scope=OPERATE,
        ),
    ]


class Fleet:
    def __init__(self, site: Site, errands: Errands) -> None:
        self._site, self._errands = site, errands
        host = HostId(site.fleet.name)
        self._offers = Offers(site.door, host, site.fleet.valid, aliases=site.aliases)

    async def word(self, call: Call[Query, None]) -> Response:
        site, loop = self._site, self._site.loop
        gateway = site.gateway
        reached = gateway is not None and bool(gateway.state()["addresses"])
        # What has begun since the latest sample is told of: that it has, somebody waits to hear.
        now = loop.goings.promise(site.door.snapshot())
        snapshot, policy = loop.keeping.as_claimed(now, loop.policy)
        word = speak(
            snapshot,
            policy,
            loop.traffic.waiting,
            host=HostId(site.fleet.name),
            epoch=self._offers.epoch,
            version=site.version,
            wall=loop.wall(),
            address=site.fleet.address if reached else None,
            parts=site.fleet.spans,
        )
        return Json(word_row(word))

    async def offer(self, call: Call[Query, AskOffer]) -> Response:
        return Json(offer_row(self._offers.offer(call.body.model)))

    async def accept(self, call: Call[Query, Accept]) -> Response:
        offer = self._offers.take(call.named())

        async def load(door: Door) -> Carried:
            return await self._offers.carry_out(door, offer)

        return await self._errands.answer(call.request, True, load, partial(row_of, self._site))
