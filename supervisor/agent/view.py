"""What an agent knows of the fleet: made of what the directory tells it, on its own clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from collectors.reading import Bytes, Seconds
from supervisor.fleet.hosts import Directory, Host, HostId, Presence, Promise, PromiseId, Word
from supervisor.fleet.index import Index
from supervisor.fleet.liveness import Delays, Roll, troubles
from supervisor.fleet.words import read_word

from .backend import Heard, Row

FORGOTTEN = Seconds(600.0)  # a host that was lost for so long is shown no more


class _Told(NamedTuple):
    """A host's word, and when it was new."""

    word: Word
    at: Seconds


class View:
    """Times are seconds of the agent's monotonic clock."""

    def __init__(self, own: HostId, delays: Delays) -> None:
        self.own = own
        self._delays = delays
        self.index = Index()
        self.since = ""  # what the directory had when it was last heard
        self.began = Seconds(0.0)  # when that directory was started, as far as can be told
        self._roll = Roll(delays)
        self._told: dict[HostId, _Told] = {}
        self._heard: dict[HostId, Seconds] = {}
        self._listed: frozenset[str] = frozenset()  # whom the directory had when it was last heard
        self._promises: tuple[Promise, ...] = ()
        self._number = 0
        self._garbled: dict[str, str] = {}

    @property
    def others(self) -> frozenset[HostId]:
        """All that are heard of."""
        return frozenset(self._told)

    def speak(self, row: Row, now: Seconds) -> Word:
        """This host's own word, which needs no fleet. Raises ValueError."""
        self._number += 1
        word = replace(read_word(row), host=self.own, number=self._number)
        self._roll.hear(word, now)
        self.index.told(word)
        return word

    def take(self, heard: Heard, asked: Seconds, now: Seconds) -> None:
        """What was heard at `now` of a question that was `asked` then: ages count from there."""
        same = heard.version.partition(":")[0] == self.since.partition(":")[0]
        self.since, self.began = heard.version, Seconds(now - heard.up)
        new = {self._read(row, now, heard.ages) for row in heard.words}
        for name, age in heard.ages.items():
            self._hear(HostId(name), Seconds(asked - age), name in new)
        for host in heard.dead:
            self._roll.dead(HostId(host))
        # Who left, and not who has not told a directory that began anew.
        gone = self._listed - heard.ages.keys() if same else frozenset()
        self._listed = frozenset(heard.ages)
        for host in {*map(HostId, gone)} | {
            h for h, at in self._heard.items() if now - at > FORGOTTEN
        }:
            self._forget(host)
        self._promises = tuple(p for row in heard.kept for p in _promises(row, now))

    def _read(self, row: Row, now: Seconds, ages: Mapping[str, Seconds]) -> str:
        """Whose word it is."""
        host = str(row.get("host"))
        try:
            word = read_word(row)
        except ValueError as error:  # of a version that we do not know
            self._garbled[host] = f"{host} is not understood: {error}"
            return host
        self._garbled.pop(host, None)
        if word.host != self.own:  # of ourselves we know more
            self._told[word.host] = _Told(word, Seconds(now - ages.get(host, Seconds(0.0))))
        return host

    def _hear(self, host: HostId, at: Seconds, new: bool) -> None:
        """A new word is taken whenever it came: how long answers take is not always the same."""
        told, before = self._told.get(host), self._heard.get(host)
        if before is not None:
            new = new or at > before
            at = max(at, before)
        if told is None or not (new or before is None):
            return
        self._heard[host] = at
        self._number += 1
        # It told the same again: its clock has gone on meanwhile.
        passed = max(0.0, at - told.at)
        word = replace(told.word, number=self._number, wall=told.word.wall + passed)
        if self._roll.hear(word, at):
            self.index.told(word)

    def _forget(self, host: HostId) -> None:
        for kept in (self._told, self._heard):
            kept.pop(host, None)
        self._roll.forget(host)
        self.index.forget(host)

    def directory(self, now: Seconds, connected: bool) -> Directory:
        """As it is now. Who cannot hear anybody cannot tell that others are lost; nor can he of
        those who had no time yet to tell a directory that began anew."""
        found = self._roll.directory(now, self._promises)
        young = now - self.began < self._delays.lost
        if connected and not young:
            return found
        hosts = {
            h: host if h == self.own or (connected and self._knows(host)) else _unheard(host)
            for h, host in found.hosts.items()
        }
        return replace(found, hosts=hosts)

    def _knows(self, host: Host) -> bool:
        """Can a young directory tell that of him?"""
        return host.presence is not Presence.LOST or host.id in self._listed

    def trouble(self, now: Seconds, wall: float, connected: bool) -> list[str]:
        """What is wrong with hosts, in sentences."""
        found = troubles(self.directory(now, connected), wall)
        return [*self._roll.trouble(now), *found, *sorted(self._garbled.values())]


def _unheard(host: Host) -> Host:
    return host if host.presence is Presence.SILENT else replace(host, presence=Presence.SILENT)


def _promises(row: Row, now: Seconds) -> list[Promise]:
    """Of a model that spans hosts, one for each."""
    members = tuple(HostId(h) for h in sorted(row["shares"]))
    until = Seconds(now + row["left"])
    return [
        Promise(PromiseId(row["id"]), row["model"], h, Bytes(row["shares"][h]), until, members)
        for h in members
    ]
