"""Events as the daemon sends them, without a gap: where a connection ends, the next one goes on
after the last event that came."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .client import Client, ClientError, Refused

API = "/api/v1/events"
SILENCE = 45.0  # seconds; the daemon says something every 15
SOONEST, LATEST = 1.0, 30.0  # seconds between two connections


@dataclass(frozen=True, slots=True)
class Event:
    id: str | None
    kind: str
    data: dict[str, Any]

    @property
    def row(self) -> dict[str, Any]:
        """As the daemon's list has it. A decision's own id is its "decision"."""
        return {**self.data, "id": self.id, "kind": self.kind}


def parse(lines: Iterable[bytes]) -> Iterator[Event]:
    """Server-sent events, as far as they are whole: what ends in the middle has not come."""
    id: str | None = None
    kind, data = "message", []
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            id = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif not line:
            if (found := _object("\n".join(data))) is not None:
                yield Event(id, kind, found)
            id, kind, data = None, "message", []


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def follow(
    client: Client,
    kinds: str,
    after: str | None,
    lost: Callable[[str], object],
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Event]:
    """Every event from now on, or since `after`, for ever. `lost` is told once why a connection
    ended. Raises ClientError where there is none at first, or where the daemon will not have us."""
    from http.client import HTTPException

    wait, tries, told = SOONEST, 0, False
    while True:
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        why = "the daemon ended it"
        try:
            with client.stream(API, SILENCE, {"kinds": kinds}, headers) as lines:
                tries += 1
                for event in parse(lines):
                    wait, told = SOONEST, False
                    after = event.id or _begun(event, after)
                    yield event
        except (Refused, ClientError) as error:
            if tries == 0 or (isinstance(error, Refused) and error.status < 500):
                raise
            why = error.what
        except (OSError, HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
        if not told:
            lost(why)
            told = True
        sleep(wait)
        wait = min(2 * wait, LATEST)


def _begun(event: Event, after: str | None) -> str | None:
    """Events without an id leave the place as it is, but for the two that say what it is: a new
    connection tells the last id there was, and what was lost is not asked for again."""
    if event.kind == "hello" and after is None:
        last = event.data.get("last")
        return last if isinstance(last, str) else None
    return None if event.kind == "reset" else after
