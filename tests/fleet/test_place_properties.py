"""What is true of every placement, whatever the fleet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import Seconds
from supervisor.fleet import ledger
from supervisor.fleet.decided import CHOSEN, Answer, Asking, Placement, Queued, Rules, Why, Wish
from supervisor.fleet.explain import of_choice
from supervisor.fleet.hosts import Directory, HostId, Presence
from supervisor.fleet.index import Index
from supervisor.fleet.place import choose_hosts, place
from tests.fleet.builders import NOW, directory, housed, offer, promise, word

pytestmark = pytest.mark.slow

HOSTS = ["a", "b", "c", "d", "e"]


@st.composite
def situations(draw: st.DrawFn) -> tuple[Directory, Wish, dict[HostId, Answer], Rules]:
    words, answers = [], {}
    for host in draw(st.lists(st.sampled_from(HOSTS), unique=True)):
        models = [
            housed(
                name,
                draw(st.sampled_from(["local", "loaded", "loading", "sleeping", "unknown"])),
                work=draw(st.integers(0, 3)),
                size=draw(st.sampled_from([None, 2, 8, 30])),
            )
            for name in draw(st.sets(st.sampled_from(["m", "n"])))
        ]
        rests = draw(st.sampled_from([None, None, None, "it is a pause"]))
        address = draw(st.sampled_from(["http://x", "http://x", None]))
        free = draw(st.integers(-5, 24))
        words.append(word(host, *models, rests=rests, address=address, free=free))
        if draw(st.booleans()):
            fits, ready = draw(st.booleans()), draw(st.sampled_from([False, False, True]))
            given = offer(
                host,
                fits=fits,
                ready=ready,
                loss=draw(st.sampled_from([0, 1, 1.0001, 5])),
                wait=draw(st.sampled_from([1, 2])),
                size=draw(st.integers(0, 26)),
            )
            at = NOW - draw(st.sampled_from([0, 5, 10, 11]))
            answers[HostId(host)] = Answer(given if draw(st.booleans()) else None, Seconds(at))
    promises = [
        promise(h, draw(st.integers(0, 24)), draw(st.sampled_from(["m", "n"])), until=NOW + t)
        for h in draw(st.sets(st.sampled_from(HOSTS), max_size=2))
        for t in [draw(st.integers(-3, 30))]
    ]
    away = draw(
        st.dictionaries(st.sampled_from(HOSTS), st.sampled_from(["lost", "silent", "drained"]))
    )
    fleet = directory(
        *words,
        promises=promises,
        lost=[h for h, how in away.items() if how == "lost"],
        silent=[h for h, how in away.items() if how == "silent"],
        drained=[h for h, how in away.items() if how == "drained"],
    )
    own = draw(st.none() | st.sampled_from(HOSTS))
    wish = Wish(
        "m",
        None if own is None else HostId(own),
        frozenset(map(HostId, draw(st.sets(st.sampled_from(HOSTS), max_size=1)))),
    )
    return fleet, wish, answers, Rules(offers=draw(st.integers(1, 4)))


@given(situations())
def test_every_host_has_exactly_one_note_and_every_note_a_sentence(
    situation: tuple[Directory, Wish, dict[HostId, Answer], Rules],
) -> None:
    fleet, wish, answers, rules = situation
    for choice in (choose_hosts(fleet, wish, rules), place(fleet, wish, answers, rules)):
        assert [n.host for n in choice.notes] == sorted(fleet.hosts)
        chosen = {n.host for n in choice.notes if n.why in CHOSEN}
        assert chosen == (set(choice.members) if isinstance(choice, Placement) else set())
        text = "\n".join(of_choice(choice))
        assert all(f"{host}" in text for host in fleet.hosts)


@given(situations())
def test_nobody_is_chosen_or_asked_who_may_not_be(
    situation: tuple[Directory, Wish, dict[HostId, Answer], Rules],
) -> None:
    fleet, wish, answers, rules = situation
    asked = choose_hosts(fleet, wish, rules)
    hosts = {*asked.hosts} if isinstance(asked, Asking) else set()
    found = place(fleet, wish, answers, rules)
    hosts |= {*found.members} if isinstance(found, Placement) else set()
    for id in hosts:
        host = fleet.hosts[id]
        assert host.presence is Presence.HERE
        assert host.word.rests is None
        assert host.word.address is not None or id == wish.own
        assert id not in wish.avoid
        assert any(h.name == "m" for h in host.word.models)


@given(situations())
def test_what_is_taken_is_an_offer_that_stands_fits_and_is_the_least_loss_within_what_is_left(
    situation: tuple[Directory, Wish, dict[HostId, Answer], Rules],
) -> None:
    fleet, wish, answers, rules = situation
    found = place(fleet, wish, answers, rules)
    if not isinstance(found, Placement) or not found.offers:
        return
    assert len(found.offers) == 1
    spoken_for = ledger.promised(fleet.promises, fleet.at)
    for taken in found.offers:
        word = fleet.hosts[taken.host].word
        charge = ledger.charge(taken.takes, word)
        assert spoken_for.get(taken.host, 0) + charge <= ledger.capacity(word)
        assert fleet.at < answers[taken.host].at + taken.valid
        assert taken.fits
    worst = max(o.loss for o in found.offers)
    losers = [n for n in found.notes if n.why is Why.DEARER]
    assert all(n.loss is not None and n.loss > worst - 0.001 for n in losers)
    assert not any(p.model == "m" and fleet.at < p.until for p in fleet.promises)
    for host in fleet.hosts.values():
        for h in host.word.models:
            if h.name == "m" and host.presence is Presence.SILENT:
                assert not h.ready
                assert h.status != "loading"


@given(situations(), st.randoms())
def test_the_answer_is_the_same_in_any_order_and_with_an_index(
    situation: tuple[Directory, Wish, dict[HostId, Answer], Rules], dice: object
) -> None:
    fleet, wish, answers, rules = situation
    hosts = [*fleet.hosts.items()]
    dice.shuffle(hosts)  # type: ignore[attr-defined]
    other = replace(fleet, hosts=dict(hosts))
    expected = place(fleet, wish, answers, rules)
    assert place(other, wish, dict(reversed(answers.items())), rules) == expected
    assert place(other, wish, answers, rules, Index.of(other)) == expected
    asked = choose_hosts(fleet, wish, rules)
    assert choose_hosts(other, wish, rules, Index.of(other)) == asked


@given(situations())
def test_whoever_waits_could_not_have_been_served_by_anyone_ready(
    situation: tuple[Directory, Wish, dict[HostId, Answer], Rules],
) -> None:
    fleet, wish, answers, rules = situation
    found = place(fleet, wish, answers, rules)
    if isinstance(found, Queued):
        whys = {n.host: n.why for n in found.notes}
        assert not {Why.READY, Why.BUSIER, Why.COMING, Why.NOT_NEEDED} & {*whys.values()}
        assert found.unknown == (not any(
            h.name == "m" for host in fleet.hosts.values() for h in host.word.models
        ))  # fmt: skip
