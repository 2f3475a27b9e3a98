"""A daemon made of values, and a dashboard that asks it on the spot: nothing is left to threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from collectors.reading import gib
from supervisor.cli.client import Answer, ClientError
from supervisor.top.app import Top
from supervisor.top.look import Look
from supervisor.top.watch import News, Seen, Watch
from supervisor.top.wishes import Wishes
from tests.canned import BUSY, DONE, ONE, TWO

Row = dict[str, Any]
NOW = 1_790_000_000.0


def device(pool: str, index: int) -> Row:
    row = {"uuid": pool, "pool": pool, "name": "RTX 3090", "index": index, "kind": "gpu"}
    return {**row, "parent": None, "asleep": False, "health": {"temperature": 61.0}}


def part(owner: str, name: str, size: float) -> Row:
    engine = name.partition("/")[0] if owner == "model" else None
    return {"owner": owner, "name": name, "size": gib(size), "pid": 7, "engine": engine}


PARTS = {ONE: [part("model", "ollama/qwen3:8b", 5.5), part("foreign", "comfyui", 5.25)]}
FULL: Row = {
    **BUSY,
    "pools": [{**p, "parts": PARTS.get(p["id"], []), "mapped": 0} for p in BUSY["pools"]],
    "devices": [device(ONE, 0), device(TWO, 1)],
    "gateway": {
        "addresses": ["http://127.0.0.1:8553"],
        "fault": None,
        "in_flight": [{"model": "ollama/qwen3:8b", "count": 2}],
        "held": [{"model": "ollama/qwen3:32b", "count": 3, "longest": 8.2}],
        "refused": {},
        "tokens": [],
    },
}
FITS: Row = {"works": True, "actions": [], "notes": [], "unmet": [], "full": [], "sentences": []}


class FakeClient:
    """Answers each path with what `says` has for it, an error included; keeps what was asked."""

    def __init__(self, state: Row | None = None) -> None:
        self.address = "http://127.0.0.1:8552"
        self.token: str | None = None
        self.timeout = 1.0
        done = {"ok": True, "sentences": ["it went well"], "decision": DONE}
        self.says: dict[str, Row | ClientError] = {
            "/state": deepcopy(state or FULL),
            "/decisions": {"decisions": [DONE]},
            "/why": {"sentences": ["it is loaded and idle", "nobody needs its memory"]},
            "/plan": FITS,
            "/pin": {"pinned": "x", "until": None},
            "/unpin": {"unpinned": "x"},
            **{f"/{wish}": done for wish in ("evict", "load", "sleep", "wake")},
        }
        self.asked: list[tuple[str, str, Row]] = []

    def get(self, path: str, **query: Any) -> Answer:
        return self._answer("GET", path, query)

    def post(self, path: str, **body: Any) -> Answer:
        return self._answer("POST", path, body)

    def _answer(self, method: str, path: str, given: Row) -> Answer:
        path = path.removeprefix("/api/v1")
        self.asked.append((method, path, given))
        found = self.says[path]
        if isinstance(found, ClientError):
            raise found
        return Answer(json.dumps(found), found)

    @property
    def wishes(self) -> list[tuple[str, Row]]:
        """What was posted."""
        return [(path, given) for method, path, given in self.asked if method == "POST"]


class Still(Watch):
    """Asks nothing by itself: the test brings the news."""

    def start(self) -> None:
        pass


class Dashboard(Top):
    """`tell` brings news, as the daemon's state at `NOW` on a clock that stands still."""

    def __init__(self, client: FakeClient, look: Look, theme: str) -> None:
        self.client = client
        state = client.says["/state"]
        assert isinstance(state, dict)
        any_: Any = client
        super().__init__(
            any_,
            Seen(state, NOW, [DONE]),
            look=look,
            theme=theme,
            wishes=Wishes(any_, any_),
            watch=self._still,
            start=lambda work: work(),
            clock=lambda: self.at,
        )

    at = NOW

    def _still(self, tell: Callable[[News], object]) -> Watch:
        any_: Any = self.client
        return Still(any_, 1.0, tell, lambda: self.at)

    @property
    def text(self) -> str:
        """The screen, line by line."""
        lines = [
            "".join(segment.text for segment in strip).rstrip()
            for strip in self.screen._compositor.render_strips()
        ]
        return "\n".join(lines)


def dashboard(
    client: FakeClient | None = None,
    *,
    state: Row | None = None,
    look: Look | None = None,
    theme: str = "ansi-dark",
) -> Dashboard:
    return Dashboard(client or FakeClient(state), look or Look(), theme)


def changed(**others: Any) -> Row:
    """The full state, with some of it said otherwise."""
    return {**FULL, **others}
