"""Events over connections that end: nothing is missed, nothing comes twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from supervisor.cli.client import Client, NoDaemon, Refused
from supervisor.cli.following import LATEST, Event, follow, parse
from tests.canned import nobody_at


def sent(id: str | None, kind: str, data: str) -> str:
    head = "" if id is None else f"id: {id}\n"
    return f"{head}event: {kind}\ndata: {data}\n\n"


def parsed(text: str) -> list[Event]:
    return list(parse(line.encode() for line in text.splitlines(keepends=True)))


def test_events_are_read_as_they_are_sent() -> None:
    text = "retry: 2000\n\n: still here\n\n" + sent("e-1", "model", '{"model": "a"}')
    text += sent(None, "sample", '{"busy": 1}')
    assert parsed(text) == [
        Event("e-1", "model", {"model": "a"}),
        Event(None, "sample", {"busy": 1}),
    ]


def test_what_ends_in_the_middle_has_not_come() -> None:
    whole = sent("e-1", "model", '{"a": 1}')
    for cut in range(1, len(whole)):
        assert parsed(whole[:-cut]) == []


@pytest.mark.parametrize("data", ["", "{", "[1]", "nonsense"])
def test_what_is_no_object_is_passed_over(data: str) -> None:
    assert parsed(sent("e-1", "model", data) + sent("e-2", "model", "{}")) == [
        Event("e-2", "model", {})
    ]


def test_lines_may_end_as_windows_ends_them_and_data_may_have_several() -> None:
    text = 'event: model\r\ndata: {"a":\r\ndata: 1}\r\n\r\n'
    assert parsed(text) == [Event(None, "model", {"a": 1})]


def test_a_row_has_the_id_of_its_event_and_not_that_of_its_decision() -> None:
    event = Event("e-7", "decision", {"id": "d-1", "decision": "d-1", "at": 1.0})
    assert event.row == {"id": "e-7", "kind": "decision", "decision": "d-1", "at": 1.0}


class Enough(Exception):
    pass


@contextmanager
def serving(*answers: tuple[int, str]) -> Iterator[tuple[Client, list[dict[str, str]]]]:
    """A daemon that gives one of these answers to each connection, and what it was asked with."""
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
            status, text = left.pop(0) if left else (200, "")
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Client(f"http://127.0.0.1:{server.server_port}"), asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def followed(
    client: Client, most: int, after: str | None = None, waits: int = 9
) -> tuple[list[str | None], list[str], list[float]]:
    """The ids that come, what was said of lost connections, and how long was waited."""
    ids: list[str | None] = []
    lost: list[str] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > waits:
            raise Enough

    try:
        for event in follow(client, "model", after, lost.append, sleep):
            ids.append(event.id)
            if len(ids) == most:
                break
    except Enough:
        pass
    return ids, lost, slept


def test_a_lost_connection_goes_on_after_the_last_event_that_came() -> None:
    first = sent("e-1", "model", "{}") + sent("e-2", "model", "{}") + "id: e-3\nevent: mod"
    second = sent("e-3", "model", "{}")
    with serving((200, first), (200, second)) as (client, asked):
        ids, lost, slept = followed(client, 3)
    assert ids == ["e-1", "e-2", "e-3"]
    assert [a.get("last-event-id") for a in asked] == [None, "e-2"]
    assert {a["accept"] for a in asked} == {"text/event-stream"}
    assert asked[0]["path"] == "/api/v1/events?kinds=model"
    assert (len(lost), slept) == (1, [1.0])


def test_what_happens_before_the_first_event_is_not_missed_either() -> None:
    hello = sent(None, "hello", '{"version": "1", "last": "e-9"}')
    with serving((200, hello), (200, sent("e-10", "model", "{}"))) as (client, asked):
        assert followed(client, 2)[0] == [None, "e-10"]
    assert [a.get("last-event-id") for a in asked] == [None, "e-9"]


def test_a_place_that_is_gone_is_not_asked_for_again() -> None:
    reset = sent(None, "reset", '{"why": "another daemon"}')
    with serving((200, reset), (200, sent("f-1", "model", "{}"))) as (client, asked):
        assert followed(client, 2, after="e-5")[0] == [None, "f-1"]
    assert [a.get("last-event-id") for a in asked] == ["e-5", None]


def test_a_daemon_that_is_being_started_anew_is_waited_for_longer_and_longer() -> None:
    # Between two daemons: an error, then nothing that is an event, then it is there again.
    answers = ((200, sent("e-1", "model", "{}")), (503, "{}"), (200, ""), (200, ""),
               (200, sent("e-2", "model", "{}")), (200, ""))  # fmt: skip
    with serving(*answers) as (client, _):
        ids, lost, slept = followed(client, 3, waits=5)
    assert ids == ["e-1", "e-2"]
    assert slept == [1.0, 2.0, 4.0, 8.0, 1.0, 2.0]
    assert len(lost) == 2, "told once, until something comes"


def test_the_pause_between_two_tries_does_not_grow_for_ever() -> None:
    with serving() as (client, _):
        assert max(followed(client, 1, waits=9)[2]) == LATEST


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_who_is_refused_is_told_and_does_not_ask_again(status: int) -> None:
    with serving((200, sent("e-1", "model", "{}")), (status, "{}")) as (client, asked):
        with pytest.raises(Refused):
            followed(client, 9)
        assert len(asked) == 2


def test_where_nobody_listens_at_first_that_is_trouble() -> None:
    with nobody_at() as url, pytest.raises(NoDaemon):
        followed(Client(url), 1)
