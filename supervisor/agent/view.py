"""What an agent knows of the fleet: made of what the directory tells it, on its own clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from collectors.reading import Bytes, Seconds
from supervisor.fleet import ledger
from supervisor.fleet.changes import read_change
from supervisor.fleet.checked import Checked
from supervisor.fleet.hosts import Directory, Host, HostId, Presence, Promise, PromiseId, Word
from supervisor.fleet.index import Index
from supervisor.fleet.liveness import Delays, Roll
from supervisor.fleet.troubles import troubles
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
        self._took = Seconds(float("-inf"))  # when it was last heard
        self._roll = Roll(delays)
        self._told: dict[HostId, _Told] = {}
        self._heard: dict[HostId, Seconds] = {}
        self._listed: frozenset[str] = frozenset()  # whom the directory had when it was last heard
        self._promises: tuple[Promise, ...] = ()
        self._number = 0
        self._garbled: dict[str, str] = {}
        self._unread: list[str] = []  # promises
        self._engines: dict[HostId, str] = {}  # Ray's version, by host

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
        self.since, self.began, self._took = heard.version, Seconds(now - heard.up), now
        new = {host for row in heard.words if (host := self._read(row, now, heard.ages))}
        for name, age in heard.ages.items():
            if name not in self._garbled:  # what it said before is not how it is now
                self._hear(HostId(name), Seconds(asked - age), name in new)
        self._engines = {HostId(h): str(version) for h, version in heard.versions.items()}
        for host in heard.dead:
            self._roll.dead(HostId(host))
        # Who left, and not who has not told a directory that began anew.
        gone = self._listed - heard.ages.keys() if same else frozenset()
        self._listed = frozenset(heard.ages)
        for host in {*map(HostId, gone)} | {
            h for h, at in self._heard.items() if now - at > FORGOTTEN
        }:
            self._forget(host)
        self._unread = []
        self._promises = tuple(p for row in heard.kept for p in self._kept(row, now))

    def _read(self, row: Row, now: Seconds, ages: Mapping[str, Seconds]) -> str | None:
        """Whose word it is; or what changed in it, and then None where that was not heard before:
        all is wanted anew."""
        host = str(row.get("host"))
        if host == self.own:  # of ourselves we know more
            return host
        before = self._told.get(HostId(host))
        try:
            if "after" in row:
                word = read_change(row, None if before is None else before.word)
            else:
                word = read_word(row)
        except LookupError:
            self.since = ""
            return None
        except ValueError as error:  # of a version that we do not know
            self._garbled[host] = f"{host} is not understood: {error}"
            return host
        self._garbled.pop(host, None)
        self._told[word.host] = _Told(word, Seconds(now - ages.get(host, Seconds(0.0))))
        return host

    def _kept(self, row: Row, now: Seconds) -> list[Promise]:
        """One that is not understood is nobody's, and is told."""
        try:
            return _promises(row, now)
        except ValueError as error:
            self._unread.append(f"{row.get('owner')} is not understood: {error}")
            return []

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
        self._garbled.pop(host, None)
        self._roll.forget(host)
        self.index.forget(host)

    def directory(self, now: Seconds, connected: bool) -> Directory:
        """As it is now. Who cannot hear anybody cannot tell that others are lost, also where it is
        his own daemon that is away, for who tells nothing hears nothing; nor can he of those who
        had no time yet to tell a directory that began anew."""
        connected = connected and now - self._took <= self._delays.silent
        found = self._roll.directory(now, ledger.standing(self._promises, now))
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

    def trouble(self, directory: Directory, wall: float) -> list[str]:
        """What is wrong with hosts of what `directory` gave, in sentences."""
        found = troubles(directory, wall, self.own, self._engines)
        unread = sorted({*self._garbled.values(), *self._unread})
        return [*self._roll.trouble(directory.at), *found, *unread]


def _unheard(host: Host) -> Host:
    return host if host.presence is Presence.SILENT else replace(host, presence=Presence.SILENT)


def _promises(row: Row, now: Seconds) -> list[Promise]:
    """Of a model that spans hosts, one for each. Raises ValueError."""
    r = Checked(row, "promise")
    id, model, left = r.text("id"), r.text("model"), r.number("left", negative=True)
    shares = Checked(r.value("shares"), "promise: shares")
    members = tuple(HostId(h) for h in sorted(row["shares"]))
    until = Seconds(now + left)
    return [
        Promise(PromiseId(id), model, h, Bytes(shares.whole(h)), until, members) for h in members
    ]
