"""systemd over a real message bus."""

import asyncio
from pathlib import Path

import pytest

from supervisor.core.snapshot import ModelId, State
from supervisor.engines import base, systemd
from supervisor.engines.base import EngineDown, EngineRefused
from tests.engines.standins import telling as standins
from tests.engines.standins.systemd import StandIn
from tests.engines.standins.telling import denied, lacking, only, until

ROOT = Path(__file__).parents[2]
M = ModelId("alpha")


def told(story, **said):
    return standins.told(StandIn(["alpha"]), "systemd", story, **said)


def test_a_unit_is_started_listed_with_its_process_and_stopped():
    async def story(s, e):
        before = await only(e)
        await e.load(M)
        there = await only(e)
        await e.unload(M)
        return before, there, await only(e), await e.identify()

    before, there, after, identity = told(story)
    assert (before.state, before.trouble) == (None, None)
    assert (there.state, there.process.pid, there.trouble) == (State.LOADED, 4_194_304, None)
    assert (after.state, after.trouble) == (None, None)
    assert identity.version == "systemd 252.39-1~deb12u2"


def test_a_unit_that_is_named_by_an_alias_is_known_to_have_ended():
    async def story(s, e):
        s.unit(M).primary = "vllm-qwen.service"
        await e.load(M)
        async with asyncio.timeout(10):  # it waits for 95 s where nobody tells it of the end
            await e.unload(M)
        return (await only(e)).state

    assert told(story) is None


def test_looking_never_loads_a_unit_that_systemd_has_forgotten():
    async def story(s, e):
        for _ in range(3):
            await e.list()
        return [call[0] for call in s.calls]

    calls = told(story)
    assert calls.count("LoadUnit") == 1  # the first time: is there such a unit?
    assert calls.count("GetUnit") == 3


def test_a_unit_that_takes_its_time_is_loading_until_systemd_says_that_it_is_ready():
    async def story(s, e):
        s.unit(M).starts = "waits"
        await e.load(M)
        loading = await only(e)
        s.finish(M)
        return loading.state, (await only(e)).state

    assert told(story) == (State.LOADING, State.LOADED)


def test_how_a_unit_ended_before_is_no_matter_while_its_start_waits_for_others():
    async def story(s, e):
        await e.load(M)
        s.unit(M).stops = "fails"
        await e.unload(M)
        ended = await only(e)
        s.unit(M).starts = "queued"
        await e.load(M)
        return s.unit(M).active, ended, await only(e)

    active, ended, starts = told(story)
    assert (active, ended.trouble) == ("failed", None)
    assert (starts.state, starts.trouble) == (State.LOADING, None)


def test_an_unload_waits_until_the_unit_has_ended():
    async def story(s, e):
        await e.load(M)
        s.unit(M).stops = "lingers"
        unload = asyncio.create_task(e.unload(M))
        await until(lambda: s.unit(M).active == "deactivating")
        leaving = (await only(e)).state
        early = unload.done()
        s.finish(M)
        await unload
        return leaving, early, (await only(e)).state

    assert told(story) == (State.LEAVING, False, None)


def test_a_unit_that_does_not_end_in_the_time_that_the_operator_gives_it_is_killed():
    async def story(s, e):
        await e.load(M)
        s.unit(M).stops = "lingers"
        await e.unload(M)
        return [call for call in s.calls if call[0] == "KillUnit"], await only(e)

    killed, model = told(story, stop_timeout="100ms")
    assert killed == [("KillUnit", "alpha.service", "all", 9)]
    assert (model.state, model.trouble) == (None, None)


def test_without_such_a_time_the_unit_has_its_own_and_is_left_alone_after_that(monkeypatch):
    monkeypatch.setattr(systemd, "GRACE", 0.01)

    async def story(s, e):
        await e.load(M)
        s.unit(M).stops = "lingers"
        s.unit(M).more["TimeoutStopUSec"] = ("t", 1000)
        with pytest.raises(EngineDown, match="has not ended in time"):
            await e.unload(M)
        return [call[0] for call in s.calls]

    assert "KillUnit" not in told(story)


def test_processes_that_outlive_their_unit_are_leaving_and_no_unload_worked():
    async def story(s, e):
        await e.load(M)
        s.lie(M)
        with pytest.raises(EngineRefused, match="KillMode=control-group"):
            await e.unload(M)
        return await only(e)

    model = told(story)
    assert model.state is State.LEAVING
    assert "runs on" in model.trouble


def test_a_unit_that_something_starts_again_was_not_unloaded():
    async def story(s, e):
        await e.load(M)
        s.unit(M).stops = "returns"
        with pytest.raises(EngineRefused, match="something started it again"):
            await e.unload(M)

    told(story)


def test_to_fail_on_our_signal_is_no_trouble_and_to_fail_by_itself_is():
    async def story(s, e):
        await e.load(M)
        s.unit(M).stops = "fails"  # as Python programs do: 143
        await e.unload(M)
        ended = (await only(e)).trouble
        await e.load(M)
        s.crash(M)
        return ended, (await only(e)).trouble

    assert told(story) == (None, "alpha.service failed: it exited with 3")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("fails", "alpha.service failed: it exited with 203 (its program cannot be run)"),
        ("dependency", "alpha.service: a unit that it needs did not start"),
        ("skips", "alpha.service: it has ended by itself, or a Condition= of it does not hold"),
    ],
)
def test_a_unit_that_does_not_come_up_says_why(how, words):
    async def story(s, e):
        s.unit(M).starts = how
        await e.load(M)
        # The result of its job comes when it comes.
        async with asyncio.timeout(60):
            while (model := await only(e)).trouble is None:
                await asyncio.sleep(0)
        return model

    model = told(story)
    assert (model.state, model.trouble) == (None, words)


@pytest.mark.parametrize(
    ("load", "words"),
    [("masked", "Unit alpha.service is masked."), ("not-found", "Unit alpha.service not found.")],
)
def test_a_unit_that_cannot_be_had_says_so_before_anybody_wants_it(load, words):
    async def story(s, e):
        if load == "masked":
            s.unit(M).load = load
        else:
            s.units.clear()
        found = (await only(e)).trouble
        with pytest.raises(EngineRefused, match=words):
            await e.load(M)
        await e.unload(M)  # it does not run: that is all that was asked for
        return found

    assert told(story) == words


def test_a_name_that_no_unit_can_have_spoils_nothing_for_the_others():
    async def story(s, e):
        await e.load(M)
        with pytest.raises(EngineRefused, match="missing the instance name"):
            await e.load(ModelId("bad"))
        return {m.id: (m.state, m.trouble) for m in await e.list()}

    found = told(story, served={"alpha": {"unit": "alpha"}, "bad": {"unit": "template@"}})
    assert found["alpha"] == (State.LOADED, None)
    assert found["bad"] == (None, "Unit name template@.service is missing the instance name.")


def test_without_rights_it_is_said_which_rule_is_missing():
    no = told(denied)
    assert no.status == 403
    assert "polkit" in str(no)
    assert "manage alpha.service" in str(no)


def test_a_frozen_unit_sleeps_with_its_memory_and_a_load_thaws_it():
    async def story(s, e):
        await e.load(M)
        s.unit(M).frozen = True
        frozen = await only(e)
        await e.wake(M)
        thawed = await only(e)
        s.unit(M).frozen = True
        await e.unload(M)  # what is frozen cannot end
        return frozen, thawed, await only(e)

    frozen, thawed, after = told(story)
    assert frozen.state is State.SLEEPING
    assert frozen.process is not None
    assert "holds its memory" in frozen.trouble
    assert thawed.state is State.LOADED
    assert after.state is None


def test_a_bus_that_went_away_is_down_and_is_found_again():
    async def story(s, e):
        await e.load(M)
        await s.stop()
        with pytest.raises(EngineDown):
            await e.list()
        with pytest.raises(EngineDown):
            await e.list()
        await s.start()
        found = (await only(e)).state
        await s.stop()
        await s.start()
        await asyncio.sleep(0)
        return found, (await only(e)).state  # nobody had to ask in vain

    assert told(story) == (State.LOADED, State.LOADED)


def test_a_systemd_that_does_not_answer_is_down_and_is_asked_again(monkeypatch):
    async def story(s, e):
        await e.list()
        monkeypatch.setattr(base, "CALL_TIMEOUT", 0.05)
        s.hang()
        with pytest.raises(EngineDown, match="no answer within"):
            await e.list()
        monkeypatch.setattr(base, "CALL_TIMEOUT", 2.0)
        s.hanging = False
        await e.list()
        return len(s.callers)

    assert told(story) == 2  # what waits for an answer on the first connection is let go of


def test_where_nobody_is_behind_the_bus_the_engine_is_down(tmp_path):
    async def story(s, e):
        await s._bus.release_name("org.freedesktop.systemd1")
        with pytest.raises(EngineDown):
            await e.identify()

    told(story)


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    told(lacking("dbus_fast", "systemd", monkeypatch))


def test_the_last_lines_of_the_journal_are_read_and_no_more():
    async def story(s, e):
        nothing = await e.logs(M, 5)
        s.write(M, *(f"line {i}" for i in range(9)))
        return nothing, await e.logs(M, 2)

    assert told(story) == ((), ("line 7", "line 8"))


def test_a_journal_that_may_not_be_read_or_hangs_says_so(monkeypatch):
    async def story(s, e):
        (s.folder / "journalctl.deny").touch()
        with pytest.raises(EngineRefused, match="systemd-journal"):
            await e.logs(M, 5)
        (s.folder / "journalctl.hang").touch()
        monkeypatch.setattr(base, "CALL_TIMEOUT", 0.2)
        with pytest.raises(EngineDown, match="no answer within"):
            await e.logs(M, 5)

    told(story)


def test_whatever_would_bring_a_unit_back_is_told_with_its_remedy():
    async def story(s, e):
        quiet = await e.habits()
        s.unit(M).more = {
            "Restart": ("s", "always"),
            "TriggeredBy": ("as", ["alpha.socket"]),
            "UnitFileState": ("s", "enabled"),
            "KillMode": ("s", "process"),
        }
        return quiet, await e.habits()

    quiet, habits = told(story)
    assert quiet == ()
    assert {h.model for h in habits} == {M}
    assert [h.remedy for h in habits] == [
        "set Restart=no in it: Ullage starts it when it is wanted",
        "systemctl disable --now alpha.socket",
        "systemctl disable alpha.service",
        "set KillMode=control-group in it",
    ]
