"""Errors as RFC 9457 problems: one shape, whoever answers."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from supervisor.door import DoorError, NotReady, Unknown
from supervisor.offers import NoLonger, OfferOver, OfferTaken

LONGEST = 1000  # characters of a detail


class Json(JSONResponse):
    """JSON in ASCII: names come from engines, and what is no text must not cost us the answer."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class ProblemResponse(Json):
    media_type = "application/problem+json"


def problem(
    status: int, detail: str, *, headers: dict[str, str] | None = None, **members: Any
) -> ProblemResponse:
    """`detail` says what is wrong and what would be right; `members` say it to programs."""
    title = HTTPStatus(status).phrase
    if len(detail) > LONGEST:  # it may quote what was sent
        detail = detail[:LONGEST] + "…"
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return ProblemResponse({**content, **members}, status, headers)


def of_door(error: DoorError) -> ProblemResponse:
    """Of what was asked at the door and cannot be."""
    text = str(error)
    if isinstance(error, Unknown):
        return problem(404, text, what=error.what, closest=list(error.closest))
    if isinstance(error, NotReady):
        return problem(503, text, headers={"retry-after": "1"})
    if isinstance(error, OfferOver):
        return problem(410, text, code="offer_over")
    if isinstance(error, OfferTaken | NoLonger):
        code = "offer_taken" if isinstance(error, OfferTaken) else "no_longer_fits"
        return problem(409, text, code=code)
    return problem(409, text)
