"""What holds of every fleet whose hosts hold parts of a model: all of it or nothing."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import Seconds, gib
from supervisor.fleet import ledger
from supervisor.fleet.decided import Answer, Asking, Placement, Queued, Wish
from supervisor.fleet.gang import choose, settle
from supervisor.fleet.hosts import Directory, HostId
from supervisor.fleet.spans import grounds, lacking, members

from .builders import NOW, offer, promise
from .gangs import SPAN, directory, holds, leads

HOSTS = "abcdefg"
LEADERS = "abc"
STATUS = st.sampled_from(["local", "local", "local", "loaded", "loading", "unknown", "leaving"])
Answers = dict[HostId, Answer]


@st.composite
def fleets(draw: st.DrawFn) -> Directory:
    words = []
    for host in LEADERS:
        others = draw(st.lists(st.sampled_from(HOSTS[3:]), min_size=1, max_size=4, unique=True))
        if draw(st.booleans()):
            hosts = draw(st.integers(2, len(others) + 1))
            words.append(leads(host, others, draw(STATUS), hosts))
    words += [holds(h, draw(STATUS)) for h in HOSTS[3:] if draw(st.integers(0, 4))]
    gone = draw(st.sets(st.sampled_from(HOSTS), max_size=2))
    how = draw(st.sampled_from(["lost", "silent", "drained"]))
    promises = [
        promise(w.host, draw(st.integers(1, 24)), draw(st.sampled_from(["x", "x", SPAN])))
        for w in words
        if not draw(st.integers(0, 5))
    ]
    return directory(*words, promises=promises, **{how: gone})  # type: ignore[arg-type]


@st.composite
def asked(draw: st.DrawFn) -> tuple[Directory, Answers]:
    fleet = draw(fleets())
    answers: Answers = {}
    for host, known in fleet.hosts.items():
        if not draw(st.integers(0, 5)):
            continue
        made = offer(
            host,
            loss=draw(st.integers(0, 20)),
            size=draw(st.sampled_from([1, 8, 20])),
            fits=bool(draw(st.integers(0, 5))),
            ready=any(m.ready for m in known.word.models),
        )
        answers[host] = Answer(made, Seconds(NOW - draw(st.sampled_from([0, 1, 9, 10, 11]))))
    return fleet, answers


@given(asked())
def test_it_is_placed_whole_or_not_at_all(made: tuple[Directory, Answers]) -> None:
    fleet, answers = made
    found = settle(fleet, Wish(SPAN), answers)
    assert [n.host for n in found.notes] == sorted(fleet.hosts)
    if not isinstance(found, Placement) or not found.offers:
        return
    *parts, leader = found.members
    (part,) = fleet.hosts[leader].word.parts
    assert part.leads
    assert leader == found.host
    assert len(parts) == len(set(parts)) == part.hosts - 1
    assert set(parts) <= set(part.others)


@given(asked())
def test_no_offer_that_is_over_is_taken_and_the_ledger_has_room_for_all(
    made: tuple[Directory, Answers],
) -> None:
    fleet, answers = made
    found = settle(fleet, Wish(SPAN), answers)
    spoken_for = ledger.promised(fleet.promises, fleet.at)
    for each in found.offers if isinstance(found, Placement) else ():
        answer, word = answers[each.host], fleet.hosts[each.host].word
        assert answer.offer is each
        assert fleet.at < answer.at + each.valid
        assert each.fits or each.ready
        charged = 0 if each.ready else ledger.charge(each.takes, word)
        assert charged + spoken_for.get(each.host, 0) <= ledger.capacity(word)


@given(asked())
def test_no_other_set_loses_less(made: tuple[Directory, Answers]) -> None:
    """By trying all of them."""
    fleet, answers = made
    choice = choose(fleet, Wish(SPAN))
    found = settle(fleet, Wish(SPAN), answers)
    if not isinstance(choice, Asking):
        assert not isinstance(found, Placement) or not found.offers
        return
    spoken_for = ledger.promised(fleet.promises, fleet.at)

    def cost(host: HostId) -> float | None:
        answer = answers.get(host)
        if answer is None or answer.offer is None or fleet.at >= answer.at + answer.offer.valid:
            return None
        made, word = answer.offer, fleet.hosts[host].word
        if made.ready:
            return None if word.parts[0].leads else 0.0
        free = gib(24) - spoken_for.get(host, 0)
        return made.loss if made.fits and ledger.charge(made.takes, word) <= free else None

    costs = {h: c for h in choice.eligible if (c := cost(h)) is not None}
    totals = []
    for leader in costs:
        part = fleet.hosts[leader].word.parts[0]
        if part.leads:
            able = [h for h in part.others if h in costs]
            for others in combinations(able, part.hosts - 1):
                totals.append(costs[leader] + sum(costs[h] for h in others))
    if isinstance(found, Placement):
        assert abs(sum(costs[h] for h in found.members) - min(totals)) < 1e-6
    else:
        assert isinstance(found, Queued)
        assert totals == []


@given(fleets())
def test_what_is_served_is_whole_and_nothing_of_it_is_let_go(fleet: Directory) -> None:
    found = choose(fleet, Wish(SPAN))
    if isinstance(found, Placement):
        parts = members(fleet, SPAN)
        leader = parts[found.host]
        assert lacking(parts, leader) == 0
        assert leader.there
        for host in leader.part.others:
            if host in parts and parts[host].there and not parts[host].part.leads:
                assert grounds(fleet, host, parts[host].part) is None


@given(fleets())
def test_nothing_is_loaded_beside_one_that_is_or_may_be_coming(fleet: Directory) -> None:
    found = choose(fleet, Wish(SPAN))
    if isinstance(found, Asking):
        parts = members(fleet, SPAN)
        assert not any(p.model == SPAN for p in ledger.standing(fleet.promises, fleet.at))
        served = {h for m in parts.values() if m.part.leads and m.there for h in m.part.others}
        asked = set(found.hosts)
        assert not any(m.part.leads and m.there and m.id in asked for m in parts.values())
        assert not any(parts[h].there for h in served & asked & parts.keys())
