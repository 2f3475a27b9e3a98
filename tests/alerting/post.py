"""Alerts as a test sends them, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.alerting import Alerting
from supervisor.alerting.alert import Alert, Caller, Json, Outcome, Status, made
from supervisor.config.alerted import ActionConfig, AlertsConfig, Kind

LOW = "UllageHeadroomLow"
BEGAN = 1_790_000_000.0
HOST = Caller("tests")
CHIEF = Caller("chief", force=True)


def action(kind: Kind, name: str = "act", **more: Any) -> ActionConfig:
    """One that every alert called LOW causes, unless it is said otherwise."""
    return ActionConfig(name, kind, **{"match": {"alertname": LOW}, **more})


def config(*actions: ActionConfig, **more: Any) -> AlertsConfig:
    return AlertsConfig(actions=actions, **more)


def alert(
    status: str = "firing", id: str = "f1", at: float = 0.0, name: str = LOW, **labels: str
) -> Alert:
    """`at` seconds after the first one began."""
    found = {"alertname": name, "severity": "warning", **labels}
    return made(id, BEGAN + at, Status(status), found)


@dataclass
class Post:
    """Sends to `alerting`, and looks at what came of it."""

    alerting: Alerting

    async def send(self, *alerts: Alert, by: Caller = HOST) -> list[str]:
        return await self.alerting.receive(alerts or (alert(),), by)

    async def fire(self, id: str = "f1", *, by: Caller = HOST, **more: Any) -> list[str]:
        return await self.send(alert("firing", id, **more), by=by)

    async def resolve(self, id: str = "f1", **more: Any) -> list[str]:
        return await self.send(alert("resolved", id, **more))

    def row(self, id: str = "f1", status: str = "firing", at: float = 0.0) -> Json:
        found = self.alerting.ledger.get(alert(status, id, at))
        assert found is not None
        return found.json

    def came(self, id: str = "f1", status: str = "firing", at: float = 0.0) -> str | None:
        """What became of it."""
        outcome: str | None = self.row(id, status, at)["outcome"]
        return outcome

    @property
    def counts(self) -> dict[str, int]:
        """What there was at all."""
        return {o.value: n for o in Outcome if (n := self.alerting.counts[o.value])}


def outcomes(rows: Sequence[Json]) -> list[str]:
    return [row["outcome"] for row in rows]
