"""One alert as it was received, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple

from supervisor.printable import printable

Json = dict[str, Any]

NAME = "alertname"
# Of what is told of an alert so much is kept: anybody can make alerts, with any text in them.
LABELS, LONG = 64, 200  # labels of one alert, characters of a text
# Labels that mean something here: they are kept however many there are.
ACTION, FORCE = "ullage_action", "ullage_force"
POOLS = ("pool", "uuid", "gpu_uuid")
READ = (NAME, ACTION, FORCE, *POOLS, "engine", "model", "severity")


class Status(Enum):
    FIRING = "firing"
    RESOLVED = "resolved"


class Outcome(Enum):
    """What became of one alert."""

    DONE = "done"
    NOTHING_TO_DO = "nothing_to_do"
    DISAGREED = "disagreed"  # our own measurements say otherwise
    DRY_RUN = "dry_run"
    LIMITED = "limited"  # enough has been done by alerts lately, or it is a pause
    NO_ACTION = "no_action"  # none is configured for it
    UNKNOWN_TARGET = "unknown_target"  # it names what is not here
    DUPLICATE = "duplicate"
    RESOLVED = "resolved"
    FAILED = "failed"
    HELD = "held"  # something holds from now on, until it resolves
    SUPERSEDED = "superseded"  # it was resolved before anything was done


class Ended(NamedTuple):
    """`detail` says why, and what would be right; `decision` is the id of what was decided."""

    outcome: Outcome
    detail: str = ""
    decision: str | None = None


class Caller(NamedTuple):
    """Who sends alerts. `force`: an alert may say that it is to act without our measurements."""

    name: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class Alert:
    """`starts_at` in Unix time. With `fingerprint` it names one episode of the alert."""

    name: str
    fingerprint: str
    starts_at: float
    status: Status
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def episode(self) -> str:
        return f"{self.fingerprint} {self.starts_at:.3f}"

    @property
    def key(self) -> str:
        """The same for each delivery of the same."""
        return f"{self.episode} {self.status.value}"

    @property
    def id(self) -> str:
        return "a-" + _digest(self.key)[:12]

    @property
    def said(self) -> str:
        """As it is called in sentences."""
        return f"alert {self.name}"


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one alert. `outcome` None: it is accepted, and not known yet. `at` is Unix
    time; `by` is whoever sent it; `decision` the id of what was decided."""

    alert: Alert
    at: float
    by: str
    outcome: Outcome | None = None
    detail: str = ""
    action: str | None = None
    target: str | None = None
    decision: str | None = None
    force: bool = False  # whoever sent it may force

    def ended(self, ended: Ended) -> Row:
        decision = ended.decision or self.decision
        return replace(self, outcome=ended.outcome, detail=ended.detail, decision=decision)

    @property
    def json(self) -> Json:
        """As it is told."""
        alert = self.alert
        return {
            "id": alert.id,
            "at": self.at,
            "name": alert.name,
            "fingerprint": alert.fingerprint,
            "starts_at": alert.starts_at,
            "status": alert.status.value,
            "labels": dict(alert.labels),
            "action": self.action,
            "target": self.target,
            "outcome": None if self.outcome is None else self.outcome.value,
            "detail": self.detail,
            "decision": self.decision,
            "by": self.by,
        }

    @property
    def written(self) -> Json:
        """As it is kept."""
        return self.json | {"force": self.force}


def read_row(body: Mapping[str, Any]) -> Row:
    """What `written` wrote. Raises KeyError, TypeError or ValueError."""
    alert = Alert(
        str(body["name"]),
        str(body["fingerprint"]),
        float(body["starts_at"]),
        Status(body["status"]),
        {str(k): str(v) for k, v in dict(body["labels"]).items()},
    )
    outcome = None if body["outcome"] is None else Outcome(body["outcome"])
    return Row(
        alert,
        float(body["at"]),
        str(body["by"]),
        outcome,
        str(body["detail"]),
        body["action"],
        body["target"],
        body["decision"],
        bool(body["force"]),
    )


def clean(text: str) -> str:
    """`text` so that it can stand in a log, a table or a page: printable, and not too long."""
    shown = printable(text[:LONG], "\N{REPLACEMENT CHARACTER}")
    return shown if len(text) <= LONG else shown[:-1] + "…"


def made(
    fingerprint: str,
    starts_at: float,
    status: Status,
    labels: Mapping[str, str],
) -> Alert:
    """An alert as somebody sent it, without what is too long of it."""
    few = dict(islice(((k, labels[k]) for k in (*READ, *labels) if k in labels), LABELS))
    said = {clean(k): clean(v) for k, v in few.items()}
    named = clean(labels.get(NAME, "")) or "without a name"
    if len(fingerprint) > LONG or not fingerprint.isprintable():
        fingerprint = _digest(fingerprint)
    return Alert(named, fingerprint, round(starts_at, 3), status, said)


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()
