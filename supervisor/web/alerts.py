"""What Alertmanager, Grafana and others tell of alerts, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from supervisor.alerting.alert import NAME, Alert, Caller, Json, Outcome, Status, made
from supervisor.alerting.alerting import Later
from supervisor.config.entrusted import READ, WRITE

from . import callers
from .alert_rows import Accepted, Alerts
from .bodies import UNIX, Body, Name
from .operations import API, Call, Endpoint, Operation
from .problems import Json as JsonResponse
from .problems import problem
from .queries import Query
from .site import Site
from .values import YEAR_9999, Whole, Written

AGAIN = 5  # seconds after which it is worth while to send it again
ALERTS = 1000  # in one delivery


def _moment(value: Any) -> float:
    """Unix time of a moment as RFC 3339 has it."""
    if isinstance(value, str) and "T" in value.upper():
        try:
            read = datetime.fromisoformat(value.upper())
        except ValueError:
            pass
        else:
            return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    raise ValueError('a moment is written as "2027-06-30T12:00:00Z"')


Moment = Annotated[
    float,
    BeforeValidator(_moment),
    Written({"type": "string", "format": "date-time"}),
]
Labels = dict[str, str]
State = Literal["firing", "resolved"]


class OneAlert(Body):
    """As Alertmanager's webhook has it; whatever else it says is passed over."""

    model_config = ConfigDict(extra="ignore")

    status: State
    labels: Labels = Field(default_factory=dict)
    starts_at: Annotated[Moment, Field(alias="startsAt")]
    fingerprint: Name


class Delivery(Body):
    """Alertmanager's webhook of version 4, or Grafana's; whatever else it says is passed over."""

    model_config = ConfigDict(extra="ignore")

    alerts: Annotated[list[OneAlert], Field(max_length=ALERTS)]


class PlainAlert(Body):
    """One alert of somebody else. `id` names it; without one its name and labels do."""

    status: State
    name: Name
    labels: Labels = Field(default_factory=dict)
    id: Name | None = Field(None, description="the same each time that it is told of")
    starts_at: Annotated[float, Field(ge=0, le=YEAR_9999)] | None = Field(None, description=UNIX)


class Latest(Query):
    limit: Annotated[int, Whole(1, 1000), Field(description="how many, the newest")] = 50


def operations(site: Site) -> list[Operation]:
    at, path = _Alerts(site), f"{API}/alerts"
    hook = "Receive Alertmanager's webhook, or Grafana's; it is acted on by and by"
    plain = "Receive one alert of anybody else"

    def post(path: str, endpoint: Endpoint, summary: str, body: type[Body]) -> Operation:
        return Operation(
            "POST",
            path,
            endpoint,
            summary,
            Accepted,
            body=body,
            statuses=(202,),
            problems=(503,),
            scope=WRITE,
        )

    return [
        Operation(
            "GET", path, at.latest, "Alerts, and what became of them", Alerts, Latest, scope=READ
        ),
        post(path, at.deliver, hook, Delivery),
        post(f"{path}/plain", at.plain, plain, PlainAlert),
    ]


class _Alerts:
    def __init__(self, site: Site) -> None:
        self._alerting = site.alerting

    async def latest(self, call: Call[Latest, None]) -> Response:
        alerting = self._alerting
        return JsonResponse(
            {
                "alerts": alerting.told(call.query.limit),
                "holds": alerting.holds,
                "counts": {o.value: alerting.counts[o.value] for o in Outcome},
                "limit": alerting.limit,
            }
        )

    async def deliver(self, call: Call[Query, Delivery]) -> Response:
        alerts = [
            made(a.fingerprint, a.starts_at, Status(a.status), a.labels) for a in call.body.alerts
        ]
        return await self._receive(alerts, call.request)

    async def plain(self, call: Call[Query, PlainAlert]) -> Response:
        body = call.body
        fingerprint = body.id or _fingerprint(body.name, body.labels)
        status, alerting = Status(body.status), self._alerting
        since = body.starts_at
        if since is None:
            since = alerting.ledger.since(fingerprint, status)
        alert = made(fingerprint, since, status, {**body.labels, NAME: body.name})
        return await self._receive([alert], call.request)

    async def _receive(self, alerts: Iterable[Alert], request: Request) -> Response:
        alerts = list(alerts)
        try:
            outcomes = await self._alerting.receive(alerts, _caller(request))
        except Later as why:
            return problem(503, str(why), headers={"retry-after": str(AGAIN)})
        rows: list[Json] = [
            {
                "fingerprint": alert.fingerprint,
                "name": alert.name,
                "status": alert.status.value,
                "outcome": outcome,
            }
            for alert, outcome in zip(alerts, outcomes, strict=True)
        ]
        return JsonResponse({"accepted": outcomes.count("accepted"), "alerts": rows}, 202)


def _caller(request: Request) -> Caller:
    """Who it is, as the guard has found out."""
    found: callers.Caller = request.scope[callers.CALLER]
    return Caller(found.name, found.force)


def _fingerprint(name: str, labels: Labels) -> str:
    said = "\0".join((name, *(f"{key}\0{text}" for key, text in sorted(labels.items()))))
    return sha256(said.encode("utf-8", "replace")).hexdigest()[:16]
