"""Where a model is served: a directory, a wish and hosts' offers in, a decision out.

First `choose_hosts`: where the model is ready and not overloaded, or coming, nothing need be asked.
Else it names who is to be asked for an offer; `place` looks at the directory again, and at what
they answered: the least loss wins. Else the wish waits. Everyone has a note, in the order of names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from collectors.reading import NONE, Bytes, Seconds
from supervisor import likeness
from supervisor.core.status import Status
from supervisor.core.wording import size as in_words

from . import ledger
from .decided import Answer, Asking, Choice, Decision, Note, Placement, Queued, Rules, Why, Wish
from .hosts import Directory, Host, HostId, Housed, Offer, Presence, Promise
from .index import Index, having, names, plain

USUAL = Rules()
LATER = Seconds(1.0)  # a word's time: after it more may be known of a host that is silent
ABSENT_IN = {
    Presence.LOST: Why.LOST,
    Presence.SILENT: Why.SILENT,
    Presence.DRAINED: Why.DRAINED,
}
_COMING = frozenset({Status.LOADING.value})
_UNTOLD = frozenset({Status.UNKNOWN.value})


def choose_hosts(
    directory: Directory, wish: Wish, rules: Rules = USUAL, index: Index | None = None
) -> Choice:
    """Who serves it without a load, or who is to be asked what a load would cost.

    `index`, where there is one, has the words of this very directory.
    """
    found = _look(directory, wish, rules, index)
    if found.ready:
        found.ready.sort()
        _, _, best = found.ready[0]
        return Placement(wish.model, best, found.told(best, Why.READY), ready=True)
    if found.coming:
        found.coming.sort()
        _, _, best = found.coming[0]
        return Placement(wish.model, best, found.told(best, Why.COMING), coming=True)
    nearest = min(found.overloaded)[2] if found.overloaded else None
    if found.wait is not None:
        found.fill(Why.WAITS, found.able)
        return Queued(wish.model, found.all_notes(), wait=found.wait, nearest=nearest)
    if not found.able:
        return Queued(wish.model, found.all_notes(), not found.called, nearest=nearest)
    order = sorted(found.able, key=found.promise)
    asked, others = order[: rules.offers], order[rules.offers :]
    found.fill(Why.ASKED, asked)
    found.fill(Why.NOT_ASKED, others)
    return Asking(found.claim, tuple(asked), tuple(order), found.all_notes(), found.size)


def place(
    directory: Directory,
    wish: Wish,
    answers: Mapping[HostId, Answer],
    rules: Rules = USUAL,
    index: Index | None = None,
) -> Decision:
    """As things are now, and not as they were when `answers` were asked for."""
    choice = choose_hosts(directory, wish, rules, index)
    if not isinstance(choice, Asking):
        return choice
    notes = {note.host: note for note in choice.notes}
    spoken_for = ledger.promised(_others(directory, wish), directory.at)
    contenders: list[tuple[float, Seconds, int, HostId, Offer]] = []
    ready: list[tuple[float, bool, HostId]] = []
    for host in choice.eligible:
        word, answer = directory.hosts[host].word, answers.get(host)
        if answer is None:
            notes[host] = Note(host, Why.NOT_ASKED)
            continue
        offer = answer.offer
        if offer is None:
            notes[host] = Note(host, Why.NO_OFFER, detail=answer.why)
        elif directory.at >= answer.at + offer.valid:
            notes[host] = Note(host, Why.OVER, offer.loss)
        elif offer.ready:
            load = _load(offer.in_flight + offer.waiting, offer.slots, host, wish, rules)
            if load < rules.factor:
                ready.append((load, host != wish.own, host))
            notes[host] = Note(host, Why.BUSIER if load < rules.factor else Why.OVERLOADED)
        elif not offer.fits:
            notes[host] = Note(host, Why.NO_FIT, detail=offer.why)
        elif ledger.charge(offer.takes, word) > ledger.left(word, spoken_for.get(host, NONE)):
            detail = in_words(spoken_for.get(host, NONE))
            notes[host] = Note(host, Why.PROMISED, offer.loss, detail)
        else:
            notes[host] = Note(host, Why.DEARER, offer.loss)
            room = ledger.room(word, spoken_for.get(host, NONE))
            contenders.append((round(offer.loss, 3), offer.wait, -room, host, offer))
    if ready:
        _, _, best = min(ready)
        for _, _, _, host, offer in contenders:
            notes[host] = Note(host, Why.NOT_NEEDED, offer.loss)
        notes[best] = Note(best, Why.READY)
        return Placement(wish.model, best, _sorted(notes), ready=True)
    contenders.sort(key=lambda c: c[:4])
    if not contenders:
        return Queued(wish.model, _sorted(notes))
    *_, chosen = contenders[0]
    notes[chosen.host] = Note(chosen.host, Why.LEAST_LOSS, chosen.loss)
    return Placement(wish.model, chosen.host, _sorted(notes), offers=(chosen,))


def closest(known: Iterable[str], model: str, most: int = 3) -> tuple[str, ...]:
    """Names that are like one that nobody has."""
    return tuple(likeness.closest(model, known, most, 0.6))


def models(directory: Directory) -> frozenset[str]:
    """All names of all hosts."""
    hosts = directory.hosts.values()
    return frozenset(n for host in hosts for housed in host.word.models for n in names(housed))


# -- a look at all of them


class _Look:
    """What each host is to one wish. Lists have what they are sorted by, ending in a name."""

    __slots__ = (
        "able", "called", "coming", "notes", "overloaded", "promises", "ready", "size", "wait",
    )  # fmt: skip

    def __init__(self) -> None:
        self.notes: dict[HostId, Note] = {}
        self.ready: list[tuple[float, bool, HostId]] = []
        self.coming: list[tuple[float, bool, HostId]] = []
        self.overloaded: list[tuple[float, bool, HostId]] = []
        self.able: list[HostId] = []
        self.promises: dict[HostId, tuple[bool, bool, int, bool, HostId]] = {}
        self.called: set[str] = set()  # the plain names of it, wherever it is; none: unknown
        self.wait: Seconds | None = None  # until it is known how another placement of it ended
        self.size = NONE

    @property
    def claim(self) -> str:
        return min(self.called)

    def promise(self, host: HostId) -> tuple[bool, bool, int, bool, HostId]:
        return self.promises[host]

    def fill(self, why: Why, hosts: Iterable[HostId]) -> None:
        for host in hosts:
            self.notes[host] = Note(host, why)

    def told(self, best: HostId, why: Why) -> tuple[Note, ...]:
        """It is served by `best`, without a load."""
        self.fill(Why.NOT_NEEDED, self.able)
        self.fill(Why.NOT_NEEDED, (host for _, _, host in self.coming))
        self.fill(Why.BUSIER, (host for _, _, host in self.ready))
        self.notes[best] = Note(best, why)
        return self.all_notes()

    def all_notes(self) -> tuple[Note, ...]:
        return _sorted(self.notes)


@dataclass(frozen=True, slots=True)
class _Candidate:
    host: Host
    housed: tuple[Housed, ...]


def _look(directory: Directory, wish: Wish, rules: Rules, index: Index | None) -> _Look:
    found = _Look()
    candidates = _barred(directory, wish, index, found)
    _claims(directory, wish, found)
    found.size = max((h.size or NONE for c in candidates for h in c.housed), default=NONE)
    spoken_for = ledger.promised(_others(directory, wish), directory.at)
    for candidate in candidates:
        _weigh(candidate, wish, rules, spoken_for.get(candidate.host.id, NONE), found)
    return found


def _barred(
    directory: Directory, wish: Wish, index: Index | None, found: _Look
) -> list[_Candidate]:
    """Notes for all hosts that cannot have it, whatever they would offer; and the others."""
    if index is None:
        has = {h.id: mine for h in directory.hosts.values() if (mine := having(h.word, wish.model))}
        who: Mapping[HostId, tuple[Housed, ...]] = has
    else:
        who = index.who(wish.model)
    candidates: list[_Candidate] = []
    notes, avoid, own = found.notes, wish.avoid, wish.own
    for id, host in directory.hosts.items():
        housed = who.get(id, ())
        here = host.presence is Presence.HERE
        if here and not housed:  # of a thousand hosts nearly all
            notes[id] = _without(id)
            continue
        found.called.update(plain(h) for h in housed)
        if not here:
            why = ABSENT_IN[host.presence]
            if _unsure(host, housed):
                why, found.wait = Why.UNSURE, max(LATER, found.wait or LATER)
            notes[id] = Note(id, why)
        elif id in avoid:
            notes[id] = Note(id, Why.AVOIDED)
            if any(h.status in _COMING for h in housed):  # nobody else loads it beside that
                notes[id], found.wait = Note(id, Why.UNSURE), max(LATER, found.wait or LATER)
        elif host.word.rests is not None:
            notes[id] = Note(id, Why.RESTS, detail=host.word.rests)
        elif host.word.address is None and id != own:
            notes[id] = Note(id, Why.NO_ADDRESS)
        else:
            candidates.append(_Candidate(host, housed))
    return candidates


def _claims(directory: Directory, wish: Wish, found: _Look) -> None:
    """Another placement of the same model bars a second until its time is over, even where its
    host is lost meanwhile: it may begin until then."""
    for promise in ledger.standing(_others(directory, wish), directory.at):
        if promise.model in found.called:
            left = Seconds(promise.until - directory.at)
            found.wait = max(left, found.wait or left)
            if promise.host in directory.hosts:
                found.notes[promise.host] = Note(promise.host, Why.CLAIMED)


def _weigh(
    candidate: _Candidate, wish: Wish, rules: Rules, spoken_for: Bytes, found: _Look
) -> None:
    host, id, housed = candidate.host, candidate.host.id, candidate.housed
    ready = [h for h in housed if h.ready]
    coming = [h for h in housed if h.status in _COMING]
    if ready or coming:
        load = min(
            _load(h.in_flight + h.waiting, h.slots, id, wish, rules) for h in ready or coming
        )
        if load < rules.factor:
            (found.ready if ready else found.coming).append((load, id != wish.own, id))
        else:
            found.overloaded.append((load, id != wish.own, id))
            found.notes[id] = Note(id, Why.OVERLOADED)
        return
    spaces = host.word.spaces
    if not spaces:
        found.notes[id] = Note(id, Why.NO_POOLS)
    elif all(h.status in _UNTOLD for h in housed):
        found.notes[id] = Note(id, Why.ENGINE)
    elif found.size > (total := sum(s.total for s in spaces)):
        found.notes[id] = Note(id, Why.TOO_SMALL, detail=in_words(total))
    elif min(found.size, ledger.capacity(host.word)) > ledger.left(host.word, spoken_for):
        found.notes[id] = Note(id, Why.PROMISED, detail=in_words(spoken_for))
    elif id not in found.notes:  # else another placement of it is under way there
        asleep = any(h.status == Status.SLEEPING.value for h in housed)
        room = ledger.room(host.word, spoken_for)
        found.able.append(id)
        found.promises[id] = (not asleep, room < found.size, -room, id != wish.own, id)


def _load(requests: int, slots: int | None, host: HostId, wish: Wish, rules: Rules) -> float:
    """Requests by slots, with those that its word cannot know of."""
    return (requests + wish.sent.get(host, 0)) / max(1, rules.slots if slots is None else slots)


@lru_cache(maxsize=4096)
def _without(id: HostId) -> Note:
    return Note(id, Why.NO_MODEL)


def _others(directory: Directory, wish: Wish) -> list[Promise]:
    """What was promised to anybody else."""
    return [p for p in directory.promises if p.id != wish.mine]


def _unsure(host: Host, housed: tuple[Housed, ...]) -> bool:
    """It may be back with it any moment. What one that is lost was told to load bars as a promise,
    and what it had begun, or has, is a copy of somebody who was given up."""
    return host.presence is Presence.SILENT and any(h.ready or h.status in _COMING for h in housed)


def _sorted(notes: Mapping[HostId, Note]) -> tuple[Note, ...]:
    return tuple(map(notes.__getitem__, sorted(notes)))
