"""A model that spans hosts: which set of them holds it, and why not another."""

from __future__ import annotations

import pytest

from collectors.reading import Seconds
from supervisor.fleet.decided import Answer, Asking, Placement, Queued, Why, Wish
from supervisor.fleet.explain import of_choice
from supervisor.fleet.gang import awaited, choose, settle
from supervisor.fleet.hosts import Directory, HostId, PromiseId, Word

from .builders import NOW, offer, promise, whys, word
from .gangs import SPAN, directory, holds, leads, offered

WISH = Wish(SPAN, HostId("a"))


def test_it_is_ready_where_its_leader_is_and_all_its_parts_are():
    fleet = directory(leads("a", ["b", "c"], "loaded"), holds("b", "loaded"), holds("c", "loaded"))
    found = choose(fleet, WISH)
    assert isinstance(found, Placement)
    assert (found.host, found.ready, found.offers) == ("a", True, ())
    assert whys(found) == {"a": Why.READY, "b": Why.PART, "c": Why.PART}


def test_a_leader_that_is_loading_is_waited_for_there():
    found = choose(directory(leads("a", ["b"], "loading"), holds("b", "loaded")), WISH)
    assert isinstance(found, Placement)
    assert (found.host, found.ready, found.coming) == ("a", False, True)


@pytest.mark.parametrize("status", ["local", "absent", "sleeping"])
def test_one_whose_part_has_gone_is_not_served_and_not_loaded_beside_itself(status):
    fleet = directory(leads("a", ["b"], "loaded"), holds("b", status))
    found = choose(fleet, WISH)
    assert isinstance(found, Queued)
    assert found.wait is not None
    assert whys(found)["a"] is Why.BROKEN


def test_a_lost_host_takes_its_part_with_it_and_a_silent_one_does_not():
    hosts = leads("a", ["b"], "loaded"), holds("b", "loaded")
    assert isinstance(choose(directory(*hosts, silent=["b"]), WISH), Placement)
    found = choose(directory(*hosts, lost=["b"]), WISH)
    assert isinstance(found, Queued)
    assert whys(found) == {"a": Why.BROKEN, "b": Why.LOST}


def test_all_hosts_of_a_set_are_asked_and_all_of_them_are_to_load():
    fleet = directory(leads("a", ["b", "c"]), holds("b"), holds("c"), word("d"))
    found = choose(fleet, WISH)
    assert isinstance(found, Asking)
    assert (found.claim, found.hosts) == (SPAN, ("a", "b", "c"))
    assert whys(found)["d"] is Why.NO_MODEL
    settled = settle(fleet, WISH, offered(("a", 1), ("b", 2), ("c", 3)))
    assert isinstance(settled, Placement)
    assert settled.members == ("b", "c", "a")  # the leader last
    assert whys(settled) == {"a": Why.LEAST_LOSS, "b": Why.PART, "c": Why.PART, "d": Why.NO_MODEL}


@pytest.mark.parametrize("missing", ["a", "b", "c"])
def test_without_one_of_them_nobody_loads_anything(missing):
    fleet = directory(leads("a", ["b", "c"]), holds("b"), holds("c"))
    answers = offered(*((h, 1.0) for h in "abc" if h != missing))
    found = settle(fleet, WISH, answers)
    assert isinstance(found, Queued)
    assert whys(found)[missing] is Why.NOT_ASKED
    answers = answers | {HostId(missing): Answer(offer(missing, fits=False, why="full"), NOW)}
    found = settle(fleet, WISH, answers)
    assert isinstance(found, Queued)
    assert whys(found)[missing] is Why.NO_FIT
    assert {w for h, w in whys(found).items() if h != missing} == {Why.NOT_ENOUGH}


@pytest.mark.parametrize("how", [{"lost": ["c"]}, {"silent": ["c"]}, {"drained": ["c"]}])
def test_a_host_that_takes_no_part_leaves_too_few(how):
    found = choose(directory(leads("a", ["b", "c"]), holds("b"), holds("c"), **how), WISH)
    assert isinstance(found, Queued)
    assert whys(found)["a"] is Why.NOT_ENOUGH
    assert whys(found)["b"] is Why.NOT_ENOUGH
    assert not found.unknown


def test_of_two_sets_the_one_that_loses_least_in_all_is_taken():
    """Not the one whose leader loses least."""
    fleet = directory(leads("a", ["b"]), holds("b"), leads("c", ["d"]), holds("d"))
    found = settle(fleet, WISH, offered(("a", 0), ("b", 9), ("c", 3), ("d", 3)))
    assert isinstance(found, Placement)
    assert (found.host, found.members) == ("c", ("d", "c"))
    assert whys(found)["b"] is Why.DEARER
    even = settle(fleet, WISH, offered(("a", 3), ("b", 3), ("c", 3), ("d", 3)))
    assert even.host == "a"


def test_of_more_hosts_than_it_takes_the_cheapest_hold_its_parts():
    fleet = directory(leads("a", ["b", "c", "d"], hosts=3), holds("b"), holds("c"), holds("d"))
    found = settle(fleet, WISH, offered(("a", 0), ("b", 5), ("c", 1), ("d", 2)))
    assert isinstance(found, Placement)
    assert found.members == ("c", "d", "a")
    fewer = settle(fleet, WISH, offered(("a", 0), ("b", 5), ("c", 1)))
    assert fewer.members == ("b", "c", "a")


def test_a_part_that_is_there_costs_nothing():
    fleet = directory(leads("a", ["b", "c"], hosts=2), holds("b"), holds("c", "loaded"))
    answers = offered(("a", 0), ("b", 0.5)) | offered(("c", 7), ready=True)
    found = settle(fleet, WISH, answers)
    assert found.members == ("c", "a")
    assert [o.ready for o in found.offers] == [True, False]


def test_an_offer_that_is_over_is_none():
    fleet = directory(leads("a", ["b"]), holds("b"))
    answers = offered(("a", 0)) | {HostId("b"): Answer(offer("b"), Seconds(NOW - 10))}
    found = settle(fleet, WISH, answers)
    assert isinstance(found, Queued)
    assert whys(found)["b"] is Why.OVER


def test_what_is_promised_to_others_is_not_there_for_a_part():
    fleet = directory(leads("a", ["b"]), holds("b"), promises=[promise("b", 20)])
    found = settle(fleet, WISH, offered(("a", 0), ("b", 0), size=8))
    assert isinstance(found, Queued)
    assert whys(found)["b"] is Why.PROMISED


def test_another_claim_of_it_bars_a_second_and_its_own_does_not():
    def fleet(id: str) -> Directory:
        mine = promise("b", 8, SPAN, id=id)
        return directory(leads("a", ["b"]), holds("b"), promises=[mine])

    found = choose(fleet("theirs"), WISH)
    assert isinstance(found, Queued)
    assert found.wait == 60
    assert whys(found)["b"] is Why.CLAIMED
    for id in ("mine", "mine/b"):
        mine = Wish(SPAN, HostId("a"), mine=PromiseId("mine"))
        assert isinstance(choose(fleet(id), mine), Asking)
    assert isinstance(choose(fleet("mines/b"), mine), Queued)


def test_hosts_that_serve_one_copy_are_not_taken_for_another():
    fleet = directory(
        leads("a", ["b"], "loaded"), holds("b", "loaded"), leads("c", ["b"])
    )  # fmt: skip
    busy = Wish(SPAN, HostId("a"), sent={HostId("a"): 99})
    found = choose(fleet, busy)
    assert isinstance(found, Queued)
    assert found.nearest == "a"
    assert whys(found) == {"a": Why.OVERLOADED, "b": Why.IN_PLACE, "c": Why.NOT_ENOUGH}
    more = directory(*(h.word for h in fleet.hosts.values()), leads("d", ["e"]), holds("e"))
    found = choose(more, busy)
    assert isinstance(found, Asking)
    assert found.hosts == ("d", "e")


def test_a_leader_that_may_be_loading_it_out_of_sight_bars_all_others():
    told = leads("a", ["b"], "loading"), holds("b"), leads("c", ["d"]), holds("d")
    found = choose(directory(*told, silent=["a"]), WISH)
    assert isinstance(found, Queued)
    assert whys(found)["a"] is Why.UNSURE
    gone = choose(directory(*told, lost=["a"]), WISH)
    assert isinstance(gone, Asking)  # what it had begun is a copy of somebody who is lost
    bar = promise("a", 1, SPAN, until=NOW + 5)
    assert isinstance(choose(directory(*told, lost=["a"], promises=[bar]), WISH), Queued)


def test_a_leader_without_an_address_serves_its_own_requests_alone():
    fleet = directory(leads("a", ["b"], address=None), holds("b", address=None))
    assert isinstance(choose(fleet, WISH), Asking)
    found = choose(fleet, Wish(SPAN, HostId("b")))
    assert isinstance(found, Queued)
    assert whys(found)["a"] is Why.NO_ADDRESS


def test_without_anybody_who_leads_it_nobody_has_such_a_model():
    found = choose(directory(holds("b"), holds("c")), WISH)
    assert isinstance(found, Queued)
    assert found.unknown


def test_everyone_is_told_of_in_words():
    fleet = directory(leads("a", ["b"]), holds("b"), leads("c", ["d"]), holds("d"))
    told = of_choice(settle(fleet, WISH, offered(("a", 0), ("b", 2), ("c", 3), ("d", 3))))
    assert told[0] == f"{SPAN} is to be loaded on b, a"
    assert "b was chosen: it holds a part (it would lose 2.0 s)" in told
    assert told[-1].startswith("d was not taken")


def test_parts_that_were_begun_are_waited_for_until_something_is_in_their_way():
    a, b, c = map(HostId, "abc")
    leader = leads("a", ["b", "c"])

    def found(*words: Word, **how: list[str]) -> tuple[list[HostId], list[str]]:
        return awaited(directory(leader, *words, **how), SPAN, (b, c), a)

    assert found(holds("b", "loading"), holds("c", "loaded")) == ([b], [])
    assert found(holds("b", "loaded"), holds("c", "loaded"), silent=["c"]) == ([c], [])
    assert found(holds("b"), holds("c", "loaded"), lost=["b"]) == ([], ["b is lost"])
    assert found(holds("b", "loaded"), holds("c", "loaded"), lost=["a"]) == ([], ["a is lost"])
    rests = holds("b", "loaded", rests="it is drained")
    assert found(rests, holds("c", "loaded"))[1] == ["b takes no part any more: it is drained"]
    assert found(holds("b", "loaded"), holds("c", "loaded")) == ([], [])
    assert found(holds("b", "loaded"))[1] == ["c is not heard of, or has no part of it any more"]
