"""What is told of the difference between two snapshots, and of what is written down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import RAM, Bytes, Seconds, gib
from supervisor import watcher
from supervisor.core.plan import Evict, Load, Plan, Trigger, Why
from supervisor.core.record import Decision, Departure, Mode, Outcome, Result
from supervisor.core.snapshot import Share, State
from supervisor.core.watch import Finding, Kind, Severity
from supervisor.events import Sampled
from supervisor.feed import Feed
from supervisor.timeline import Timeline
from supervisor.watcher import Watcher
from tests.builders import engine, ref, resident
from tests.web.fakes import EPOCH, GPU, World, running, site

Json = dict[str, Any]


class Seen:
    """A daemon on `world`, watched from its first sample on."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.site = site(self.world)
        self.loop = self.site.loop
        self.feed = Feed(lambda: EPOCH, "ab12")
        self.timeline = Timeline()
        self.watcher = Watcher(self.loop, self.feed, self.timeline)
        self._told = 0

    def look(self) -> list[Json]:
        """What is new by the world as it is now."""
        self.loop.snapshot = self.world.snapshot()
        self.watcher.look()
        return self.told()

    def told(self) -> list[Json]:
        """What was not told before."""
        events = list(self.feed.after(self._told))
        self._told += len(events)
        return [{"kind": e.kind, **{k: v for k, v in e.data.items() if k != "at"}} for e in events]


def of(kind: str, events: Iterable[Json]) -> list[Json]:
    return [{k: v for k, v in e.items() if k != "kind"} for e in events if e["kind"] == kind]


def states(events: Iterable[Json]) -> list[tuple[Any, ...]]:
    return [(e["model"], e["before"], e["state"]) for e in of("model", events)]


def test_what_is_there_at_first_is_told_with_its_size_and_the_pool_that_has_most_of_it() -> None:
    found = Seen().look()
    first = {e["model"]: e for e in of("model", found)}
    assert first["ollama/qwen3:8b"] == {
        "model": "ollama/qwen3:8b",
        "before": None,
        "state": "loaded",
        "size": gib(12),
        "pool": GPU,
    }
    assert first["llamacpp/phi"]["pool"] is None
    assert of("engine", found) == [
        {"engine": "ollama", "up": True, "fault": None},
        {"engine": "llamacpp", "up": False, "fault": "GET /models: refused"},
    ]


def test_a_model_is_told_in_the_pool_that_has_most_of_it() -> None:
    seen = Seen()
    shares = (Share(GPU, gib(2)), Share(RAM, gib(5)))
    seen.world.hold(replace(resident("a", 0, pool=GPU), shares=shares))
    (told,) = of("model", seen.look())
    assert (told["pool"], told["size"]) == (RAM, gib(7))


def test_nothing_is_told_where_nothing_has_changed() -> None:
    seen = Seen()
    seen.look()
    seen.world.residents[0] = replace(seen.world.residents[0], idle_for=Seconds(121))
    assert seen.look() == []


def test_before_the_first_sample_there_is_nothing_to_tell() -> None:
    seen = Seen()
    seen.watcher.look()
    assert seen.told() == []


def test_each_state_of_a_model_is_told_with_the_one_before() -> None:
    seen = Seen()
    seen.world.hold()
    seen.look()
    told = []
    for state in (State.LOADING, State.LOADED, State.SLEEPING, State.LEAVING, State.UNKNOWN):
        seen.world.hold(resident("a", 4, pool=GPU, state=state))
        told += states(seen.look())
    seen.world.hold()
    left = of("model", seen.look())
    assert told == [
        ("ollama/a", None, "loading"),
        ("ollama/a", "loading", "loaded"),
        ("ollama/a", "loaded", "sleeping"),
        ("ollama/a", "sleeping", "unloading"),
        ("ollama/a", "unloading", "unknown"),
    ]
    told_last = {"model": "ollama/a", "before": "unknown", "state": "left"}
    assert left == [{**told_last, "size": gib(4), "pool": GPU}]


def test_an_engine_is_told_when_it_goes_down_when_it_is_back_and_when_it_is_no_more() -> None:
    seen = Seen()
    seen.look()
    told = []
    for engines in ((engine("ollama", fault="gone"),), (engine("ollama"),), ()):
        seen.world.engines = engines
        told += [(e["engine"], e["up"], e["fault"]) for e in of("engine", seen.look())]
    none = "it is not known any more"
    expected = [("ollama", False, "gone"), ("llamacpp", False, none), ("ollama", True, None)]
    assert told == [*expected, ("ollama", False, none)]


def test_a_sample_is_made_for_readers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    others = seen.feed.read(["claim"])
    with monkeypatch.context() as patched:
        patched.setattr(watcher, "sample", None)
        seen.look()
    others.take()
    reader = seen.feed.read(["sample"])
    seen.loop.traffic.waiting[ref("gemma3:4b")] = 2
    seen.look()
    (event,) = reader.take()
    assert others.take() == []
    card, ram = event.data["pools"]
    assert card == {
        "id": GPU,
        "total": gib(24),
        "free": gib(6.5),
        "held": gib(15),
        "headroom": gib(5),
        "reserve": gib(1),
    }
    assert (ram["id"], event.data["busy"], event.data["waiting"]) == (RAM, 1, 2)


def test_the_time_line_is_kept_of_what_could_be_read_and_of_what_could_not() -> None:
    seen = Seen()
    seen.look()
    seen.world.blind = {GPU: "the driver hangs"}
    seen.loop.wall = lambda: EPOCH + 5
    seen.look()
    pool = seen.timeline.told(EPOCH + 5, 60)["pools"][GPU]
    assert pool["headroom"] == [gib(5), None]


def play(story: Callable[[Seen], Awaitable[None]]) -> None:
    """With the loop at work, and the watcher listening."""

    async def run() -> None:
        seen = Seen()
        seen.watcher.listen()
        async with running(seen.site):
            task = asyncio.create_task(seen.watcher.run())
            await asyncio.sleep(0)
            seen.told()  # what the first sample had to tell
            try:
                await story(seen)
            finally:
                task.cancel()

    asyncio.run(run())


def decision(id: str, cause: str) -> Decision:
    evict = Evict(ref("qwen3:8b"), (Share(GPU, gib(6)),), Why.MAKES_ROOM)
    load = Load(ref("b"), (Share(GPU, gib(6)),))
    return Decision(id, EPOCH, Mode.ENFORCE, cause, Plan(Trigger.DEMAND, (evict, load)))


def test_decisions_and_outcomes_are_told_as_the_journal_has_them_and_marked() -> None:
    async def story(seen: Seen) -> None:
        journal, made = seen.loop.journal, decision("d-000007", "a request waits for ollama/b")
        await journal.record(made)
        for action in made.plan.actions:
            journal.add_outcome(Outcome(made.id, EPOCH, action, Result.DONE))
        events = seen.told()
        (row,) = of("decision", events)
        assert (row["id"], row["decision"], row["cause"]) == ("d-000007", "d-000007", made.cause)
        assert [(o["decision"], o["model"]) for o in of("outcome", events)] == [
            ("d-000007", "ollama/qwen3:8b"),
            ("d-000007", "ollama/b"),
        ]
        marks = seen.timeline.told(EPOCH, 60)["marks"]
        assert [(m["what"], m["why"]) for m in marks] == [
            ("evicted", "makes room: a request waits for ollama/b"),
            ("loaded", "a request waits for ollama/b"),
        ]

    play(story)


def test_the_causes_of_old_decisions_are_forgotten() -> None:
    async def story(seen: Seen) -> None:
        for n in range(300):
            await seen.loop.journal.record(decision(f"d-{n}", "why not"))
        assert len(seen.watcher._causes) == 100
        assert "d-299" in seen.watcher._causes

    play(story)


def test_a_model_that_left_by_itself_is_marked() -> None:
    async def story(seen: Seen) -> None:
        held = (Share(GPU, gib(6)),)
        seen.loop.journal.add_departure(Departure(ref("a"), EPOCH, "its keep-alive", held))
        (mark,) = seen.timeline.told(EPOCH, 60)["marks"]
        assert (mark["what"], mark["pool"], mark["size"]) == ("left", GPU, gib(6))
        assert seen.told() == []

    play(story)


def test_a_finding_is_told_when_it_opens_and_when_it_clears_and_not_in_between() -> None:
    async def story(seen: Seen) -> None:
        journal = seen.loop.journal
        found = Finding(Kind.PRESSURE, GPU, Seconds(0), Severity.WARNING, "free memory is low")
        journal.add_finding(found, EPOCH)
        journal.add_finding(found, EPOCH + 1)
        journal.clear_finding("pressure", GPU, EPOCH + 2)
        journal.clear_finding("pressure", GPU, EPOCH + 3)
        events = (e for e in seen.feed.after(0) if e.data.get("subject") == GPU)
        told = {"finding": "pressure", "subject": GPU, "severity": "warning"}
        told["detail"] = "free memory is low"
        assert [e.data for e in events] == [
            {"at": EPOCH, **told, "open": True},
            {"at": EPOCH + 2, **told, "open": False},
        ]

    play(story)


def test_claims_are_told_by_kind_and_their_renewals_are_not() -> None:
    async def story(seen: Seen) -> None:
        keeping = seen.loop.keeping
        lease = keeping.leases.open(ref("qwen3:8b"), "agent", Seconds(60))
        keeping.leases.renew(lease.id)
        keeping.leases.close(lease.id)
        keeping.pins.set("ollama/qwen3:8b", None)
        keeping.pins.set("ollama/qwen3:8b", Seconds(5000))  # it ends now: that is news
        keeping.pins.drop("ollama/qwen3:8b")
        keeping.pins.drop("ollama/qwen3:8b")  # there is none any more
        job = keeping.reserved.ask("train", GPU, Bytes(1), Seconds(60), ())
        keeping.reserved.grant(job.id)
        keeping.reserved.renew(job.id)
        keeping.farewells.begin(ref("qwen3:8b"), EPOCH, 1)
        keeping.pausing.set_pause(None)
        seen.loop.journal.shelves["history"].keep("a", {})
        what = [e["what"] for e in of("claim", seen.told())]
        assert what == ["leases", "leases", *["pins"] * 3, "reservations", "leaving", "paused"]

    play(story)


def test_a_setting_is_told_with_its_value_and_with_none_when_it_is_taken_back() -> None:
    async def story(seen: Seen) -> None:
        shelf = seen.loop.journal.shelves["overrides"]
        shelf.keep("single_model_mode", {"value": "true", "applied": False})
        shelf.drop("single_model_mode")
        key = {"key": "single_model_mode"}
        assert of("settings", seen.told()) == [{**key, "value": "true"}, {**key, "value": None}]

    play(story)


def test_every_snapshot_is_looked_at_and_a_mistake_in_here_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(seen: Seen) -> None:
        async def sample() -> None:
            changed = asyncio.create_task(seen.loop.changed())
            await asyncio.sleep(0)
            seen.loop.post(Sampled(seen.world.snapshot(), ticked=False))
            await changed
            await asyncio.sleep(0)

        await sample()
        assert len(of("model", seen.told())) == 3
        seen.watcher.timeline = None  # type: ignore[assignment]
        with caplog.at_level(logging.CRITICAL):
            await sample()
            seen.loop.journal.add_departure(Departure(ref("a"), EPOCH, "why not"))
        seen.watcher.timeline = seen.timeline
        seen.world.hold()
        await sample()
        assert [s[2] for s in states(seen.told())] == ["left"] * 3

    play(story)
