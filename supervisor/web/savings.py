"""The route of the savings: what was spent on reloads, and what would have been."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.replay.savings import Savings, tell

from .problems import Json
from .requests import BadQuery, queried
from .site import Site

PATH = "/api/v1/savings"
USUAL, MOST = 7.0, 30.0  # days: what the journal keeps


def routes(site: Site) -> list[Route]:
    return [Route(PATH, _Spent(site).savings)]


class _Spent:
    def __init__(self, site: Site) -> None:
        self._site = site

    @queried("days")
    async def savings(self, request: Request) -> Response:
        found = await self._site.door.savings(_days(request.query_params.get("days")))
        return Json(row(found) | {"sentences": tell(found)})


def row(found: Savings) -> dict[str, object]:
    """Times are Unix time, spans and costs seconds."""
    return {
        "since": found.since,
        "until": found.until,
        "known_since": found.known_since,
        "requests": found.requests,
        "left_out": found.left_out,
        "loads": found.loads,
        "paid_s": round(found.paid, 3),
        "ranking": found.ranking,
        "ghosts": {name: round(ghost.all, 3) for name, ghost in found.ghosts.items()},
        "optimum_s": round(found.optimum, 3),
    }


def _days(given: str | None) -> float:
    try:
        days = USUAL if given is None else float(given)
    except ValueError:
        days = 0.0
    if not 0 < days <= MOST:
        raise BadQuery(f"days is a number up to {MOST:g}, not {given!r}")
    return days
