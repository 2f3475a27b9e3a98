from __future__ import annotations

import threading
from typing import Any

import pytest

from supervisor.cli.client import Client, ClientError, NoDaemon
from supervisor.top.stream import NoEvents, kinds
from supervisor.top.watch import MORE, Lost, News, Seen, Watch
from tests.canned import BUSY, DONE, nobody_at, running
from tests.top.fakes import FakeClient, changed

PATIENCE = 60.0


def watch(client: Any, clock: Any = lambda: 0.0) -> Watch:
    return Watch(client, 3600.0, lambda _: None, clock)


def test_the_journal_is_read_when_something_changed_and_now_and_then() -> None:
    client, now = FakeClient(), [0.0]
    watching = watch(client, lambda: now[0])

    def read() -> bool:
        found = watching.look()
        assert isinstance(found, Seen)
        return found.decisions is not None

    assert read()
    assert not read()
    client.says["/state"] = changed(running=["d-000099"])
    assert read()
    assert not read()
    now[0] += MORE
    assert read()
    watching.now()  # an event was told, or a key pressed
    assert read()
    assert not read()


def test_no_answer_and_one_that_lacks_what_is_shown_are_told_as_lost() -> None:
    client = FakeClient()
    client.says["/state"] = NoDaemon("nobody", "why", "try")
    found = watch(client).look()
    assert isinstance(found, Lost)
    assert found.error.what == "nobody"
    client.says["/state"] = {"models": []}
    found = watch(client).look()
    assert isinstance(found, Lost)
    assert "another version" in found.error.why


def test_an_event_has_the_state_read_at_once() -> None:
    """It would be read again in an hour."""
    looks, twice = [], threading.Event()

    def tell(news: News) -> None:
        looks.append(news)
        if len(looks) >= 2:
            twice.set()

    with running() as daemon:
        daemon.say("/api/v1/state", BUSY)
        daemon.say("/api/v1/decisions", {"decisions": [DONE]})
        stream = b"event: sample\ndata: {}\n\nevent: decision\ndata: {}\n\n"
        daemon.says["/api/v1/events"] = (200, "text/event-stream", stream)
        watching = Watch(Client(daemon.address), 3600.0, tell)
        watching.start()
        try:
            assert twice.wait(PATIENCE)
        finally:
            watching.stop()
    assert all(isinstance(n, Seen) for n in looks[:2])


def test_kinds_of_events_are_heard_until_the_stream_ends() -> None:
    with running() as daemon:
        stream = (
            b"retry: 2000\n\nid: a-1\nevent: model\ndata: {}\n\n: still here\n\n"
            b'id: a-2\nevent: finding\ndata: {"event: x": 1}\n\n'
        )
        daemon.says["/api/v1/events"] = (200, "text/event-stream", stream)
        client = Client(daemon.address, token="secret")
        assert list(kinds(client)) == ["open", "model", "finding"]
        sent = daemon.asked[0][2]
        assert sent["Accept"] == "text/event-stream"
        assert sent["Authorization"] == "Bearer secret"


def test_a_daemon_without_events_is_polled() -> None:
    with running() as daemon, pytest.raises(NoEvents):
        list(kinds(Client(daemon.address)))
    with nobody_at() as address, pytest.raises(ClientError):
        list(kinds(Client(address)))
