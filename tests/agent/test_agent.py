"""Agents of three hosts: what they know of one another, and where they place a model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from collectors.reading import gib
from supervisor.agent.backend import BackendError
from supervisor.agent.told import Refused
from supervisor.fleet.words import read_directory

from .fakes import MODEL, VALID, Daemon, Fleet

OLD = 16  # beats after which a directory is whole


def play(story: Callable[[Fleet], Awaitable[None]], **daemons: Daemon) -> None:
    async def run() -> None:
        fleet = Fleet(
            **(daemons or {h: Daemon(h, gib(n)) for h, n in (("a", 9), ("b", 12), ("c", 20))})
        )
        await fleet.beat(count=OLD)
        await story(fleet)

    asyncio.run(run())


def seen(fleet: Fleet, host: str) -> dict[str, str]:
    directory = read_directory(fleet.agents[host].fleet()["directory"])
    return {h.id: h.presence.value for h in directory.hosts.values()}


def test_every_agent_knows_every_host():
    async def story(fleet: Fleet) -> None:
        for host in "abc":
            assert seen(fleet, host) == {"a": "here", "b": "here", "c": "here"}
            found = fleet.agents[host].fleet()
            assert (found["self"], found["connected"], found["trouble"]) == (host, True, [])

    play(story)


def test_a_model_is_placed_where_the_most_room_is_and_loaded_once():
    async def story(fleet: Fleet) -> None:
        found = await fleet.place("a")
        assert (found["host"], found["address"], found["model"]) == (
            "c", "http://c", f"ollama/{MODEL}",
        )  # fmt: skip
        assert fleet.engine.daemons["c"].loads == ["c-1"]
        assert {n["host"]: n["why"] for n in found["notes"]} == {
            "a": "dearer", "b": "dearer", "c": "least loss",
        }  # fmt: skip
        why = fleet.agents["a"].why(MODEL, 5)
        assert [(w["id"], w["host"]) for w in why] == [(found["placement"], "c")]

    play(story)


def test_what_was_only_asked_for_is_told_as_that_and_not_counted():
    async def story(fleet: Fleet) -> None:
        agent = fleet.agents["a"]
        await fleet.place("a", dry=True)
        with pytest.raises(Refused):
            await fleet.place("a", dry=True, avoid="abc")
        assert [w["dry"] for w in agent.why(None, 9)] == [True, True]
        assert agent.fleet()["placements"] == {}
        assert fleet.engine.daemons["c"].loads == []
        await fleet.place("a")
        assert agent.why(None, 1)[0]["dry"] is False
        assert agent.fleet()["placements"] == {"load": 1}

    play(story)


def test_the_promise_is_seen_by_all_until_the_model_is_there():
    async def story(fleet: Fleet) -> None:
        daemon = fleet.engine.daemons["c"]
        await fleet.place("a")
        daemon.status = "local"  # it has not begun yet
        await fleet.beat()
        promises = fleet.agents["b"].fleet()["directory"]["promises"]
        assert {p["model"] for p in promises} == {MODEL}
        assert max(p["size"] for p in promises) == gib(8)
        with pytest.raises(Refused) as waits:
            await fleet.place("b")
        assert {n["host"]: n["why"] for n in waits.value.body["notes"]}["c"] == "claimed"
        daemon.status = "loading"
        await fleet.beat(count=2)
        assert fleet.engine.claims == {}
        assert (await fleet.place("b"))["host"] == "c"
        assert len(daemon.loads) == 1

    play(story)


def test_a_promise_ends_by_itself_when_nothing_comes_of_it():
    async def story(fleet: Fleet) -> None:
        await fleet.place("a")
        fleet.engine.daemons["c"].status = "local"
        await fleet.beat(count=int(VALID) + 2)
        assert fleet.engine.claims == {}
        assert fleet.agents["b"].fleet()["directory"]["promises"] == []

    play(story)


def test_of_many_who_place_a_model_at_once_one_does():
    async def story(fleet: Fleet) -> None:
        asked = [fleet.place(h, within=5) for h in "abc" for _ in range(3)]
        found = await fleet.during(asyncio.gather(*asked))
        assert {f["host"] for f in found} == {"c"}
        assert sum(len(d.loads) for d in fleet.engine.daemons.values()) == 1

    play(story)


def test_what_came_between_the_claim_and_the_load_is_seen():
    """Somebody else has placed it meanwhile: his host says so, and nothing is begun."""

    async def story(fleet: Fleet) -> None:
        word = {**await fleet.engine.daemons["b"].word()}
        word["models"] = [{**word["models"][0], "status": "loading"}]
        fleet.backends["a"].between.append(lambda: fleet.engine.directory.tell("b", "b", word))
        found = await fleet.place("a")
        assert found["host"] == "b"
        assert all(d.loads == [] for d in fleet.engine.daemons.values())
        assert fleet.engine.claims == {}

    play(story)


def test_a_claim_that_is_gone_begins_nothing():
    async def story(fleet: Fleet) -> None:
        fleet.backends["a"].between.append(fleet.engine.claims.clear)
        with pytest.raises(Refused):
            await fleet.place("a")
        assert all(d.loads == [] for d in fleet.engine.daemons.values())

    play(story)


def test_a_directory_that_has_just_begun_is_not_enough_to_begin_a_load():
    async def story(fleet: Fleet) -> None:
        fleet.engine.directory = type(fleet.engine.directory)(fleet.clock)
        await fleet.beat(count=2)
        with pytest.raises(Refused) as young:
            await fleet.place("a")
        assert VALID < young.value.body["wait"] < VALID + 4.5
        fleet.engine.daemons["b"].ready, fleet.engine.daemons["b"].status = True, "loaded"
        await fleet.beat()
        assert (await fleet.place("a"))["host"] == "b"  # what is there is served
        fleet.engine.daemons["b"].ready, fleet.engine.daemons["b"].status = False, "local"
        await fleet.beat(count=OLD)
        assert (await fleet.place("a"))["host"] == "c"

    play(story)


def test_who_has_not_told_a_directory_that_began_anew_is_known_all_the_same():
    async def story(fleet: Fleet) -> None:
        fleet.engine.directory = type(fleet.engine.directory)(fleet.clock)
        for state in ("here", "here", "silent", "silent", "lost"):
            fleet.clock.now += 1
            for host in "ab":
                await fleet.agents[host].beat()
            assert seen(fleet, "a") == {"a": "here", "b": "here", "c": state}
        await fleet.beat()
        assert seen(fleet, "a")["c"] == "here"

    play(story)


def test_nobody_is_lost_before_he_could_have_told_a_directory_that_began_anew():
    """However long nobody was heard of before."""

    async def story(fleet: Fleet) -> None:
        for backend in fleet.backends.values():
            backend.cut = True
        await fleet.beat(count=20)
        fleet.engine.directory = type(fleet.engine.directory)(fleet.clock)
        fleet.backends["a"].cut = False
        for state in ("silent", "silent", "silent", "silent", "lost"):
            fleet.clock.now += 1
            await fleet.agents["a"].beat()
            assert seen(fleet, "a") == {"a": "here", "b": state, "c": state}
        fleet.backends["b"].cut = False
        await fleet.beat()
        assert seen(fleet, "a") == {"a": "here", "b": "here", "c": "lost"}

    play(story)


def test_who_leaves_is_forgotten_at_once():
    async def story(fleet: Fleet) -> None:
        await fleet.backends["c"].stop()
        for host in "ab":
            await fleet.agents[host].beat()
        assert seen(fleet, "a") == {"a": "here", "b": "here"}

    play(story)


def test_a_host_that_refuses_is_passed_over_for_the_next():
    async def story(fleet: Fleet) -> None:
        fleet.engine.daemons["c"].accepts = BackendError("offer_over", "too late", 410)
        found = await fleet.during(fleet.place("a", within=5))
        assert found["host"] == "b"
        assert len(fleet.engine.daemons["b"].loads) == 1

    play(story)


def test_a_host_of_which_nobody_knows_whether_it_began_bars_all_others():
    async def story(fleet: Fleet) -> None:
        fleet.engine.daemons["c"].accepts = BackendError("away", "no answer", 503, unsure=True)
        with pytest.raises(Refused):
            await fleet.place("a")
        assert all(d.loads == [] for d in fleet.engine.daemons.values())
        assert len(fleet.engine.claims) == 1
        await fleet.beat(count=int(VALID) + 1)
        assert (await fleet.place("a", avoid=["c"]))["host"] == "b"

    play(story)


def test_a_host_that_says_nothing_is_silent_then_lost():
    async def story(fleet: Fleet) -> None:
        fleet.engine.daemons["c"].away = True
        await fleet.beat(count=2)
        assert seen(fleet, "a")["c"] == "here"
        await fleet.beat()
        assert seen(fleet, "a")["c"] == "silent"
        await fleet.beat(count=2)
        assert seen(fleet, "a") == {"a": "here", "b": "here", "c": "lost"}
        assert (await fleet.place("a"))["host"] == "b"
        fleet.engine.daemons["c"].away = False
        await fleet.beat()
        assert seen(fleet, "a")["c"] == "here"

    play(story)


def test_who_does_not_hear_its_own_daemon_gives_no_others_up():
    """Who tells nothing hears nothing, though nothing is wrong with the engine."""

    async def story(fleet: Fleet) -> None:
        fleet.engine.daemons["a"].away = True
        await fleet.beat(count=20)
        assert fleet.backends["a"].connected
        assert {h: state for h, state in seen(fleet, "a").items() if h != "a"} == {
            "b": "silent",
            "c": "silent",
        }
        assert seen(fleet, "b") == {"a": "lost", "b": "here", "c": "here"}
        fleet.engine.daemons["a"].away = False
        await fleet.beat()
        assert seen(fleet, "a") == {"a": "here", "b": "here", "c": "here"}

    play(story)


def test_without_the_engine_this_host_serves_what_it_has_and_the_others_are_not_given_up():
    async def story(fleet: Fleet) -> None:
        fleet.backends["a"].cut = True
        await fleet.beat(count=20)
        assert seen(fleet, "a") == {"a": "here", "b": "silent", "c": "silent"}
        assert seen(fleet, "b") == {"a": "lost", "b": "here", "c": "here"}
        found = await fleet.place("a")
        assert (found["host"], found["ready"]) == ("a", False)
        assert "not connected" in found["sentences"][0]
        assert fleet.engine.daemons["a"].loads == []  # its own daemon loads it for its requests
        with pytest.raises(Refused):
            await fleet.place("a", avoid=["a"])
        fleet.backends["a"].cut = False
        await fleet.beat()
        assert seen(fleet, "b")["a"] == "here"

    play(story)


def test_a_dry_run_changes_nothing():
    async def story(fleet: Fleet) -> None:
        assert (await fleet.place("a", dry=True))["host"] == "c"
        assert fleet.engine.made == 0
        assert all(d.loads == [] for d in fleet.engine.daemons.values())

    play(story)


def test_a_host_is_drained_from_any_other_and_shown_so():
    async def story(fleet: Fleet) -> None:
        await fleet.agents["a"].drain("c", 60.0)
        assert fleet.engine.daemons["c"].drained == 60.0
        await fleet.beat()
        assert seen(fleet, "b")["c"] == "drained"
        assert (await fleet.place("a", dry=True))["host"] == "b"
        await fleet.agents["b"].undrain("c")
        await fleet.beat()
        assert seen(fleet, "a")["c"] == "here"
        with pytest.raises(BackendError, match=r"there is no host bb; did you mean b\?"):
            await fleet.agents["a"].drain("bb", None)
        with pytest.raises(BackendError, match="there is no host z; there are a, b, c"):
            await fleet.agents["a"].drain("z", None)

    play(story)


def test_a_model_that_nobody_has_is_told_with_its_like():
    async def story(fleet: Fleet) -> None:
        with pytest.raises(Refused) as unknown:
            await fleet.agents["a"].place("qwen3:9b", False, VALID, ())
        assert unknown.value.status == 404
        assert MODEL in unknown.value.body["closest"]

    play(story)


def test_clocks_an_hour_apart_are_told_and_decide_nothing():
    async def story(fleet: Fleet) -> None:
        fleet.agents["a"]._wall = lambda: fleet.clock.wall() + 3600
        assert any("clock" in t for t in fleet.agents["a"].fleet()["trouble"])
        assert (await fleet.place("a"))["host"] == "c"

    play(story)
