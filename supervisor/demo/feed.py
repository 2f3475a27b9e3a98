"""What has happened, in plain sentences: the story, findings, decisions and their outcomes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from supervisor.core import explain
from supervisor.core.plan import Why
from supervisor.core.watch import Severity

from .world import World

# Reasons that say nothing about who was close to being chosen.
_DULL = {Why.WRONG_POOL.value, Why.NOT_NEEDED.value, Why.WANTED.value}


class Tone(Enum):
    STORY = "-"  # what the machine's people do
    FINDING = "!"  # what a watchdog saw
    DECISION = ">"
    GOOD = "+"  # an outcome as promised
    BAD = "x"  # an outcome that was not
    ANSWER = "?"  # an explanation


@dataclass(frozen=True, slots=True)
class Line:
    """`at` in seconds since the beginning; `more` are an explanation's further lines."""

    at: float
    tone: Tone
    text: str
    more: tuple[str, ...] = ()


@dataclass(slots=True)
class Feed:
    """Looks at a world after each sample, and keeps what is new."""

    world: World
    hear: Callable[[Line], None] = lambda line: None
    lines: list[Line] = field(default_factory=list)
    started: float = 0.0
    _told: dict[str, int] = field(default_factory=dict)  # decision → outcomes told
    _findings: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.world.clock()

    def say(self, tone: Tone, text: str, more: tuple[str, ...] = ()) -> None:
        line = Line(self.world.clock() - self.started, tone, text, more)
        self.lines.append(line)
        self.hear(line)

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await self.world.loop.changed()

    def look(self) -> None:
        self._look_at_findings()
        for row in reversed(self.world.journal.decisions(20)):
            if row["id"] not in self._told:
                self._told[row["id"]] = 0
                self.say(Tone.DECISION, summary(row))
            told = self._told[row["id"]]
            self._told[row["id"]] = len(row["outcomes"])
            for outcome in row["outcomes"][told:]:
                tone = Tone.GOOD if went_well(outcome) else Tone.BAD
                self.say(tone, explain.tell({**row, "outcomes": [outcome]})[-1])

    def _look_at_findings(self) -> None:
        found = {
            (f.kind.value, f.subject): f"{f.subject}: {f.detail}"
            for f in self.world.loop.findings
            if f.severity is not Severity.INFO
        }
        for key in sorted(found.keys() - self._findings.keys()):
            self.say(Tone.FINDING, f"{key[0].replace('_', ' ')}: {found[key]}")
        for key in sorted(self._findings.keys() - found.keys()):
            self.say(Tone.FINDING, f"{key[0].replace('_', ' ')}: {key[1]}: no longer")
        self._findings = found


class Errors(logging.Handler):
    """Shows in the feed what the daemon would log as an error."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(logging.ERROR)
        self._feed = feed

    def emit(self, record: logging.LogRecord) -> None:
        self._feed.say(Tone.BAD, record.getMessage())


def summary(row: Mapping[str, Any]) -> str:
    """One sentence: the cause, who goes, who was spared and why."""
    text = f"{row['id']} {row['cause']}"
    verbs = {"evict": "unload", "load": "load"}
    deeds = [f"{verbs[a['action']]} {a['model']}{_most(a)}" for a in row["actions"]]
    if deeds:
        text += f"; {', then '.join(deeds)}"
    acted = {a["model"] for a in row["actions"]}
    spared = [n for n in row["notes"] if n["model"] not in acted and n["why"] not in _DULL]
    if spared:
        text += "; spared: " + ", ".join(f"{n['model']} ({n['why']})" for n in spared)
    return text


def went_well(outcome: Mapping[str, Any]) -> bool:
    judgement = outcome["judgement"]
    recovered = judgement is None or judgement["verdict"] == "recovered"
    return outcome["result"] != "failed" and recovered


def _most(action: Mapping[str, Any]) -> str:
    """The largest part of what it gives or takes."""
    most = max(action["shares"], key=lambda s: s["size"], default=None)
    return "" if most is None else f" ({explain.size(most['size'])} of {most['pool']})"
