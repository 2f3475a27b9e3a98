"""Decisions, outcomes and findings as plain JSON: what the journal keeps and the API shows.

Field by field: enums by their value, models as "engine/model", bytes as whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .actions import Action, Cancel, Load, Loss, Note, Plan
from .headroom import Room
from .record import Decision, Departure, Outcome
from .snapshot import Share
from .verdict import Judgement
from .watch import Finding

Row = dict[str, Any]


def plan_row(plan: Plan) -> Row:
    return {
        "trigger": plan.trigger.value,
        "ranking": plan.ranking,
        "actions": [action_row(a) for a in plan.actions],
        "notes": [_note(n) for n in plan.notes],
        "unmet": _shares(plan.unmet),
        "full": list(plan.full),
        "blind": [{"pool": b.pool, "why": b.why} for b in plan.blind],
        "barred": [{"pool": b.pool, "why": b.why} for b in plan.barred],
        "short": [s._asdict() | {"holders": [h._asdict() for h in s.holders]} for s in plan.short],
    }


def decision_row(decision: Decision, outcomes: Iterable[Outcome] = ()) -> Row:
    """What the journal reads back has the outcomes that came later in the same place."""
    return {
        "id": decision.id,
        "at": decision.at,
        "mode": decision.mode.value,
        "cause": decision.cause,
        **({} if decision.by is None else {"by": decision.by}),
        **plan_row(decision.plan),
        "rooms": [_room(r) for r in decision.rooms],
        "outcomes": [outcome_row(o) for o in outcomes],
    }


def outcome_row(outcome: Outcome) -> Row:
    return {
        "decision": outcome.decision,
        "at": outcome.at,
        **action_row(outcome.action),
        "result": outcome.result.value,
        "detail": outcome.detail,
        "took": outcome.took,
        "judgement": _judgement(outcome.judgement),
        "rung": None if outcome.rung is None else outcome.rung.value,
        "slipped": list(outcome.slipped),
    }


def action_row(action: Action) -> Row:
    if isinstance(action, Load):
        return {"action": "load", "model": str(action.ref), "shares": _shares(action.takes)}
    if isinstance(action, Cancel):
        model, why = str(action.ref), action.why.value
        return {"action": "cancel", "model": model, "why": why, "shares": []}
    return {
        "action": "evict",
        "model": str(action.ref),
        "why": action.why.value,
        "shares": _shares(action.frees),
        "ladder": [rung.value for rung in action.ladder],
        **_loss(action.loss),
    }


def departure_row(departure: Departure) -> Row:
    return {
        "model": str(departure.ref),
        "at": departure.at,
        "why": departure.why,
        "held": _shares(departure.held),
    }


def finding_row(finding: Finding) -> Row:
    """Without its `since`, which is on a clock that ends with the process."""
    return {
        "kind": finding.kind.value,
        "subject": finding.subject,
        "severity": finding.severity.value,
        "detail": finding.detail,
        "amount": finding.amount,
    }


def _note(note: Note) -> Row:
    return {"model": str(note.ref), "why": note.why.value, **_loss(note.loss)}


def _loss(loss: Loss | None) -> Row:
    """Where it was looked at: most are not."""
    return {} if loss is None else {"loss": {k: round(v, 4) for k, v in loss._asdict().items()}}


def _shares(shares: Iterable[Share]) -> list[Row]:
    return [{"pool": s.pool, "size": s.size, "source": s.source.value} for s in shares]


def _room(room: Room) -> Row:
    return {
        "pool": room.pool,
        "total": room.total,
        "free": room.free,
        "reserve": room.reserve,
        "budget": room.budget,
        "held": room.held,
        "promised": room.promised,
        "foreign": room.foreign,
        "headroom": room.headroom,
    }


def _judgement(judgement: Judgement | None) -> Row | None:
    if judgement is None:
        return None
    return {
        "verdict": judgement.verdict.value,
        "promised": judgement.promised,
        "returned": judgement.returned,
        "gone": judgement.gone,
        "late": judgement.late,
    }
