"""What a key asks of the daemon, and what is said of the answer. Blocks: never on the screen's
thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from supervisor.cli.asking import EVICT_TIMEOUT, LOAD_TIMEOUT
from supervisor.cli.client import Client, ClientError, Refused
from supervisor.printable import printable

Row = Mapping[str, Any]
ADVICE = "it only says what it would do: start it with `ullage run --mode enforce`"


class Said(NamedTuple):
    """What was done, or what was not, why and what to try."""

    well: bool
    what: str
    why: Sequence[str] = ()
    try_: str = ""

    @property
    def text(self) -> str:
        lines = [*self.why, *([f"try: {self.try_}"] if self.try_ else [])]
        return "\n".join(printable(line) for line in lines)


def trouble(error: ClientError) -> Said:
    """What the client raised, as it says it."""
    why = [error.why] if error.why else []
    try_ = error.try_
    if isinstance(error, Refused) and error.closest:
        why.append("did you mean " + " or ".join(error.closest) + "?")
    return Said(False, error.what, why, try_)


def patient(client: Client, timeout: float) -> Client:
    """The same daemon, for what takes its time."""
    return Client(client.address, None, client.token, max(timeout, client.timeout), client.cafile)


class Wishes:
    """One method a key. Raises ClientError; KeyError where the answer is of another version."""

    def __init__(self, client: Client, slow: Client | None = None) -> None:
        self._client = client
        self._evicting = slow or patient(client, EVICT_TIMEOUT)
        self._loading = slow or patient(client, LOAD_TIMEOUT)

    def pin(self, name: str) -> Said:
        self._client.post("/api/v1/pin", model=name)
        return Said(True, f"{name} is pinned", ["it stays until it is unpinned: p"])

    def unpin(self, name: str) -> Said:
        self._client.post("/api/v1/unpin", model=name)
        return Said(True, f"{name} is no longer pinned")

    def unload(self, name: str) -> Said:
        found = self._evicting.post("/api/v1/evict", models=[name]).document
        return _carried(found, f"{name} was not unloaded", "explain it: e")

    def sleep(self, name: str) -> Said:
        found = self._evicting.post("/api/v1/sleep", models=[name]).document
        return _carried(found, f"{name} was not sent to sleep", "unload it: u, or explain it: e")

    def wake(self, name: str) -> Said:
        found = self._loading.post("/api/v1/wake", model=name).document
        return _carried(found, f"{name} was not woken", "explain it: e")

    def load(self, name: str) -> Said:
        found = self._loading.post("/api/v1/load", model=name).document
        return _carried(found, f"{name} was not loaded", f"ullage plan --load '{name}'")

    def plan(self, name: str) -> Row:
        """What a load would do."""
        return self._client.post("/api/v1/plan", load=name).document

    def why(self, name: str) -> Sequence[str]:
        found: Sequence[str] = self._client.get("/api/v1/why", model=name).document["sentences"]
        return found

    def decisions(self, limit: int) -> Sequence[Row]:
        found = self._client.get("/api/v1/decisions", limit=limit).document
        rows: Sequence[Row] = found["decisions"]
        return rows


def _carried(found: Row, failed: str, try_: str) -> Said:
    """What became of a wish, with the daemon's own sentences."""
    sentences = list(found["sentences"])
    if found["ok"]:
        return Said(True, sentences[0] if sentences else "done", sentences[1:])
    decision = found.get("decision")
    if decision is not None and decision["mode"] != "enforce":
        try_ = ADVICE
    elif decision is not None and any(n["why"] == "pinned" for n in decision["notes"]):
        try_ = "unpin it: p, or take its pin out of the configuration"
    return Said(False, failed, sentences, try_)
