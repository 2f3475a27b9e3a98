"""Pins that were set while running, some of them for a time."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from collectors.reading import Seconds
from supervisor.journal.shelves import Shelf

from .deadlines import Deadlines, Json

log = logging.getLogger("ullage.loop")

LAPSED = Seconds(86400)  # how long it is remembered of a model that its pin has ended


@dataclass(slots=True)
class Pins:
    """`ends` has those that end, on the daemon's clock; `lapsed` when others did."""

    shelf: Shelf
    deadlines: Deadlines
    ends: dict[str, Seconds] = field(default_factory=dict)
    lapsed: dict[str, Seconds] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.shelf.keys())

    def recall(self) -> None:
        """Take up what was written down. One that cannot be read has no end."""
        for name, body in self.shelf.all().items():
            if (ends := body.get("ends")) is not None:
                try:
                    self.ends[name] = self.deadlines.read(ends)
                except (KeyError, TypeError, ValueError):
                    log.warning("when the pin of %s ends cannot be read: it stays", name)

    def set(self, name: str, ends: Seconds | None) -> None:
        """Pin for ever, or until `ends`: in force at once, and on disk soon after."""
        body: Json = {"at": self.deadlines.wall()}
        body |= {} if ends is None else {"ends": self.deadlines.written(ends)}
        self.ends.pop(name, None)
        if ends is not None:
            self.ends[name] = ends
        self.lapsed.pop(name, None)
        self.shelf.keep(name, body)

    def drop(self, name: str) -> None:
        self.ends.pop(name, None)
        self.shelf.drop(name)

    def lapse(self, now: Seconds) -> bool:
        """Take down those whose time is over. True: there were any."""
        over = [name for name, ends in self.ends.items() if ends <= now]
        for name in over:
            del self.ends[name]
            self.shelf.drop(name)
            self.lapsed[name] = now
            log.info("the pin of %s has ended: it may go again", name)
        self.lapsed = {n: at for n, at in self.lapsed.items() if now - at < LAPSED}
        return bool(over)

    def rewrite(self) -> None:
        """The wall clock was set: write the same moments down by the new one."""
        for name, ends in self.ends.items():
            body = self.shelf.get(name) or {}
            self.shelf.keep(name, {**body, "ends": self.deadlines.written(ends)})
