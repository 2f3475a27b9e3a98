"""Which of the decisions in the journal are meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .schema import Became, Decided

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Search:
    """Those that are all of it; None: it does not matter.

    `model`, as "model" or "engine/model", and `engine`: one that was considered. `before` and
    `after` are ids: older, and newer. `trigger` is the value of a Trigger, `result` that of a
    Result which one of its actions had. `since` and `until` are Unix time.
    """

    model: str | None = None
    before: str | None = None
    after: str | None = None
    engine: str | None = None
    trigger: str | None = None
    result: str | None = None
    since: float | None = None
    until: float | None = None

    def fitting(self, decided: Decided, outcomes: Iterable[Became]) -> dict[str, Any] | None:
        """What was decided, if it is one of those; it is read only where that cannot be told
        without."""
        if self.before is not None and not number(decided.id) < number(self.before):
            return None
        if self.after is not None and not number(decided.id) > number(self.after):
            return None
        if self.trigger not in (None, decided.trigger):
            return None
        if self.since is not None and decided.at < self.since:
            return None
        if self.until is not None and decided.at > self.until:
            return None
        if self.result is not None and all(o.body()["result"] != self.result for o in outcomes):
            return None
        if not decided.may_name(self.model, self.engine):
            return None
        body = decided.body()
        if self.model is not None and self.model not in names(body):
            return None
        if self.engine is not None and self.engine not in engines(body):
            return None
        return body


def number(id: str) -> int:
    """Of a decision: they are counted. One that is called otherwise is older than all."""
    digits = id.removeprefix("d-")
    return int(digits) if digits.isascii() and digits.isdecimal() else -1


def considered(body: Json) -> set[str]:
    """Every model that a decision considered, as "engine/model"."""
    return {entry["model"] for entry in (*body["actions"], *body["notes"])}


def names(body: Json) -> set[str]:
    """The same, and as "model"."""
    full = considered(body)
    return full | {name.partition("/")[2] for name in full}


def engines(body: Json) -> set[str]:
    return {name.partition("/")[0] for name in considered(body)}
