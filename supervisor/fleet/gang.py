"""Where a model that spans hosts is served: by a set of them that holds all its parts, or by none.

As `place.py` does it for one host: `choose` says who serves it without a load, or who is to be
asked; `settle` looks again, at what they answered. Of several sets the one with the least loss, all
together, wins; ties go by the time until it answers, then by the leader's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from collectors.reading import NONE, Seconds
from supervisor.core.status import Status
from supervisor.core.wording import size as in_words
from supervisor.printable import printable

from . import ledger
from .decided import Answer, Asking, Choice, Decision, Note, Placement, Queued, Rules, Why, Wish
from .hosts import Directory, HostId, Offer, Presence, Promise
from .place import ABSENT_IN, LATER, USUAL
from .spans import PARTS, Member, followers, lacking, members


class _Costs(NamedTuple):
    """What a part costs, in the order of what is better."""

    loss: float
    wait: Seconds
    room: int  # what is left, below 0
    host: HostId


class _Set(NamedTuple):
    loss: float
    wait: Seconds
    leader: HostId
    parts: tuple[HostId, ...]


def choose(directory: Directory, wish: Wish, rules: Rules = USUAL) -> Choice:
    """Who leads it, where it is there; else the hosts that could hold it together."""
    found = members(directory, wish.model)
    look = _Look(directory, wish, rules, found)
    if look.ready or look.coming:
        _, _, best = min(look.ready or look.coming)
        notes = look.served_by(best, Why.READY if look.ready else Why.COMING)
        return Placement(wish.model, best, notes, ready=bool(look.ready), coming=not look.ready)
    nearest = min(look.overloaded)[2] if look.overloaded else None
    if look.wait is not None:
        return Queued(wish.model, look.told(Why.WAITS), wait=look.wait, nearest=nearest)
    if not look.sets:
        unknown = not any(m.part.leads for m in found.values())
        return Queued(wish.model, look.told(Why.NOT_ENOUGH), unknown, nearest=nearest)
    asked = tuple(sorted({h for leader, parts in look.sets.items() for h in (leader, *parts)}))
    return Asking(wish.model, asked, asked, look.told(Why.NOT_ENOUGH, asked))


def settle(
    directory: Directory, wish: Wish, answers: Mapping[HostId, Answer], rules: Rules = USUAL
) -> Decision:
    """As things are now. Its offers are those of the parts by name, and at last the leader's; one
    that says `ready` needs no load."""
    choice = choose(directory, wish, rules)
    if not isinstance(choice, Asking):
        return choice
    found = members(directory, wish.model)
    look = _Look(directory, wish, rules, found)
    notes = {note.host: note for note in choice.notes}
    costs: dict[HostId, _Costs] = {}
    offers: dict[HostId, Offer] = {}
    for host in choice.eligible:
        known = _cost(directory, wish, found[host], answers.get(host))
        if isinstance(known, Note):
            notes[host] = known
        else:
            costs[host], offers[host] = known
            notes[host] = Note(host, Why.DEARER, costs[host].loss)
    sets = [s for leader in look.sets if (s := _best(look.sets[leader], found[leader], costs))]
    if not sets:
        for host, cost in costs.items():
            notes[host] = Note(host, Why.NOT_ENOUGH, cost.loss)
        return Queued(wish.model, _sorted(notes))
    best = min(sets)
    for host in best.parts:
        notes[host] = Note(host, Why.PART, costs[host].loss)
    notes[best.leader] = Note(best.leader, Why.LEAST_LOSS, costs[best.leader].loss)
    order = (*sorted(best.parts), best.leader)
    return Placement(
        wish.model, best.leader, _sorted(notes), offers=tuple(offers[h] for h in order)
    )


def awaited(
    directory: Directory, span: str, parts: tuple[HostId, ...], leader: HostId
) -> tuple[list[HostId], list[str]]:
    """Of the `parts` that were begun: whose is still to come, and what is in the way of it, in
    words. Ready are all where both are empty."""
    found = members(directory, span)
    coming: list[HostId] = []
    wrong: list[str] = []
    for host in (*parts, leader):
        member = found.get(host)
        if member is None:
            wrong.append(f"{printable(host)} is not heard of, or has no part of it any more")
        elif member.host.presence is Presence.LOST:
            wrong.append(f"{printable(host)} is lost")
        elif member.host.word.rests is not None:
            wrong.append(f"{printable(host)} takes no part any more: {member.host.word.rests}")
        elif host != leader and not (member.ready and member.host.presence is Presence.HERE):
            coming.append(host)
    return coming, wrong


def _cost(
    directory: Directory, wish: Wish, member: Member, answer: Answer | None
) -> tuple[_Costs, Offer] | Note:
    """What a part would cost its host, or why it cannot be had there."""
    host, word = member.id, member.host.word
    if answer is None:
        return Note(host, Why.NOT_ASKED)
    offer = answer.offer
    if offer is None:
        return Note(host, Why.NO_OFFER, detail=answer.why)
    if directory.at >= answer.at + offer.valid:
        return Note(host, Why.OVER, offer.loss)
    if offer.ready and member.part.leads:  # it was loaded meanwhile, and not by its span
        return Note(host, Why.BROKEN)
    if offer.ready:
        return _Costs(0.0, Seconds(0.0), 0, host), offer
    if not offer.fits:
        return Note(host, Why.NO_FIT, detail=offer.why)
    spoken_for = ledger.promised(_others(directory, wish), directory.at).get(host, NONE)
    if ledger.charge(offer.takes, word) > ledger.left(word, spoken_for):
        return Note(host, Why.PROMISED, offer.loss, in_words(spoken_for))
    return _Costs(offer.loss, offer.wait, -ledger.room(word, spoken_for), host), offer


def _best(parts: list[HostId], leader: Member, costs: Mapping[HostId, _Costs]) -> _Set | None:
    """The cheapest set under one leader: each host's loss is its own, so the cheapest hosts."""
    mine = sorted(costs[h] for h in parts if h in costs)[: leader.part.hosts - 1]
    if leader.id not in costs or len(mine) < leader.part.hosts - 1:
        return None
    own = costs[leader.id]
    loss = round(own.loss + sum(c.loss for c in mine), 3)
    wait = Seconds(own.wait + max(c.wait for c in mine))
    return _Set(loss, wait, leader.id, tuple(c.host for c in mine))


class _Look:
    """What each host is to one wish for a span: notes of those that cannot have it now, and the
    `sets` that could, each leader's with those that may hold its parts."""

    def __init__(
        self, directory: Directory, wish: Wish, rules: Rules, found: dict[HostId, Member]
    ) -> None:
        self._directory, self._wish, self._rules, self._found = directory, wish, rules, found
        self.notes = {h: Note(h, Why.NO_MODEL) for h in directory.hosts if h not in found}
        self.ready: list[tuple[float, bool, HostId]] = []
        self.coming: list[tuple[float, bool, HostId]] = []
        self.overloaded: list[tuple[float, bool, HostId]] = []
        self.wait: Seconds | None = None
        self.sets: dict[HostId, list[HostId]] = {}
        leaders = [m for m in found.values() if m.part.leads]
        free = [m for m in leaders if self._absent(m) is None and not self._serves(m)]
        self._claims()
        used = {f.id for m in leaders if m.there for f in followers(found, m) if f.there}
        able = {m.id for m in found.values() if not m.part.leads and self._may(m, used)}
        for leader in free:
            parts = [f.id for f in followers(found, leader) if f.id in able]
            if len(parts) >= leader.part.hosts - 1:
                self.sets[leader.id] = parts
            elif leader.id not in self.notes:
                self.notes[leader.id] = Note(leader.id, Why.NOT_ENOUGH)

    def served_by(self, best: HostId, why: Why) -> tuple[Note, ...]:
        parts = {m.id for m in followers(self._found, self._found[best]) if m.there}
        for host in self._found:
            self.notes.setdefault(host, Note(host, Why.PART if host in parts else Why.NOT_NEEDED))
        for _, _, host in self.ready:
            self.notes[host] = Note(host, Why.BUSIER)
        for host in parts:
            self.notes[host] = Note(host, Why.PART)
        self.notes[best] = Note(best, why)
        return _sorted(self.notes)

    def told(self, why: Why, asked: tuple[HostId, ...] = ()) -> tuple[Note, ...]:
        """Of all, and `why` of those of whom nothing is told yet."""
        for host in self._found:
            self.notes.setdefault(host, Note(host, Why.ASKED if host in asked else why))
        return _sorted(self.notes)

    def _absent(self, member: Member) -> Note | None:
        """Why a host takes no part at all; noted."""
        host, word = member.id, member.host.word
        why = ABSENT_IN.get(member.host.presence)
        if why is None and host in self._wish.avoid:
            why = Why.AVOIDED
        if why is not None:
            self.notes[host] = Note(host, why)
            self._unsure(member)
        elif word.rests is not None:
            self.notes[host] = Note(host, Why.RESTS, detail=word.rests)
        elif member.part.leads and word.address is None and host != self._wish.own:
            self.notes[host] = Note(host, Why.NO_ADDRESS)
        return self.notes.get(host)

    def _unsure(self, leader: Member) -> None:
        """It may have it and be back: nobody else is told to load it, meanwhile. What one that is
        lost was told to load bars as a promise."""
        housed, presence = leader.housed, leader.host.presence
        if not leader.part.leads or housed is None:
            return
        loading = housed.status == Status.LOADING.value
        if (presence is Presence.SILENT and leader.there) or (
            leader.id in self._wish.avoid and loading
        ):
            self.notes[leader.id] = Note(leader.id, Why.UNSURE)
            self._waits(LATER)

    def _serves(self, leader: Member) -> bool:
        """Is its part there, whole or not?"""
        housed = leader.housed
        if housed is None or not leader.there:
            return False
        why = None
        if lacking(self._found, leader):
            why = Note(leader.id, Why.BROKEN)
        elif housed.status == Status.UNKNOWN.value:
            why = Note(leader.id, Why.ENGINE)
        elif not housed.ready and housed.status != Status.LOADING.value:
            why = Note(leader.id, Why.RESTS, detail="it is leaving there")
        if why is not None:
            self.notes[leader.id] = why
            self._waits(LATER)
            return True
        work = housed.in_flight + housed.waiting + self._wish.sent.get(leader.id, 0)
        slots = self._rules.slots if housed.slots is None else housed.slots
        key = (work / max(1, slots), leader.id != self._wish.own, leader.id)
        if key[0] >= self._rules.factor:
            self.overloaded.append(key)
            self.notes[leader.id] = Note(leader.id, Why.OVERLOADED)
        else:
            (self.ready if housed.ready else self.coming).append(key)
        return True

    def _claims(self) -> None:
        """Another placement of it bars a second until its time is over."""
        directory = self._directory
        for promise in ledger.standing(_others(directory, self._wish), directory.at):
            if promise.model == self._wish.model:
                self._waits(Seconds(promise.until - directory.at))
                if promise.host in directory.hosts:
                    self.notes.setdefault(promise.host, Note(promise.host, Why.CLAIMED))

    def _may(self, member: Member, used: set[HostId]) -> bool:
        """May it hold a part?"""
        if self._absent(member) is not None:
            return False
        why = None
        if member.id in used:
            why = Why.IN_PLACE
        elif member.housed is None:
            why = Why.NO_MODEL
        elif member.housed.status == Status.UNKNOWN.value:
            why = Why.ENGINE
        elif not member.host.word.spaces:
            why = Why.NO_POOLS
        if why is not None:
            self.notes[member.id] = Note(member.id, why)
        return why is None

    def _waits(self, seconds: Seconds) -> None:
        self.wait = max(seconds, self.wait or seconds)


def _others(directory: Directory, wish: Wish) -> list[Promise]:
    """What was promised to anybody else: parts that come by the wish's own claim bear its name."""
    mine = wish.mine
    if mine is None:
        return list(directory.promises)
    return [p for p in directory.promises if p.id != mine and not p.id.startswith(mine + PARTS)]


def _sorted(notes: Mapping[HostId, Note]) -> tuple[Note, ...]:
    return tuple(notes[host] for host in sorted(notes))
