"""Who is here, by the age of what was heard of them on one's own clock, and what is wrong there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from collectors.reading import Seconds
from supervisor.core.wording import duration
from supervisor.printable import printable

from .hosts import DRAINED, Directory, Host, HostId, Presence, Promise, Word

CLOCKS_OFF = Seconds(300.0)  # two wall clocks that are further apart are worth telling
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


def troubles(directory: Directory, own_wall: float) -> list[str]:
    """What is wrong with the hosts that are heard of, in words. `own_wall` is Unix time here, at
    the directory's own instant."""
    here = sorted(
        (h for h in directory.hosts.values() if h.presence is not Presence.LOST),
        key=lambda h: h.id,
    )
    return [*_clocks(here, directory.at, own_wall), *_without_pools(here), *_shared(here)]


def _clocks(here: list[Host], at: Seconds, own_wall: float) -> list[str]:
    off = {h.id: h.word.wall - (own_wall - (at - h.heard)) for h in here}
    far = {id: by for id, by in off.items() if abs(by) > CLOCKS_OFF}
    ahead = sum(by > 0 for by in far.values())
    if len(far) > 1 and len(far) > len(here) / 2 and ahead in (0, len(far)):
        by = sorted(far.values(), key=abs)[len(far) // 2]
        told = f"{duration(abs(by))} {'behind' if ahead else 'ahead of'}"
        return [
            f"this host's clock is {told} those of {_listed(far)}: set it by NTP."
            " Only times that are shown are wrong by it"
        ]
    return [
        f"the clock of {printable(id)} is {duration(abs(by))} {'ahead of' if by > 0 else 'behind'}"
        " this host's: set both by NTP. Only times that are shown are wrong by it"
        for id, by in far.items()
    ]


def _without_pools(here: list[Host]) -> list[str]:
    return [
        f"{printable(h.id)} has no pools: nothing is placed there."
        " `ullage doctor` on that host says what cannot be read"
        for h in here
        if not h.word.spaces
    ]


def _shared(here: list[Host]) -> list[str]:
    """What only one of two hosts can have."""
    found: list[str] = []
    for one, other in _pairs(here, lambda w: w.host.casefold()):
        found.append(
            f"{one} and {other} differ by case alone: give each host a name of its own,"
            " by `name` under [fleet]"
        )
    for one, other in _pairs(here, lambda w: w.epoch):
        found.append(f"{one} and {other} are one daemon, told of by two agents: stop one of them")
    for one, other in _pairs(here, lambda w: w.address):
        found.append(
            f"{one} and {other} have one address: requests for one reach the other."
            " Set `address` under [fleet]"
        )
    return found


def _pairs(here: list[Host], key: Callable[[Word], str | None]) -> Iterator[tuple[str, str]]:
    """Each that has the same as one before it, with that one."""
    first: dict[str, HostId] = {}
    for host in here:
        what = key(host.word)
        if what is not None:
            if what in first:
                yield printable(first[what]), printable(host.id)
            else:
                first[what] = host.id


def _listed(hosts: Iterable[HostId], most: int = 5) -> str:
    names = [printable(h) for h in hosts]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
