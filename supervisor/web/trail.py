"""The audit trail, read: who changed what, and who was refused."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from pydantic import Field
from starlette.responses import Response

from supervisor.config.entrusted import ADMIN
from supervisor.door import DoorError

from .operations import API, Call, Operation
from .problems import Json
from .queries import Name, Query
from .rows import Count, Row, Unix
from .site import Site
from .values import YEAR_9999, Number, Whole

PATH = f"{API}/audit"


class Asked(Query):
    """The newest first. For the next page, `before` is the `next` of this one."""

    limit: Annotated[int, Whole(1, 1000), Field(description="how many at most")] = 50
    since: Annotated[float, Number(0.0, YEAR_9999), Field(description="Unix time")] = 0.0
    who: Annotated[Name | None, Field(description="what this one did, by the name of a token")] = (
        None
    )
    before: Annotated[int | None, Whole(1, 10**15), Field(description="older than this one")] = None


class Entry(Row):
    """`who` is a token's name, token (of listen.token), socket, local, nobody, daemon, file or
    signal. What repeats itself is one entry, `times` of it until `last_at`."""

    id: str
    at: Unix
    last_at: Unix
    times: Count
    who: str
    via: Annotated[str, Field(description="api, page, signal, file or daemon")]
    address: Annotated[str | None, Field(description="from where")]
    what: Annotated[str, Field(description="the operation, or what was tried")]
    target: str | None
    wish: Annotated[str | None, Field(description="what was asked for, without secrets")]
    status: Annotated[int | None, Field(description="of the answer; none: there was none")]
    result: Literal["begun", "done", "failed", "refused"]
    why: Annotated[str | None, Field(description="why not")]
    decisions: Annotated[list[str], Field(description="ids of what was decided for it")]


class Entries(Row):
    entries: list[Entry]
    next: Annotated[int | None, Field(description="`before` of the next page")]


def operations(site: Site) -> list[Operation]:
    summary = "Who changed what, and who was refused, the newest first"
    answer = Trail(site).entries
    return [Operation("GET", PATH, answer, summary, Entries, Asked, problems=(409,), scope=ADMIN)]


class Trail:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def entries(self, call: Call[Asked, None]) -> Response:
        query, audit = call.query, self._site.loop.journal.audit
        asked = (query.limit + 1, query.since, query.who, query.before)
        try:
            found = await asyncio.to_thread(audit.find, *asked)
        except OSError as error:
            raise DoorError(f"the audit trail cannot be read: {error}") from None
        rows = found[: query.limit]
        more = len(found) > query.limit
        last = int(rows[-1]["id"].removeprefix("a-")) if more else None
        return Json({"entries": rows, "next": last})
