"""What changed goes from host to host in place of whole words, and comes to the same."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import Seconds, gib
from supervisor.agent.backend import Heard, Row
from supervisor.agent.directory import CHANGES, Directory
from supervisor.agent.view import View
from supervisor.fleet.changes import change_row
from supervisor.fleet.hosts import HostId, Word
from supervisor.fleet.liveness import Delays
from supervisor.fleet.words import word_row
from tests.fleet.builders import housed, word

from .fakes import Clock, Daemon, Fleet


class Teller:
    """A host that tells of itself, with what changed as long as it is believed to be known."""

    def __init__(self, host: str, directory: Directory) -> None:
        self.host, self.directory = host, directory
        self.word = self.said = self._made(0)
        self.known = False

    def _made(self, number: int, *models: Any, epoch: str = "one") -> Word:
        return word(self.host, *models, number=number, epoch=epoch)

    def becomes(self, *models: Any, **more: Any) -> None:
        now = self._made(self.word.number + 1, *models, epoch=self.word.epoch)
        self.word = replace(now, **more)

    def tells(self, whole: bool = False) -> None:
        if self.known and self.word == self.said:
            return
        row = word_row(self.word)
        if self.known and not whole:
            row["change"] = change_row(self.said, self.word)
        self.directory.tell(self.host, f"agent of {self.host}", row)
        self.said, self.known = self.word, True


def hears(view: View, directory: Directory, clock: Clock) -> list[Row]:
    """Once. What came."""
    found = directory.read(view.since)
    words = tuple(t["word"] for t in found["told"])
    ages = {h: Seconds(a) for h, a in found["ages"].items()}
    heard = Heard(found["version"], Seconds(found["up"]), ages, words, tuple(found["kept"]))
    view.take(heard, Seconds(clock.now), Seconds(clock.now))
    return list(words)


def seen(view: View, clock: Clock) -> dict[str, Word]:
    """Words of others, without what their way has added."""
    hosts = view.directory(Seconds(clock.now), True).hosts.values()
    return {h.id: plain(h.word) for h in hosts}


def plain(said: Word) -> Word:
    models = tuple(sorted(said.models, key=lambda m: (m.engine, m.name)))
    return replace(said, number=0, wall=0.0, models=models)


def test_who_has_the_word_before_is_told_the_change_and_who_has_not_is_told_all():
    clock = Clock()
    directory = Directory(clock)
    told, old, new = (
        Teller("b", directory),
        View(HostId("a"), Delays()),
        View(HostId("c"), Delays()),
    )
    told.becomes(*(housed(f"m{n}") for n in range(100)))
    told.tells()
    (whole,) = hears(old, directory, clock)
    told.becomes(*(housed(f"m{n}", work=int(n == 7)) for n in range(100)))
    told.tells()
    (change,) = hears(old, directory, clock)
    assert [m["name"] for m in change["models"]] == ["m7"]
    assert len(json.dumps(change)) < len(json.dumps(whole)) / 20
    (again,) = hears(new, directory, clock)
    assert len(again["models"]) == 100
    assert seen(old, clock) == seen(new, clock) == {"b": plain(told.word)}
    assert hears(old, directory, clock) == []


@pytest.mark.parametrize(("lag", "whole"), [(1, False), (CHANGES, False), (CHANGES + 1, True)])
def test_who_was_away_for_long_is_told_all(lag: int, whole: bool):
    clock = Clock()
    directory = Directory(clock)
    told, view = Teller("b", directory), View(HostId("a"), Delays())
    told.tells()
    hears(view, directory, clock)
    for n in range(lag):
        told.becomes(housed(f"m{n}"))
        told.tells()
    words = hears(view, directory, clock)
    assert len(words) == (1 if whole else lag)
    assert seen(view, clock) == {"b": plain(told.word)}


def test_a_change_of_a_word_that_was_never_heard_has_all_told_anew():
    clock = Clock()
    directory = Directory(clock)
    told, view = Teller("b", directory), View(HostId("a"), Delays())
    told.tells()
    hears(view, directory, clock)
    view._told.clear()  # as if it had been forgotten
    told.becomes(housed("m"))
    told.tells()
    assert "after" in hears(view, directory, clock)[0]
    assert view.since == ""
    assert "after" not in hears(view, directory, clock)[0]
    assert seen(view, clock) == {"b": plain(told.word)}


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_told_and_whoever_reads_when_all_know_the_same_in_the_end(seed: int):
    """Hosts start anew, directories too, and agents miss what was told."""
    dice, clock = random.Random(seed), Clock()
    directory = Directory(clock)
    hosts = [Teller(h, directory) for h in "abc"]
    views = [View(HostId(f"reader{n}"), Delays()) for n in range(3)]
    for _ in range(200):
        clock.now += 0.3
        host = dice.choice(hosts)
        names = dice.sample("mnopq", dice.randrange(5))
        more: dict[str, Any] = {"rests": dice.choice([None, "it is drained"])}
        host.becomes(*(housed(n, work=dice.randrange(2)) for n in names), **more)
        match dice.randrange(12):
            case 0:  # its daemon
                host.word, host.known = replace(host.word, epoch=str(clock.now)), False
            case 1:  # its agent, which counts anew
                directory.leave(host.host, f"agent of {host.host}")
                host.known = False
            case 2:
                directory = Directory(clock)
                for each in hosts:
                    each.directory, each.known = directory, False
                    each.tells(whole=True)
        host.tells(whole=dice.randrange(9) == 0)
        if dice.randrange(3):
            hears(dice.choice(views), directory, clock)
    for host in hosts:
        host.becomes(housed("last"))
        host.tells()
    for view in views:
        hears(view, directory, clock)
        hears(view, directory, clock)  # where the first found that it lacks a word
        assert seen(view, clock) == {h.host: plain(h.word) for h in hosts}


def test_agents_tell_one_another_what_changed():
    async def story() -> None:
        fleet = Fleet(**{h: Daemon(h, gib(9)) for h in "abc"})
        await fleet.beat(count=3)
        rows: list[Row] = []
        backend = fleet.backends["a"]
        ask = backend.tell

        async def listens(*words: Any) -> Heard:
            found = await ask(*words)
            rows.extend(found.words)
            return found

        backend.tell = listens  # type: ignore[method-assign]
        fleet.engine.daemons["c"].ready, fleet.engine.daemons["c"].status = True, "loaded"
        await fleet.beat()
        assert [("after" in r, r["host"]) for r in rows] == [(True, "c")]
        directory = fleet.agents["a"].fleet()["directory"]
        assert [h["word"]["models"][0]["ready"] for h in directory["hosts"]] == [False, False, True]
        rows.clear()
        fleet.engine.daemons["c"].epoch = "c2"  # started anew
        await fleet.beat()
        assert [("after" in r, r["host"]) for r in rows] == [(False, "c")]

    asyncio.run(story())
