"""The Docker Engine, and Podman, over a real Unix socket."""

import asyncio
import os
import socket
from contextlib import contextmanager

import pytest

from supervisor.core.snapshot import ModelId, State
from supervisor.engines import base, container, wire
from supervisor.engines.base import EngineConfused, EngineDown, EngineRefused
from tests.engines.standins import telling as standins
from tests.engines.standins.container import StandIn
from tests.engines.standins.telling import denied, hung, only, until

M = ModelId("alpha")
both = pytest.mark.parametrize("podman", [False, True], ids=["docker", "podman"])


def told(story, podman=False, **said):
    return standins.told(StandIn(["alpha"], podman=podman), "container", story, **said)


@both
def test_a_container_is_started_listed_and_stopped(podman):
    async def story(s, e):
        before = await only(e)
        await e.load(M)
        await e.load(M)  # it runs: that is all that was asked for
        there = await only(e)
        await e.unload(M)
        await e.unload(M)
        return before, there, await only(e), await e.identify()

    before, there, after, identity = told(story, podman)
    assert (before.state, before.trouble) == (None, None)
    assert (there.state, there.trouble) == (State.LOADED, None)
    assert (after.state, after.trouble) == (None, None)
    assert identity.version == ("Podman Engine 4.3.1" if podman else "Engine 20.10.24")


def test_the_process_is_known_where_its_control_group_bears_the_containers_id():
    async def story(s, e):
        await e.load(M)
        box = s.boxes[M]
        found = []
        for group in (f"/docker/{box.id}", f"/system.slice/docker-{box.id}.scope", "/", None):
            e.runner._group = {box.pid: group}.get
            found.append((await only(e)).process)
        return box.pid, found

    pid, found = told(story)
    here = base.Process(pid=pid, ours=True)
    # In a virtual machine, as Docker Desktop has one, its pids are others.
    assert found == [here, here, None, None]


@both
def test_an_unload_waits_until_the_container_has_ended(podman):
    async def story(s, e):
        await e.load(M)
        s.boxes[M].stops = "lingers"
        unload = asyncio.create_task(e.unload(M))
        await until(lambda: s.posts[-1:] == ["POST /containers/alpha/stop?t=10"])
        early = unload.done(), (await only(e)).state
        s.finish(M)
        await unload
        return early, (await only(e)).state

    assert told(story, podman) == ((False, State.LOADED), None)


@pytest.mark.parametrize(
    ("said", "made", "asked"),
    [
        ({}, None, "stop?t=10"),
        ({}, 45, "stop?t=45"),
        ({}, -1, "stop?t=10"),
        ({"stop_timeout": "3s"}, 45, "stop?t=3"),
        ({"stop_timeout": "200ms", "stop_signal": "INT"}, None, "stop?t=1&signal=SIGINT"),
    ],
)
def test_the_operator_says_how_a_container_is_stopped_else_whoever_made_it(said, made, asked):
    async def story(s, e):
        s.boxes[M].stop_timeout = made
        await e.load(M)
        await e.unload(M)
        return s.posts[-1]

    assert told(story, **said) == f"POST /containers/alpha/{asked}"


def test_a_stop_may_take_as_long_as_the_container_is_given_and_a_look_may_not(monkeypatch):
    monkeypatch.setattr(base, "CALL_TIMEOUT", 0.1)

    async def story(s, e):
        await e.load(M)
        s.boxes[M].stops = "lingers"
        unload = asyncio.create_task(e.unload(M))
        await until(lambda: s.posts[-1:] == ["POST /containers/alpha/stop?t=10"])
        s.serving.hanging = True
        with pytest.raises(EngineDown, match=r"within 0\.1 s"):
            await e.list()
        s.serving.hanging = False
        await only(e)
        s.finish(M)
        await unload

    told(story)


def test_a_container_that_is_removed_while_it_is_stopped_is_gone():
    async def story(s, e):
        await e.load(M)
        s.boxes[M].stops = "vanishes"
        await e.unload(M)
        return (await only(e)).state

    assert told(story) is None


@both
def test_a_paused_container_sleeps_with_its_memory_and_a_load_goes_on_with_it(podman):
    async def story(s, e):
        await e.load(M)
        s.boxes[M].status = "paused"
        paused = await only(e)
        await e.wake(M)
        awake = await only(e)
        s.boxes[M].status = "paused"
        await e.load(M)
        loaded = await only(e)
        s.boxes[M].status = "paused"
        await e.unload(M)
        return paused, awake, loaded, await only(e)

    paused, awake, loaded, after = told(story, podman)
    assert paused.state is State.SLEEPING
    assert "holds its memory" in paused.trouble
    assert awake.state is State.LOADED
    assert loaded.state is State.LOADED
    assert after.state is None


def test_a_container_that_runs_on_was_not_unloaded():
    async def story(s, e):
        await e.load(M)
        s.lie(M)
        with pytest.raises(EngineRefused, match="runs on"):
            await e.unload(M)
        return (await only(e)).state

    assert told(story) is State.LOADED


def test_a_container_that_is_removed_when_it_ends_is_unloaded_and_then_missing():
    async def story(s, e):
        s.boxes[M].removed_after = True
        await e.load(M)
        await e.unload(M)
        with pytest.raises(EngineRefused) as no:
            await e.load(M)
        return (await only(e)).trouble, no.value.status

    assert told(story) == ("there is no container alpha", 404)


def test_to_fail_on_our_signal_is_no_trouble_and_to_fail_by_itself_is():
    async def story(s, e):
        await e.load(M)
        s.boxes[M].stops = "fails"
        await e.unload(M)
        ended = (await only(e)).trouble
        await e.load(M)
        s.crash(M)
        return ended, (await only(e)).trouble

    assert told(story) == (None, "alpha exited with 3")


@both
def test_a_container_that_cannot_be_started_says_why(podman):
    async def story(s, e):
        s.fail_next_start(M)
        with pytest.raises(EngineRefused, match="no such file or directory"):
            await e.load(M)
        return await only(e)

    model = told(story, podman)
    assert model.state is None
    assert "no such file or directory" in model.trouble


def test_a_health_check_tells_when_it_is_ready_and_what_was_healthy_stays_loaded():
    async def story(s, e):
        states = []
        await e.load(M)
        for status in ("starting", "unhealthy", "healthy", "unhealthy"):
            log = [{"Output": "connection\n refused"}]
            s.boxes[M].health = {"Status": status, "FailingStreak": 1, "Log": log}
            states.append(await only(e))
        await e.unload(M)
        await e.load(M)
        states.append(await only(e))  # another run: it has to become healthy first
        return states

    states = told(story)
    assert [m.state for m in states] == [
        State.LOADING,
        State.LOADING,
        State.LOADED,
        State.LOADED,
        State.LOADING,
    ]
    assert states[3].trouble == "alpha is unhealthy: connection refused"


def test_logs_of_both_streams_come_in_their_order_and_without_their_headers():
    async def story(s, e):
        s.boxes[M].written = [(1, "loading"), (2, "out of memory"), (1, "bye")]
        framed = await e.logs(M, 2)
        s.boxes[M].tty = True
        return framed, await e.logs(M, 9)

    framed, plain = told(story)
    assert framed == ("out of memory", "bye")
    assert plain == ("loading", "out of memory", "bye")


def test_a_log_without_an_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(wire, "MOST", 1000)

    async def story(s, e):
        s.write(M, "x" * 2000)
        with pytest.raises(EngineConfused, match="more than"):
            await e.logs(M, 1)

    told(story)


@both
def test_without_rights_the_words_are_those_of_the_engine(podman):
    no = told(denied, podman)
    assert no.status == 403
    assert "not allowed" in str(no)


@contextmanager
def as_nobody():
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_socket_that_we_may_not_open_says_who_may():
    async def story(s, e):
        s.socket.chmod(0)
        s.folder.chmod(0o755)
        with as_nobody(), pytest.raises(EngineDown) as down:
            await e.list()
        return str(down.value), str(s.socket)

    message, socket = told(story)
    assert f"{socket}: Permission denied" in message
    assert "group" in message


def test_an_engine_that_is_not_there_says_what_to_start():
    async def story(s, e):
        await s.stop()
        s.socket.unlink(missing_ok=True)
        with pytest.raises(EngineDown, match=r"podman\.socket, running\?"):
            await e.list()
        await s.start()
        return (await only(e)).state

    assert told(story) is None


def test_nobody_who_listens_is_told_with_what_to_start_and_no_container_has_crashed_for_it():
    async def story(s, e):
        await s.stop()
        s.socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(s.socket))
        with pytest.raises(EngineDown) as down:
            await e.list()
        return down.value, s.socket

    down, path = told(story)
    assert down.message.startswith(f"{path}: Connection refused; nobody listens there")
    assert not down.refused


def test_an_engine_that_hangs_is_down_at_each_of_its_calls(monkeypatch):
    for module, name in ((base, "CALL_TIMEOUT"), (wire, "CONTROL_TIMEOUT"), (container, "MARGIN")):
        monkeypatch.setattr(module, name, 0.05)

    told(hung)


def test_whatever_would_bring_a_container_back_is_told_with_its_remedy():
    async def story(s, e):
        quiet = await e.habits()
        s.boxes[M].restart, s.boxes[M].removed_after = "always", True
        s.boxes[M].labels = {
            "PODMAN_SYSTEMD_UNIT": "llm.service",
            "com.docker.swarm.service.name": "llm",
        }
        return quiet, await e.habits()

    quiet, habits = told(story)
    assert quiet == ()
    assert {h.model for h in habits} == {M}
    assert [h.remedy for h in habits] == [
        'make it an engine of kind = "systemd" with unit = "llm.service"',
        "run it as a container of its own, outside of the swarm",
        "docker update --restart no alpha",
        "make it anew without --rm",
    ]
