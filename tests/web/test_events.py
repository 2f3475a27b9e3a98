"""Events as a stream and as those that are kept, and the time line, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from collectors.reading import gib
from supervisor.feed import KEPT, Feed
from supervisor.timeline import Timeline
from supervisor.web import events
from supervisor.web.patient import Patient
from supervisor.web.server import Server
from tests.test_timeline import room
from tests.web.fakes import API, EPOCH, World, client, site
from tests.web.test_server import serving

pytestmark = pytest.mark.slow

Json = dict[str, Any]
TOKEN = "a-token-of-some-length"


def feed(count: int = 0) -> Feed:
    made = Feed(lambda: EPOCH, "ab12")
    for n in range(count):
        made.tell("claim", what=f"{n + 1}")
    return made


# -- those that are kept


def kept(count: int, query: str = "", status: int = 200) -> Json:
    async def run() -> Json:
        of = site(World(), feed=feed(count))
        of.feed.tell("settings", key="a", value=None)
        async with client(of) as http:
            answer = await http.get(f"{API}/events{query}")
            assert answer.status_code == status, answer.text
            found: Json = answer.json()
            return found

    return asyncio.run(run())


def told(answer: Json) -> list[str]:
    return [e.get("what", e["kind"]) for e in answer["events"]]


def test_the_latest_events_are_told_as_json_the_oldest_of_them_first() -> None:
    found = kept(150)
    assert told(found) == [*map(str, range(52, 151)), "settings"]
    assert found["last"] == "ab12-151"
    assert found["events"][-2] == {"id": "ab12-150", "at": EPOCH, "kind": "claim", "what": "150"}
    assert told(kept(150, "?limit=2")) == ["150", "settings"]


def test_the_id_of_an_event_is_its_own_and_not_that_of_the_decision_it_tells() -> None:
    made = feed()
    made.tell("decision", {"id": "d-000007", "decision": "d-000007", "at": 5.0})
    row = events.kept(made, events.Asked())["events"][0]
    assert (row["id"], row["decision"], row["at"]) == ("ab12-1", "d-000007", 5.0)


def test_page_by_page_nothing_is_left_out_and_nothing_told_twice() -> None:
    found, last, pages = list[str](), "ab12-0", 0
    while True:
        page = kept(25, f"?after={last}&limit=10")
        if not page["events"]:
            break
        found, last, pages = found + told(page), page["last"], pages + 1
    assert found == [*map(str, range(1, 26)), "settings"]
    assert pages == 3


def test_of_some_kinds_the_next_page_begins_after_all_that_was_looked_through() -> None:
    assert kept(5, "?kinds=settings") == {
        "events": [{"id": "ab12-6", "at": EPOCH, "kind": "settings", "key": "a", "value": None}],
        "last": "ab12-6",
    }
    assert kept(5, "?kinds=claim&after=ab12-3")["last"] == "ab12-6"
    assert told(kept(5, "?kinds=claim,settings&after=ab12-4")) == ["5", "settings"]


def test_what_cannot_be_told_again_is_a_reset_in_json_too() -> None:
    found = kept(5, "?after=cd34-1")
    (event,) = found["events"]
    assert (event["kind"], event["id"], found["last"]) == ("reset", "ab12-6", "ab12-6")
    assert "read the state anew" in event["why"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?limit=0", "a whole number from 1 to 2000"),
        ("?limit=2001", "a whole number from 1 to 2000"),
        ("?kinds=claims", "did you mean claim?"),
        ("?kinds=claim,xyz", "there are hello, reset, sample"),
        ("?kind=claim", "did you mean kinds?"),
        (f"?after={'9' * 99}", "after"),
        ("?after=1-1&after=1-2", "given twice"),
    ],
)
def test_what_is_asked_wrongly_is_refused_with_what_would_be_right(query: str, says: str) -> None:
    assert says in json.dumps(kept(0, query, 422))


# -- the stream


class Listener:
    """A client of the stream: what came, event by event, comments as ":"."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status, self.headers = answer.status_code, answer.headers
        self._lines = answer.aiter_lines()

    async def next(self) -> Json:
        found: Json = {}
        async for line in self._lines:
            if not line and found:
                return found
            key, _, value = line.partition(":")
            if key or value:
                found[key or ":"] = value.strip()
        raise EOFError

    async def event(self) -> tuple[str, Any]:
        """The next that is none of a comment's or the time to come back after."""
        while "event" not in (found := await self.next()):
            pass
        data = json.loads(found["data"])
        return found["event"], data.get("what", data)

    async def ends(self) -> bool:
        try:
            while True:
                await self.next()
        except EOFError:
            return True


Play = Callable[["Open", Server, Feed], Awaitable[Any]]


class Open:
    """Opens streams of one server."""

    def __init__(self, server: Server, http: httpx.AsyncClient) -> None:
        self._server, self._http = server, http

    @asynccontextmanager
    async def __call__(self, query: str = "", **headers: str) -> AsyncIterator[Listener]:
        given = {
            "accept": "text/event-stream",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        async with self._http.stream("GET", f"{API}/events{query}", headers=given) as answer:
            if answer.status_code != 200:
                await answer.aread()
            yield Listener(answer)


def play(story: Play, count: int = 0, **rest: Any) -> Any:
    async def run() -> Any:
        made = feed(count)
        async with serving(site(World(), feed=made, **rest)) as server:
            url = server.addresses[0]
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
                async with asyncio.timeout(60):
                    return await story(Open(server, http), server, made)

    return asyncio.run(run())


def test_a_stream_begins_with_hello_and_goes_on_with_what_happens() -> None:
    async def story(open: Open, server: Server, made: Feed) -> None:
        async with open() as stream:
            assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert stream.headers["cache-control"] == "no-store"
            assert "content-length" not in stream.headers
            assert await stream.next() == {"retry": "2000"}
            hello = await stream.next()
            assert (hello["event"], "id" in hello) == ("hello", False)
            assert json.loads(hello["data"]) == {"at": EPOCH, "version": "1.2.3", "last": "ab12-3"}
            made.tell("claim", what="4")
            made.tell("sample", busy=1)
            claim = await stream.next()
            assert (claim["id"], claim["event"]) == ("ab12-4", "claim")
            assert json.loads(claim["data"]) == {"at": EPOCH, "what": "4"}
            sample = await stream.next()
            assert (sample["event"], "id" in sample) == ("sample", False)

    play(story, 3)


def test_whoever_comes_back_is_told_what_it_has_missed() -> None:
    async def story(open: Open, server: Server, made: Feed) -> None:
        cases = {"?after=ab12-2": {}, "?after=ab12-1": {"last_event_id": "ab12-2"}}
        for query, headers in (*cases.items(), ("", {"last_event_id": "ab12-2"})):
            async with open(query, **headers) as stream:
                found = [await stream.event() for _ in range(4)]
                assert [what for _, what in found[1:]] == ["3", "4", "5"]

    play(story, 5)


def test_more_than_a_batch_comes_whole_and_in_order() -> None:
    async def story(open: Open, server: Server, made: Feed) -> None:
        async with open("?after=ab12-0") as stream:
            found = [(await stream.event())[1] for _ in range(KEPT + 1)]
            assert found[1:] == [str(n + 1) for n in range(KEPT)]

    play(story, KEPT)


def test_after_a_restart_the_first_is_a_reset_and_then_what_happens_now() -> None:
    async def story(open: Open, server: Server, made: Feed) -> None:
        async with open(last_event_id="cd34-7") as stream:
            await stream.event()
            kind, data = await stream.event()
            assert kind == "reset"
            assert "the daemon was started anew" in data["why"]
            made.tell("claim", what="6")
            assert await stream.event() == ("claim", "6")

    play(story, 5)


def test_only_the_kinds_that_were_asked_for_are_told() -> None:
    async def story(open: Open, server: Server, made: Feed) -> None:
        async with open("?kinds=settings") as stream:
            assert (await stream.event())[0] == "hello"
            made.tell("claim", what="1")
            made.tell("sample", busy=1)
            made.tell("settings", key="a", value="1")
            assert (await stream.event())[0] == "settings"

    play(story)


def test_where_nothing_happens_it_is_said_that_we_are_still_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "EVERY", 0.01)

    async def story(open: Open, server: Server, made: Feed) -> None:
        async with open() as stream:
            await stream.event()
            assert await stream.next() == {":": "still here"}
            assert await stream.next() == {":": "still here"}
            made.tell("claim", what="1")
            while (found := await stream.next()).get("event") != "claim":
                assert found == {":": "still here"}

    play(story)


def test_a_stream_ends_when_the_daemon_does_and_says_so() -> None:
    async def story(open: Open, server: Server, made: Feed) -> None:
        async with open() as stream, open("?kinds=claim") as other:
            await stream.event()
            made.tell("daemon", text="stopping")
            made.close()
            kind, data = await stream.event()
            assert (kind, data["text"]) == ("daemon", "stopping")
            assert await stream.ends()
            assert await other.ends()
            assert made.readers == set()
        async with open() as late:
            assert late.status == 503

    play(story)


def test_a_reader_that_hangs_up_is_forgotten() -> None:
    async def story(open: Open, server: Server, made: Feed) -> None:
        async with open() as stream:
            await stream.event()
            assert len(made.readers) == 1
        while made.readers:
            await asyncio.sleep(0)

    play(story)


def test_there_are_only_so_many_readers_and_others_can_still_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "MOST_READERS", 2)

    async def story(open: Open, server: Server, made: Feed) -> None:
        async with open(), open(), open() as third:
            assert third.status == 503
            assert third.headers["retry-after"] == "5"
            answer = await open._http.get(f"{API}/events")
            assert answer.status_code == 200
        while made.readers:
            await asyncio.sleep(0)
        async with open() as stream:
            assert stream.status == 200

    play(story)


def test_a_client_that_does_not_read_costs_no_memory_and_is_let_go_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        made = feed()
        monkeypatch.setattr(Patient, "read_timeout", 0.05)
        async with serving(site(World(), feed=made)) as server:
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(deaf, ("127.0.0.1", server.port))
                head = f"GET {API}/events HTTP/1.1\r\nHost: localhost\r\n"
                await loop.sock_sendall(deaf, f"{head}Accept: text/event-stream\r\n\r\n".encode())
                while not made.readers:
                    await asyncio.sleep(0)
                async with asyncio.timeout(25):  # after 30 it would be for another reason
                    while made.readers:  # until it is let go of
                        made.tell("claim", what="x" * 50_000)
                        await asyncio.sleep(0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"Bearer {TOKEN}", "host": "evil.example"}, 421),
        ({"authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"}, 403),
        ({"authorization": f"Bearer {TOKEN}", "sec-fetch-site": "cross-site"}, 403),
        ({"authorization": f"Bearer {TOKEN}", "sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_a_stream_is_for_those_who_may_read(headers: dict[str, str], status: int) -> None:
    async def story(open: Open, server: Server, made: Feed) -> int:
        async with open(**headers) as stream:
            return stream.status

    assert play(story, token=TOKEN) == status


def test_a_head_of_the_stream_is_no_stream() -> None:
    async def story(open: Open, server: Server, made: Feed) -> None:
        answer = await open._http.head(f"{API}/events", headers={"accept": "text/event-stream"})
        assert answer.status_code == 200
        assert made.readers == set()

    play(story)


# -- the time line


def test_the_time_line_is_told_for_as_long_as_was_asked() -> None:
    async def run() -> None:
        line = Timeline()
        for minute in range(-89, 1):
            line.see(EPOCH + 60 * minute, [room(8)])
        async with client(site(World(), timeline=line)) as http:
            hour = (await http.get(f"{API}/timeline")).json()
            more = (await http.get(f"{API}/timeline?minutes=90")).json()
            (name,) = hour["pools"]
            assert (hour["step"], len(hour["pools"][name]["t"])) == (5, 61)
            assert (more["step"], len(more["pools"][name]["t"])) == (60, 90)
            assert hour["pools"][name]["headroom"][0] == gib(8)
            wrong = await http.get(f"{API}/timeline?minutes=1441")
            assert wrong.status_code == 422

    asyncio.run(run())


def test_without_a_sample_there_is_an_empty_time_line() -> None:
    async def run() -> Json:
        async with client(site(World())) as http:
            found: Json = (await http.get(f"{API}/timeline")).json()
            return found

    assert asyncio.run(run()) == {"step": 5, "pools": {}, "marks": []}
