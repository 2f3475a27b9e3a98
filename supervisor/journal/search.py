"""Which of the decisions in the journal are meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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

    def fits(self, body: Json, outcomes: Iterable[Json]) -> bool:
        if self.before is not None and not number(body["id"]) < number(self.before):
            return False
        if self.after is not None and not number(body["id"]) > number(self.after):
            return False
        if self.trigger not in (None, body["trigger"]):
            return False
        if self.since is not None and body["at"] < self.since:
            return False
        if self.until is not None and body["at"] > self.until:
            return False
        if self.model is not None and self.model not in names(body):
            return False
        if self.engine is not None and self.engine not in engines(body):
            return False
        return self.result is None or any(o["result"] == self.result for o in outcomes)


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
