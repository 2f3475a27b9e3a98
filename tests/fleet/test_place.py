"""Where a model is served, and what every host was told."""

from __future__ import annotations

import pytest

from collectors.reading import RAM, Seconds
from supervisor.fleet.decided import Answer, Asking, Placement, Queued, Rules, Why, Wish
from supervisor.fleet.hosts import HostId, PromiseId, Word
from supervisor.fleet.index import Index
from supervisor.fleet.place import choose_hosts, closest, models, place
from tests.fleet.builders import (
    NOW,
    answers,
    directory,
    housed,
    offer,
    promise,
    space,
    whys,
    word,
)

M = Wish("m")


def ready(host: str, work: int = 0) -> Word:
    return word(host, housed("m", "loaded", work=work, slots=4))


# -- without a load


def test_a_request_goes_where_the_model_is_ready_though_another_has_more_room() -> None:
    found = choose_hosts(
        directory(word("a", housed("m"), free=24), word("b", housed("m", "loaded"), free=0)), M
    )
    assert isinstance(found, Placement)
    assert (found.host, found.ready, found.offers) == ("b", True, ())
    assert whys(found) == {"a": Why.NOT_NEEDED, "b": Why.READY}


def test_of_several_where_it_is_ready_the_least_loaded_serves_it() -> None:
    """By requests for each slot, and those that wait count as those at work."""
    fleet = directory(
        word("a", housed("m", "loaded", work=2, slots=4)),
        word("b", housed("m", "loaded", work=1, slots=1)),
        word("c", housed("m", "loaded", work=0, waiting=1, slots=4)),
    )
    found = choose_hosts(fleet, M)
    assert isinstance(found, Placement)
    assert found.host == "c"
    assert whys(found) == {"a": Why.BUSIER, "b": Why.BUSIER, "c": Why.READY}


@pytest.mark.parametrize(("own", "host"), [(None, "a"), ("b", "b"), ("c", "a")])
def test_on_a_tie_the_own_host_serves_it_else_the_first_by_name(own: str | None, host: str) -> None:
    fleet = directory(ready("a", 1), ready("b", 1), word("c"))
    found = choose_hosts(fleet, Wish("m", own=None if own is None else HostId(own)))
    assert isinstance(found, Placement)
    assert found.host == host


def test_what_was_sent_since_a_host_spoke_counts_as_its_work() -> None:
    fleet = directory(ready("a"), ready("b"))
    found = choose_hosts(fleet, Wish("m", sent={HostId("a"): 1}))
    assert isinstance(found, Placement)
    assert found.host == "b"


def test_an_overloaded_host_is_not_sent_more_and_another_is_asked() -> None:
    fleet = directory(ready("a", 8), word("b", housed("m")))
    found = choose_hosts(fleet, M)
    assert isinstance(found, Asking)
    assert whys(found) == {"a": Why.OVERLOADED, "b": Why.ASKED}
    assert isinstance(choose_hosts(fleet, M, Rules(factor=2.1)), Placement)


def test_where_all_are_overloaded_it_waits_and_the_least_loaded_is_named() -> None:
    found = choose_hosts(directory(ready("a", 12), ready("b", 9)), M)
    assert isinstance(found, Queued)
    assert found.nearest == "b"
    assert whys(found) == {"a": Why.OVERLOADED, "b": Why.OVERLOADED}


def test_where_it_is_being_loaded_nobody_else_is_asked() -> None:
    fleet = directory(word("a", housed("m"), free=24), word("b", housed("m", "loading"), free=0))
    found = choose_hosts(fleet, M)
    assert isinstance(found, Placement)
    assert (found.host, found.coming, found.ready) == ("b", True, False)
    assert whys(found) == {"a": Why.NOT_NEEDED, "b": Why.COMING}


# -- who is asked


def test_at_most_so_many_are_asked_those_with_room_first() -> None:
    fleet = directory(*(word(f"h{i}", housed("m"), free=i) for i in range(12)))
    found = choose_hosts(fleet, M, Rules(offers=3))
    assert isinstance(found, Asking)
    assert found.hosts == ("h11", "h10", "h9")
    assert len(found.eligible) == 12
    assert whys(found)["h0"] is Why.NOT_ASKED


def test_one_that_sleeps_there_is_asked_first_for_it_only_has_to_wake() -> None:
    fleet = directory(word("a", housed("m")), word("b", housed("m", "sleeping"), free=0))
    found = choose_hosts(fleet, M)
    assert isinstance(found, Asking)
    assert found.hosts[0] == "b"


def test_hosts_that_cannot_have_it_say_why() -> None:
    had = housed("m")
    fleet = directory(
        word("avoided", had),
        word("drained", had),
        word("engine", housed("m", "unknown")),
        word("fine", had),
        word("lost", had),
        word("no-address", had, address=None),
        word("no-model", housed("other")),
        word("no-pools", had, spaces=()),
        word("promised", had),
        word("rests", had, rests="it is a pause"),
        word("silent", had),
        word("small", had, spaces=(space(2, 4), space(1, 3, RAM))),
        silent=["silent"],
        lost=["lost"],
        drained=["drained"],
        promises=[promise("promised", 17)],
    )
    found = choose_hosts(fleet, Wish("m", avoid=frozenset({HostId("avoided")})))
    assert isinstance(found, Asking)
    assert found.hosts == ("fine",)
    assert whys(found) == {
        "avoided": Why.AVOIDED,
        "drained": Why.DRAINED,
        "engine": Why.ENGINE,
        "fine": Why.ASKED,
        "lost": Why.LOST,
        "no-address": Why.NO_ADDRESS,
        "no-model": Why.NO_MODEL,
        "no-pools": Why.NO_POOLS,
        "promised": Why.PROMISED,
        "rests": Why.RESTS,
        "silent": Why.SILENT,
        "small": Why.TOO_SMALL,
    }
    assert {n.host: n.detail for n in found.notes}["rests"] == "it is a pause"


def test_without_an_address_the_own_host_serves_all_the_same() -> None:
    fleet = directory(word("a", housed("m", "loaded"), address=None))
    assert isinstance(choose_hosts(fleet, M), Queued)
    assert isinstance(choose_hosts(fleet, Wish("m", own=HostId("a"))), Placement)


@pytest.mark.parametrize("how", ["drained", "silent", "lost"])
def test_a_host_that_is_not_here_serves_nothing_though_it_is_ready_there(how: str) -> None:
    fleet = directory(ready("a"), word("b", housed("m")), **{how: ["a"]})
    found = choose_hosts(fleet, M)
    assert not isinstance(found, Placement)
    assert isinstance(found, Queued) == (how == "silent")  # that may be back in a moment


def test_a_model_on_a_silent_host_is_not_loaded_elsewhere_before_that_is_lost() -> None:
    fleet = directory(word("a", housed("m", "loading")), word("b", housed("m")), silent=["a"])
    found = choose_hosts(fleet, M)
    assert isinstance(found, Queued)
    assert whys(found) == {"a": Why.UNSURE, "b": Why.WAITS}
    assert found.wait == 1.0


def test_a_second_copy_is_loaded_beside_one_that_is_avoided_but_not_beside_a_load_there() -> None:
    avoid = Wish("m", avoid=frozenset({HostId("a")}))
    there = choose_hosts(directory(ready("a"), word("b", housed("m"))), avoid)
    assert whys(there) == {"a": Why.AVOIDED, "b": Why.ASKED}
    coming = choose_hosts(
        directory(word("a", housed("m", "loading")), word("b", housed("m"))), avoid
    )
    assert whys(coming) == {"a": Why.UNSURE, "b": Why.WAITS}


def test_what_a_lost_host_was_loading_is_loaded_elsewhere_once_nothing_bars_it() -> None:
    """What it may begin yet is promised; what it has begun is its own copy."""
    words = (word("a", housed("m", "loading")), word("b", housed("m")))
    found = choose_hosts(directory(*words, lost=["a"]), M)
    assert whys(found) == {"a": Why.LOST, "b": Why.ASKED}
    bars = [promise("a", 0, "m", until=NOW + 3)]
    barred = choose_hosts(directory(*words, lost=["a"], promises=bars), M)
    assert isinstance(barred, Queued)
    assert (whys(barred)["b"], barred.wait) == (Why.WAITS, 3.0)


# -- names


@pytest.mark.parametrize(
    "asked", ["llama3:latest", "llama3", "ollama/llama3:latest", "ollama/llama3"]
)
def test_a_model_goes_by_its_name_with_and_without_its_engine_and_without_a_tag(asked: str) -> None:
    fleet = directory(word("a", housed("llama3:latest")), word("b", housed("llama3")))
    found = choose_hosts(fleet, Wish(asked))
    assert isinstance(found, Asking)
    assert found.claim == "llama3"
    assert choose_hosts(fleet, Wish(asked), index=Index.of(fleet)) == found


def test_what_nobody_has_is_unknown_and_names_like_it_are_told() -> None:
    fleet = directory(word("a", housed("llama3:8b")), word("b", housed("qwen3:4b")))
    found = choose_hosts(fleet, Wish("llama3:9b"))
    assert isinstance(found, Queued)
    assert found.unknown
    assert closest(models(fleet), "llama3:9b")[0] == "llama3:8b"


def test_what_only_a_lost_host_has_is_not_unknown() -> None:
    found = choose_hosts(directory(word("a", housed("m")), lost=["a"]), M)
    assert isinstance(found, Queued)
    assert not found.unknown


# -- which offer


@pytest.mark.parametrize(
    ("a", "b", "host"),
    [
        ((2, 1), (1, 9), "b"),
        ((1, 9), (1, 1), "b"),
        ((1.0001, 1), (1.0002, 1), "b"),  # the same but for a breath: b has the most headroom
        ((1, 1), (1.01, 1), "a"),
    ],
)
def test_the_least_loss_wins_then_the_shortest_wait_then_the_most_headroom(
    a: tuple[float, float], b: tuple[float, float], host: str
) -> None:
    fleet = directory(word("a", housed("m"), free=10), word("b", housed("m"), free=12))
    given = answers(offer("a", loss=a[0], wait=a[1]), offer("b", loss=b[0], wait=b[1]))
    found = place(fleet, M, given)
    assert isinstance(found, Placement)
    assert found.host == host
    assert found.members == (host,)


def test_of_those_alike_in_all_the_first_by_name_is_taken() -> None:
    fleet = directory(*(word(h, housed("m")) for h in "cab"))
    found = place(fleet, M, answers(*(offer(h) for h in "bca")))
    assert isinstance(found, Placement)
    assert found.host == "a"
    assert whys(found) == {"a": Why.LEAST_LOSS, "b": Why.DEARER, "c": Why.DEARER}


def test_an_offer_that_is_over_is_not_taken_however_good() -> None:
    fleet = directory(word("a", housed("m")), word("b", housed("m")))
    given = answers(offer("b", loss=9)) | answers(offer("a", valid=10), at=NOW - 10)
    found = place(fleet, M, given)
    assert isinstance(found, Placement)
    assert found.host == "b"
    assert whys(found)["a"] is Why.OVER
    fresh = answers(offer("b", loss=9)) | answers(offer("a", valid=10), at=NOW - 9.9)
    assert place(fleet, M, fresh).host == "a"  # type: ignore[union-attr]


def test_where_nobody_has_room_it_waits_and_each_host_s_own_words_are_kept() -> None:
    fleet = directory(*(word(h, housed("m")) for h in "abcd"))
    given = answers(offer("a", fits=False, why="all are pinned")) | {
        HostId("b"): Answer(None, NOW, "it did not answer in time"),
        HostId("d"): Answer(offer("d", size=25), NOW),
    }
    found = place(fleet, M, given)
    assert isinstance(found, Queued)
    assert whys(found) == {
        "a": Why.NO_FIT, "b": Why.NO_OFFER, "c": Why.NOT_ASKED, "d": Why.PROMISED
    }  # fmt: skip
    details = {n.host: n.detail for n in found.notes}
    assert (details["a"], details["b"]) == ("all are pinned", "it did not answer in time")


def test_an_offer_of_where_it_is_ready_by_now_is_taken_before_every_load() -> None:
    fleet = directory(word("a", housed("m")), word("b", housed("m")), word("c", housed("m")))
    given = answers(offer("a"), offer("b", ready=True, work=1), offer("c", ready=True, work=2))
    found = place(fleet, M, given)
    assert isinstance(found, Placement)
    assert (found.host, found.ready, found.offers) == ("b", True, ())
    assert whys(found) == {"a": Why.NOT_NEEDED, "b": Why.READY, "c": Why.OVERLOADED}


def test_the_world_is_looked_at_again_when_the_offers_are_there() -> None:
    """It has become ready elsewhere meanwhile, or is coming there, or its host is gone."""
    given = answers(offer("a"))
    now_ready = directory(word("a", housed("m")), ready("b"))
    assert place(now_ready, M, given).host == "b"  # type: ignore[union-attr]
    coming = directory(word("a", housed("m")), word("b", housed("m", "loading")))
    assert place(coming, M, given).coming  # type: ignore[union-attr]
    gone = directory(word("a", housed("m")), word("b", housed("m")), lost=["a"])
    assert whys(place(gone, M, given)) == {"a": Why.LOST, "b": Why.NOT_ASKED}


# -- promises


def test_what_is_promised_is_taken_off_what_a_host_may_promise() -> None:
    fleet = directory(word("a", housed("m")), word("b", housed("m")), promises=[promise("a", 17)])
    found = place(fleet, M, answers(offer("a"), offer("b", loss=50)))
    assert isinstance(found, Placement)
    assert found.host == "b"
    over = directory(word("a", housed("m")), promises=[promise("a", 17, until=NOW)])
    assert isinstance(choose_hosts(over, M), Asking)


def test_another_placement_of_the_same_model_is_waited_for() -> None:
    claims = [promise("a", 8, "m", until=NOW + 7, id="theirs")]
    fleet = directory(word("a", housed("m")), word("b", housed("m")), promises=claims)
    found = place(fleet, M, answers(offer("b")))
    assert isinstance(found, Queued)
    assert found.wait == 7
    assert whys(found) == {"a": Why.CLAIMED, "b": Why.WAITS}


def test_the_own_claim_is_not_in_the_way() -> None:
    claims = [promise("a", 20, "m", id="mine")]
    fleet = directory(word("a", housed("m")), promises=claims)
    found = place(fleet, Wish("m", mine=PromiseId("mine")), answers(offer("a")))
    assert isinstance(found, Placement)


def test_a_claim_on_a_host_that_is_lost_still_bars_until_its_time_is_over() -> None:
    """It may begin there until then."""
    claims = [promise("a", 8, "m", until=NOW + 7)]
    words = (word("a", housed("m")), word("b", housed("m")))
    assert isinstance(choose_hosts(directory(*words, promises=claims, lost=["a"]), M), Queued)
    later = directory(*words, promises=claims, lost=["a"], at=NOW + 7)
    assert isinstance(choose_hosts(later, M), Asking)


def test_a_claim_does_not_keep_requests_from_where_the_model_is_ready() -> None:
    claims = [promise("a", 8, "m")]
    fleet = directory(word("a", housed("m")), ready("b"), promises=claims)
    assert isinstance(choose_hosts(fleet, M), Placement)


def test_a_size_that_nobody_knows_bars_nobody() -> None:
    fleet = directory(word("a", housed("m", size=None), free=-3))
    found = choose_hosts(fleet, M)
    assert isinstance(found, Asking)
    assert Seconds(0) == found.size
