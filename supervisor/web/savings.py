"""The savings: what was spent on reloads, and what would have been."""

from __future__ import annotations

from starlette.responses import Response

from supervisor.config.entrusted import READ
from supervisor.replay.savings import Savings, tell

from . import answers, queries
from .operations import API, Call, Operation
from .problems import Json
from .site import Site


def operations(site: Site) -> list[Operation]:
    about = "What was spent on reloads, and what other rankings would have spent"
    return [
        Operation(
            "GET",
            f"{API}/savings",
            _Spent(site).savings,
            about,
            answers.Savings,
            queries.Days,
            problems=(409, 503),
            scope=READ,
        )
    ]


class _Spent:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def savings(self, call: Call[queries.Days, None]) -> Response:
        found = await self._site.door.savings(call.query.days)
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
