"""Who is here, by the age of what was heard of them on one's own clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from collectors.reading import Seconds
from supervisor.printable import printable

from .hosts import DRAINED, Directory, Host, HostId, Presence, Promise, Word

ENDED = 8  # of each host so many epochs are remembered that another has taken the place of


class Delays(NamedTuple):
    """After how long without a word a host is silent, and lost."""

    silent: Seconds = Seconds(2.5)
    lost: Seconds = Seconds(4.5)


USUAL = Delays()


def presence(
    heard: Seconds, now: Seconds, delays: Delays = USUAL, *, drained: bool = False
) -> Presence:
    """Of one whose latest word came at `heard`."""
    age = now - heard
    if age >= delays.lost:
        return Presence.LOST
    if age >= delays.silent:
        return Presence.SILENT
    return Presence.DRAINED if drained else Presence.HERE


class Roll:
    """Whose word was heard when. Times are the monotonic clock of whoever keeps it.

    Of one epoch an older word is not believed after a newer; of an epoch that another has taken the
    place of, none is while that other speaks. If both go on, two daemons share a name. (If the
    other does not, a word of before a restart had come late, and was taken for the newer.)
    """

    def __init__(self, delays: Delays = USUAL) -> None:
        self._delays = delays
        self._heard: dict[HostId, Host] = {}
        self._ended: dict[HostId, dict[str, Seconds]] = {}  # epochs, and when they were replaced
        self._twice: dict[HostId, Seconds] = {}  # when two were last heard by one name
        self._dead: set[HostId] = set()

    def hear(self, word: Word, now: Seconds) -> bool:
        """Was it believed?"""
        before = self._heard.get(word.host)
        ended = self._ended.setdefault(word.host, {})
        if before is not None and word.epoch in ended:
            if now - before.heard < self._delays.lost:
                if now - ended[word.epoch] >= self._delays.lost:
                    self._twice[word.host] = now
                return False
            del ended[word.epoch]
        if before is not None and before.word.epoch == word.epoch:
            if word.number <= before.word.number:
                return False
        elif before is not None:
            ended[before.word.epoch] = now
            for epoch in [*ended][:-ENDED]:
                del ended[epoch]
        self._heard[word.host] = Host(word, now)
        self._dead.discard(word.host)
        return True

    def dead(self, host: HostId) -> None:
        """Others say so: it is lost at once, until it speaks again."""
        self._dead.add(host)

    def forget(self, host: HostId) -> None:
        """It has left for good."""
        for kept in (self._heard, self._ended, self._twice):
            kept.pop(host, None)
        self._dead.discard(host)

    def directory(self, now: Seconds, promises: Iterable[Promise] = ()) -> Directory:
        return Directory(now, {h: self._at(h, now) for h in self._heard}, tuple(promises))

    def trouble(self, now: Seconds) -> list[str]:
        """What only shows over time."""
        return [
            f"two daemons call themselves {printable(host)}: the one that started last is believed."
            " Give each host a name of its own, by `name` under [fleet]"
            for host, at in sorted(self._twice.items())
            if now - at < 10 * self._delays.lost
        ]

    def _at(self, id: HostId, now: Seconds) -> Host:
        host = self._heard[id]
        if id in self._dead:
            return host if host.presence is Presence.LOST else replace(host, presence=Presence.LOST)
        drained = host.word.rests == DRAINED
        found = presence(host.heard, now, self._delays, drained=drained)
        return host if found is host.presence else replace(host, presence=found)
