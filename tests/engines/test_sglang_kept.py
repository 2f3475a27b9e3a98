"""What was asked of an SGLang is known to the next daemon: the server itself does not tell."""

import json

import pytest

from supervisor.core.snapshot import State
from supervisor.engines.base import EngineRefused
from tests.engines.test_sglang import WAKES, A, adapter, changes, live, state


class Written:
    """What is on disk, and in which order it came there with what the server was asked."""

    def __init__(self, server):
        self.server, self.kept, self.order = server, {}, []

    get = property(lambda self: self.kept.get)

    def keep(self, key, body):
        self.kept[key] = json.loads(json.dumps(body))
        self.order.append(body["step"])

    def drop(self, key):
        if self.kept.pop(key, None) is not None:
            self.order.append("-")

    async def settled(self):
        self.order.append(len(changes(self.server)))


def daemons(story, **traits):
    """What `story` returns, of (a function that begins a new daemon, the server, what is kept)."""

    async def play(made, server):
        written = Written(server)

        async def begin():
            fresh = adapter(made._wire.client, server.url)
            fresh.remembers(written)
            await fresh.identify()
            return fresh

        return await story(begin, server, written)

    return live(play, **traits)


@pytest.mark.parametrize("backup", [True, False])
def test_a_daemon_that_begins_anew_wakes_whom_the_one_before_let_sleep(backup):
    async def story(begin, server, written):
        await (await begin()).sleep(A, deep=not backup)
        second = await begin()
        assert await state(second) is State.SLEEPING
        await second.wake(A)
        assert await state(await begin()) is State.LOADED
        return server.paused, server.spoilt, server.dead, written.kept

    assert daemons(story, backup=backup) == (False, False, None, {})


def test_each_step_is_on_disk_before_it_is_taken():
    async def story(begin, server, written):
        made = await begin()
        await made.sleep(A)
        await made.wake(A)
        return written.order

    to_sleep = ["RESUMED", 0, "RELEASING", 1, "RELEASED"]
    assert daemons(story) == [*to_sleep, "RESUMING", 2, "RESUMED", "-"]


@pytest.mark.parametrize(
    ("call", "sleeps"), [("release_memory_occupation", 0), ("resume_memory_occupation", 1)]
)
def test_what_is_in_doubt_is_in_doubt_for_the_next_daemon_too(call, sleeps):
    async def story(begin, server, written):
        made = await begin()
        if sleeps:
            await made.sleep(A)
        server.faults = {f"POST /{call}": "error"}
        with pytest.raises(EngineRefused):
            await (made.wake(A) if sleeps else made.sleep(A))
        server.faults = {}
        second = await begin()
        assert await state(second) is State.UNKNOWN
        for again in (second.sleep(A), second.wake(A)):
            with pytest.raises(EngineRefused, match="nobody knows what it holds"):
                await again
        server.restart()
        return await state(second), written.kept

    assert daemons(story) == (State.LOADED, {})


def test_what_was_written_of_an_earlier_start_of_the_server_is_forgotten():
    async def story(begin, server, written):
        await (await begin()).sleep(A)
        server.restart()
        made = await begin()
        assert (await state(made), written.kept) == (State.LOADED, {})
        server.paused = True  # by somebody else
        return await state(await begin())

    assert daemons(story) is State.UNKNOWN


@pytest.mark.parametrize("body", [{}, {"run": "41.2 1001"}, {"run": "41.2 1001", "step": "GONE"}])
def test_what_was_written_and_cannot_be_read_counts_for_nothing(body):
    async def story(begin, server, written):
        written.kept[server.url] = body
        return await state(await begin()), written.kept

    assert daemons(story) == (State.LOADED, {})


def test_a_daemon_that_ends_in_the_middle_of_a_pause_leaves_one_that_the_next_wakes():
    async def story(begin, server, written):
        server.stray = 1  # so that it is to go on again, and is not
        server.faults = {"POST /continue_generation": "error"}
        with pytest.raises(EngineRefused, match="1 requests"):
            await (await begin()).sleep(A)
        server.faults, server.busy["a"] = {}, 0
        second = await begin()
        assert (server.paused, await state(second)) == (True, State.SLEEPING)
        await second.wake(A)
        return server.paused, await state(second), changes(server)[-1], server.dead

    assert daemons(story) == (False, State.LOADED, WAKES[1], None)


def test_one_that_was_let_go_on_without_our_having_written_that_is_awake():
    async def story(begin, server, written):
        made = await begin()
        await made.sleep(A)
        before = {**written.kept}
        await made.wake(A)
        written.kept = {url: body | {"step": "RESUMED"} for url, body in before.items()}
        return await state(await begin()), written.kept

    assert daemons(story) == (State.LOADED, {})
