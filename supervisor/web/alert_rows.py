"""Alerts as the API tells of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from supervisor.alerting.alert import Status
from supervisor.config.alerted import Kind

from .bodies import UNIX
from .rows import Row
from .values import Word


class Told(Row):
    fingerprint: str
    name: str
    status: Annotated[str, Word(Status)]
    outcome: Annotated[str, Field(description="accepted: look at the alerts; or what it came to")]


class Accepted(Row):
    accepted: Annotated[int, Field(description="those that are acted on by and by")]
    alerts: list[Told]


class AlertRow(Row):
    id: str
    at: Annotated[float, Field(description=UNIX)]
    name: str
    fingerprint: str
    starts_at: Annotated[float, Field(description=UNIX)]
    status: Annotated[str, Word(Status)]
    labels: dict[str, str]
    action: Annotated[str | None, Field(description="as it is configured; null: none was meant")]
    target: Annotated[str | None, Field(description="what it acts on, for people")]
    outcome: Annotated[str | None, Field(description="null: it is not known yet")]
    detail: str
    decision: Annotated[str | None, Field(description="its id")]
    by: Annotated[str, Field(description="who sent it: the name of a token")]


class AlertHold(Row):
    """What holds while an alert fires."""

    alert: str
    action: str
    kind: Annotated[str, Word(Kind)]
    target: str
    since: Annotated[float, Field(description=UNIX)]
    until: Annotated[float, Field(description="Unix time in seconds, unless it is heard of again")]


class Alerts(Row):
    """The newest first. `counts` by outcome, since the start."""

    alerts: list[AlertRow]
    holds: list[AlertHold]
    counts: dict[str, int]
    limit: Annotated[str, Field(description="at most so many actions in a time")]


class AlertState(Row):
    """The part of the state that alerts are."""

    firing: Annotated[int, Field(description="alerts that fire, as far as we were told lately")]
    holds: list[AlertHold]
    last: AlertRow | None
