"""Traces: what a request came through, span by span. Made of values; `otlp` sends them.

A trace is begun only where traces are wanted and this one is; the rest of the gateway asks a single
time whether there is any. Its ids are ours from the beginning, so that the engine can go on with
them (W3C trace context); its spans are written down in one go when the request has ended.
"""

from __future__ import annotations

import logging
import random
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

log = logging.getLogger("ullage.traces")

Value = str | int | float | bool | tuple[str, ...]
Attributes = Mapping[str, Value]

TRACEPARENT: Final = b"traceparent"
# Stands for the header until it is known: no client can have guessed it.
SLOT: Final = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01".encode()
DECISIONS = 256  # of which it is remembered what was done, and when
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Parent(NamedTuple):
    """Whose span ours is a part of, by the client's word."""

    trace: int
    span: int
    sampled: bool


def read(value: bytes) -> Parent | None:
    """What a header `traceparent` says. None: nothing that counts."""
    found = _PARENT.fullmatch(value.strip())
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5]):
        return None
    trace, span = int(found[2], 16), int(found[3], 16)
    return Parent(trace, span, bool(int(found[4], 16) & 1)) if trace and span else None


def write(trace: int, span: int) -> bytes:
    """The header, of a span that is recorded."""
    return b"00-%032x-%016x-01" % (trace, span)


class Span(NamedTuple):
    """One step. Times are Unix nanoseconds; `parent` is 0 where there is none. `error`: what went
    wrong, where something did."""

    name: str
    id: int
    parent: int
    kind: str  # "server", "client" or "internal"
    began: int
    ended: int
    attributes: Attributes
    error: str | None = None


class Finished(NamedTuple):
    """A trace of ours, whole; its first span is the request. `remote`: that one's parent is the
    client's."""

    trace: int
    remote: bool
    spans: tuple[Span, ...]


# -- decisions


class Done(NamedTuple):
    """One action of a decision, with the moments on the monotonic clock."""

    name: str
    began: float
    ended: float
    attributes: Attributes
    error: str | None


@dataclass(slots=True)
class Decided:
    id: str
    at: float  # on the monotonic clock
    attributes: Attributes
    loads: frozenset[str]
    done: list[Done] = field(default_factory=list)

    @property
    def ended(self) -> float:
        """As far as it is known."""
        return max((d.ended for d in self.done), default=self.at)

    def under_way(self, ref: str, now: float) -> Done | None:
        """The load of `ref`, where nothing is known yet of how it ended."""
        name = f"load {ref}"
        if ref not in self.loads or any(done.name == name for done in self.done):
            return None
        told = {"ullage.decision": self.id, "ullage.model": ref, "ullage.result": "under_way"}
        return Done(name, self.ended, now, told, None)


class Decisions:
    """The latest decisions, and what came of them, by the word of the journal."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[str, Decided] = OrderedDict()

    def hear(self, kind: str, row: Mapping[str, Any]) -> None:
        """What is wrong here is nothing to whoever writes it down."""
        try:
            if kind == "decision":
                self._decided(row)
            elif kind == "outcome":
                self._outcome(row)
        except Exception:
            log.exception("could not take note of a %s", kind)

    def _decided(self, row: Mapping[str, Any]) -> None:
        loads = frozenset(a["model"] for a in row["actions"] if a["action"] == "load")
        about: Attributes = {
            "ullage.decision": row["id"],
            "ullage.cause": row["cause"],
            "ullage.trigger": row["trigger"],
            "ullage.evictions": sum(a["action"] == "evict" for a in row["actions"]),
        }
        self._known[row["id"]] = Decided(row["id"], self._clock(), about, loads)
        if len(self._known) > DECISIONS:
            self._known.popitem(last=False)

    def _outcome(self, row: Mapping[str, Any]) -> None:
        decided = self._known.get(row["decision"])
        if decided is None:
            return
        if row["result"] == "skipped":
            decided.loads -= {row["model"]}
            return
        now, judged = self._clock(), row["judgement"] or {}
        about: dict[str, Value | None] = {
            "ullage.decision": row["decision"],
            "ullage.model": row["model"],
            "ullage.result": row["result"],
            "ullage.detail": row["detail"] or None,
            "ullage.rung": row["rung"],
            "ullage.took": row["took"],
            "ullage.verdict": judged.get("verdict"),
            "ullage.promised_bytes": judged.get("promised"),
            "ullage.returned_bytes": judged.get("returned"),
        }
        told = {name: value for name, value in about.items() if value is not None}
        error = (row["detail"] or "it failed") if row["result"] == "failed" else None
        name = f"{row['action']} {row['model']}"
        decided.done.append(Done(name, now - row["took"], now, told, error))

    def during(
        self, ids: tuple[str, ...], ref: str, began: float, ended: float
    ) -> Iterator[Decided]:
        """Those of `ids`, and those that load `ref`, of which anything was under way then."""
        for decided in self._known.values():
            mine = decided.id in ids or ref in decided.loads
            open = decided.under_way(ref, ended) is not None
            if mine and decided.at <= ended and (open or decided.ended >= began):
                yield decided


# -- tracing


@dataclass(slots=True)
class Tracing:
    """One for a gateway. `put` takes what is finished and never waits. `sample` is the share that
    is traced of the requests whose clients do not say."""

    put: Callable[[Finished], None]
    sample: float = 1.0
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    decisions: Decisions = field(init=False)
    chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.decisions = Decisions(self.clock)

    def begins(self, header: bytes | None) -> Parent | None:
        """The trace that a request belongs to: its client's, or a new one, whose span is 0. None:
        it is not to be traced, and its header goes on as it came."""
        parent = None if header is None else read(header)
        if parent is not None:
            return parent if parent.sampled else None
        if self.sample < 1.0 and self.chance.random() >= self.sample:
            return None
        return Parent(self.chance.getrandbits(128) or 1, 0, True)

    def new_id(self) -> int:
        return self.chance.getrandbits(64) or 1
