"""The API, asked by whoever means ill: nothing is an error of ours, and nobody is kept waiting."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.config.logged import LogFormat
from supervisor.core.snapshot import ModelId
from supervisor.web import table
from supervisor.web.server import Server
from tests.lines import FORGED, written
from tests.web.fakes import API, World, running, site
from tests.web.test_server import say, serving

pytestmark = pytest.mark.slow

LINES = "HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
DEEP = b'{"models":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BODIES = {
    "deep arrays": DEEP,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a huge number": b'{"free":' + b"9" * 10_000 + b"}",
    "a number beyond all": b'{"free":1e999,"model":-1e999,"ttl":1e999}',
    "no number": b'{"free":NaN,"ttl":Infinity}',
    "bytes that are no text": b'{"models":["\xff\xfe"],"model":"\xc3\x28"}',
    "half a pair": b'{"models":["\\ud800"],"model":"\\udfff"}',
    "a NUL": b'{"models":["\\u0000"],"model":"\\u0000"}',
    "lines and escapes": b'{"models":["a\\r\\nX: y\\u001b[2J"],"model":"a\\r\\nX: y\\u001b[2J"}',
    "many names": b'{"models":[' + b",".join([b'"m"'] * 100_000) + b"]}",
    "many keys": b"{" + b",".join(b'"%d":1' % i for i in range(50_000)) + b"}",
    "a long name": b'{"model":"' + b"x" * 900_000 + b'"}',
    "the same key": b"{" + b",".join([b'"model":"a"'] * 50_000) + b"}",
    "a long time": b'{"model":"qwen3:8b","ttl":"' + b"9" * 4000 + b'h","for":"9e9999d"}',
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "another encoding": '{"model":"a"}'.encode("utf-16"),
    "a mark before it": b'\xef\xbb\xbf{"model":"a"}',
}
QUERIES = [
    "limit=" + "9" * 5000,
    "limit=-1&before=%00%ff",
    "model=%ff%00%0d%0a&pool=%ed%a0%80",
    "model=" + "x" * 30_000,
    "&".join(f"k{i}=1" for i in range(3000)),
    "%", "&&&===", "model[]=a", "after=" + "9" * 400, "limit=%D9%A1",
]  # fmt: skip
PATHS = [
    "/assets/../../../../etc/passwd", "/assets/%2e%2e/%2e%2e/pyproject.toml", "/assets/..%2fx",
    "/assets/..\\..\\x", "/assets/%00", "/assets/" + "a" * 5000, "/assets/%c0%ae%c0%ae/x",
    "//api/v1/state", "//[", "/api/v1/state/", "/api/v1//state", "/api/v1/%2e/state",
    "/api/v1/state;x=1", "/API/v1/state", "/api/v1/models/%2e%2e%2f%00", "/%", "/%zz", "/..",
]  # fmt: skip


def post(path: str, body: bytes, *lines: str, method: str = "POST") -> bytes:
    head = f"{method} {path} {LINES}Content-Type: application/json\r\n"
    return (head + "".join(f"{x}\r\n" for x in lines)).encode() + (
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )


def get(path: str, *lines: str) -> bytes:
    return f"GET {path} {LINES}{''.join(f'{x}{chr(13)}{chr(10)}' for x in lines)}\r\n".encode()


async def told(server: Server, raw: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer, which is there within seconds."""
    async with asyncio.timeout(5):
        answer = await say(server, raw)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head[9:12]), head, body


def routes() -> list[tuple[str, str]]:
    """Method and path of each operation."""
    return [(o.method, o.path.replace("{name:path}", "x")) for o in table.operations(site(World()))]


WISHES = [path for method, path in routes() if method == "POST"]


# Of one request: a body is at most 1 MiB, what is read of it some ten times that, each of 50,000
# keys too many is a mistake of 0.6 KiB (29 MiB were seen).
AT_ONCE = 48 * 1024  # KiB
# What a turn of all of them may leave behind: nothing; the first one also the heap that it has
# grown by, and what is imported for the first of a kind (43 MiB were seen).
LEFT = (64 * 1024, 16 * 1024)  # KiB
STATUS = Path("/proc/self/status")


def memory(what: str) -> int:
    """KiB that this process holds, as VmRSS, or has held at most since `forget`, as VmHWM."""
    (found,) = re.findall(rf"^{what}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    return int(found)


def forget() -> None:
    """From now on the most is what is held now: what other tests of this process took is not."""
    Path("/proc/self/clear_refs").write_text("5")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells the most of late on Linux")
def test_whatever_is_sent_is_answered_with_what_is_wrong_and_costs_no_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with running(site(World())), serving() as server:
            for turn in range(2):
                began = memory("VmRSS")
                for path in WISHES:
                    for what, body in BODIES.items():
                        if what == "nothing":
                            continue  # of some that is all that can be said
                        before = memory("VmRSS")
                        forget()
                        status, _, answer = await told(server, post(path, body))
                        took = memory("VmHWM") - before
                        assert took < AT_ONCE, (path, what, took)
                        assert status in range(400, 500) or status == 503, (path, what, status)
                        assert len(answer) < 64 * 1024, (path, what)
                        json.loads(answer)
                left = memory("VmRSS") - began
                assert left < LEFT[turn], (turn, left)

    asyncio.run(story())
    assert not [r for r in caplog.records if r.exc_info]


def test_no_path_and_no_query_is_an_error_of_ours_or_leads_out_of_the_pages_folder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        of = site(World())
        async with running(of), serving(of) as server:
            for path in PATHS:
                status, _, body = await told(server, get(path))
                assert status in (400, 404), (path, status)
                assert b"root:" not in body
                assert b"[project]" not in body
            for query in QUERIES:
                for path in ("state", "decisions", "why", "events"):
                    status, _, _ = await told(server, get(f"{API}/{path}?{query}"))
                    assert status in (400, 404, 422), (path, query[:40], status)

    asyncio.run(story())
    assert not [r for r in caplog.records if r.exc_info]


def test_no_operation_is_for_a_rebound_name_or_for_another_sites_page() -> None:
    async def story() -> None:
        of = site(World())
        async with running(of), serving(of) as server:
            for method, path in routes():
                raw = post(path, b"{}", method=method) if method != "GET" else get(path)
                rebound = raw.replace(b"Host: 127.0.0.1", b"Host: evil.example")
                assert (await told(server, rebound))[0] == 421, path
            for method in ("POST", "PUT", "PATCH", "DELETE", "MKCOL", "QUERY"):
                for _, path in routes():
                    for line in ("Origin: http://evil.example", "Sec-Fetch-Site: same-site"):
                        status, head, _ = await told(server, post(path, b"{}", line, method=method))
                        # What is no method to the parser is none to anybody.
                        assert status in (403, 400 if method == "QUERY" else 403), (method, path)
                        assert b"access-control" not in head.lower()

    asyncio.run(story())


def test_where_a_request_comes_from_is_its_connections_word_alone() -> None:
    forged = (
        "Forwarded: for=127.0.0.1;host=localhost", "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: localhost", "X-Real-IP: 127.0.0.1", "X-Original-URL: /healthz",
        "X-HTTP-Method-Override: GET",
    )  # fmt: skip

    async def story() -> None:
        of = site(World(), token="0123456789abcdef")
        async with running(of), serving(of) as server:
            assert (await told(server, get(f"{API}/state", *forged)))[0] == 401
            assert (await told(server, post(f"{API}/evict", b"{}", *forged)))[0] == 401
            evil = get("/healthz", "X-Forwarded-Host: localhost")
            assert (await told(server, evil.replace(b"127.0.0.1", b"evil.example")))[0] == 421

    asyncio.run(story())


class Counted(logging.Handler):
    """`count`: how much was said."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


@pytest.mark.parametrize("format", LogFormat)
def test_what_somebody_calls_a_model_begins_no_line_of_the_log_and_no_header(
    format: LogFormat,
) -> None:
    evil = f"a\r\nSet-Cookie: x=y\r\n{FORGED}"

    async def story() -> None:
        of = site(World())
        async with running(of), serving(of) as server:
            for path in ("pin", "load", "unpin"):
                body = json.dumps({"model": evil}).encode()
                _, head, answer = await told(server, post(f"{API}/{path}", body))
                assert b"set-cookie" not in head.lower()
                assert b"\x1b" not in answer
                json.loads(answer)

    counted = Counted()
    with written(format, name="ullage") as (log, out):  # by the formatter that the daemon has
        log.addHandler(counted)
        try:
            asyncio.run(story())
        finally:
            log.removeHandler(counted)
    text = out.getvalue()
    assert "Set-Cookie" in text, "nothing was said of it"
    lines = text.splitlines()
    assert len(lines) == counted.count == text.count("\n")
    assert not [line for line in lines if line.startswith(("Set-Cookie", FORGED.splitlines()[1]))]
    assert text.replace("\n", "").isprintable()


def test_whatever_models_are_called_the_page_of_metrics_is_sound() -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    world = World()
    names = ['a"} 1\nevil_total{x="', "\ud800", "b\\", "c\n# EOF\n", "d" * 5000, "\x00\x1b[2J"]
    from tests.builders import resident

    world.hold(*(resident(ModelId(name), 1) for name in names))

    async def story() -> bytes:
        of = site(world)
        async with running(of), serving(of) as server:
            lines = "Accept: application/openmetrics-text; version=1.0.0"
            status, _, body = await told(server, get("/metrics", lines))
            assert status == 200
            return body

    text = asyncio.run(story()).decode()
    families: Any = list(text_string_to_metric_families(text))
    assert not [f for f in families if f.name.startswith("evil")]
    assert max(map(len, text.splitlines())) < 2000
