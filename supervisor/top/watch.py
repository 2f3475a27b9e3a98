"""Asks the daemon in threads of its own: the screen never waits for an answer.

One thread asks for the state, again and again; another hears of events, where the daemon tells
any, and has the first one ask at once. Without events everything is a second later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from supervisor.cli.client import Client, ClientError, Garbled

from .stream import NoEvents, kinds

GAP = 0.2  # seconds between two looks, however much happens
MORE = 5.0  # seconds after which the journal is read again without a reason
DECISIONS = 40
AGAIN = 60.0  # seconds until events are asked for again where there are none
BACK = 1.0  # seconds after a broken stream
NEWS = {
    *("model", "engine", "decision", "outcome", "finding"),
    *("claim", "alert", "settings", "config", "daemon", "reset"),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The state, when it came (monotonic), and the newest decisions if they were asked for."""

    state: dict[str, Any]
    at: float
    decisions: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """There was no answer, or none that can be shown."""

    error: ClientError
    at: float


News = Seen | Lost


class Watch:
    """`tell` is called in other threads. `start` once; `stop` does not wait for an answer."""

    def __init__(
        self,
        client: Client,
        every: float,
        tell: Callable[[News], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._every, self._tell, self._clock = client, every, tell, clock
        self._due = threading.Event()  # somebody wants to know at once
        self._over = threading.Event()
        self._asked_for: Any = None
        self._read_at = -MORE
        self.listening = False  # events are told

    def start(self) -> None:
        for work in (self._look_on, self._listen_on):
            threading.Thread(target=work, name=f"top {work.__name__}", daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        self._due.set()

    def now(self) -> None:
        """Look at once, and read the journal too."""
        self._read_at = -MORE
        self._due.set()

    def look(self) -> News:
        """One look. Raises nothing."""
        try:
            state = self._client.get("/api/v1/state").document
            # Whatever is decided changes one of these, or is told by an event.
            key = (state["running"], [(m["name"], m["state"]) for m in state["models"]])
            if key == self._asked_for and self._clock() - self._read_at < MORE:
                return Seen(state, self._clock())
            found = self._client.get("/api/v1/decisions", limit=DECISIONS).document["decisions"]
        except ClientError as error:
            self._asked_for = None
            return Lost(error, self._clock())
        except (KeyError, TypeError) as error:
            return Lost(another_version(error), self._clock())
        self._asked_for, self._read_at = key, self._clock()
        return Seen(state, self._clock(), found)

    def _look_on(self) -> None:
        while not self._over.is_set():
            self._due.clear()
            self._tell(self.look())
            if not self._over.wait(GAP):
                self._due.wait(max(0.0, self._every - GAP))

    def _listen_on(self) -> None:
        while not self._over.is_set():
            pause = BACK
            try:
                for kind in kinds(self._client):
                    self.listening = True
                    if self._over.is_set():
                        return
                    if kind in NEWS:
                        self.now()
            except NoEvents:
                pause = AGAIN
            except ClientError:
                pass  # the other thread tells of it
            self.listening = False
            self._over.wait(pause)


def another_version(error: Exception) -> Garbled:
    """An answer that lacks what is shown of it."""
    return Garbled(
        f"the daemon's answer cannot be shown: {type(error).__name__} {error}",
        "it is of another version than this command",
        "ullage version",
    )
