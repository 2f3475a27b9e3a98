"""Whose name is called, and which page asks."""

from __future__ import annotations

import pytest

from supervisor.config.gated import GatewayConfig
from supervisor.engines.wire import VIA
from supervisor.gateway.guard import Guard
from supervisor.gateway.heads import Head

PORT = b"127.0.0.1:8553"


def head(*headers: tuple[bytes, bytes], method: bytes = b"POST", host: bytes | None = PORT) -> Head:
    named = [] if host is None else [(b"host", host)]
    return Head(method, b"/v1/x", b"/v1/x", b"", [*named, *headers], True, True, None)


def guard(**config: object) -> Guard:
    return Guard(GatewayConfig(**config), "box")  # type: ignore[arg-type]


def status(found: Guard, asked: Head) -> int | None:
    once, again = found.refuse(asked), found.refuse(asked)
    assert once == again
    return None if once is None else once.status


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8553", "localhost", "LOCALHOST:11434", "[::1]:8553", "box:8553", "box.local",
     "host.docker.internal:11434", "ullage.localhost:8553", "ai.lan"],
)  # fmt: skip
def test_this_machine_may_be_called_by_its_names(host):
    assert status(guard(allowed_hosts=("ai.lan",)), head(host=host.encode())) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8553",
     "10.0.0.5:8553", "a@localhost", "localhost/x", "localhost:x", "", "b\xf6x", "xlocalhost"],
)  # fmt: skip
def test_any_other_name_may_be_a_rebound_one(host):
    found = guard().refuse(head(host=host.encode("latin-1")))
    assert found is not None
    assert (found.status, found.why) == (421, "host")
    assert "gateway.allowed_hosts" in found.message


def test_one_host_is_named():
    assert status(guard(), head(host=None)) == 421
    assert status(guard(), head((b"host", PORT))) == 421


def test_where_other_machines_reach_us_an_address_is_as_good_as_a_name():
    asked = head(host=b"192.168.1.5:8553")
    assert status(guard(host="0.0.0.0", allow_anyone=True), asked) is None
    assert status(guard(), asked) == 421
    assert status(guard(host="0.0.0.0"), head(host=b"evil.example")) == 421


def test_a_request_of_our_own_that_comes_back_ends_here():
    for via in (VIA.encode(), b"1.0 nginx, " + VIA.encode()):
        found = guard().refuse(head((b"via", via)))
        assert found is not None
        assert (found.status, found.why) == (508, "loop")
    assert status(guard(), head((b"via", b"1.1 ullage-0123456789abcdef"))) is None


# -- pages


@pytest.mark.parametrize("method", [b"POST", b"GET", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        [(b"origin", b"https://evil.example")],
        [(b"origin", b"null")],
        [(b"origin", b"http://127.0.0.1:3000")],
        [(b"origin", b"http://127.0.0.1:8553.evil.example")],
        [(b"origin", b"http://localhost:3000"), (b"sec-fetch-site", b"same-site")],
        [(b"sec-fetch-site", b"cross-site")],
        [(b"sec-fetch-site", b"same-site")],
    ],
)
def test_a_page_of_another_site_may_ask_for_nothing(method, headers):
    found = guard().refuse(head(*headers, method=method))
    assert found is not None
    assert (found.status, found.why) == (403, "origin")


def test_what_is_refused_says_what_would_let_it_in_and_is_no_markup():
    found = guard().refuse(head((b"origin", b'http://a"<script>\n')))
    assert found is not None
    assert 'add "http://a?<script>?" to gateway.cors_origins' in found.message


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"origin", b"http://127.0.0.1:8553"), (b"sec-fetch-site", b"same-origin")],
        [(b"sec-fetch-site", b"none")],
        [(b"sec-fetch-site", b"same-origin")],
    ],
)
def test_programs_and_our_own_pages_may(headers):
    assert status(guard(), head(*headers)) is None


def test_a_site_that_was_named_may_ask_and_read_the_answer():
    mine = guard(cors_origins=("http://localhost:3000",))
    asked = head((b"origin", b"http://localhost:3000"), (b"sec-fetch-site", b"same-site"))
    assert mine.refuse(asked) is None
    headers = dict(mine.cors(asked))
    assert headers[b"access-control-allow-origin"] == b"http://localhost:3000"
    assert headers[b"vary"] == b"origin"
    assert b"x-ullage-model" in headers[b"access-control-expose-headers"]
    assert b"access-control-allow-credentials" not in headers
    assert status(mine, head((b"origin", b"http://localhost:3001"))) == 403


def test_programs_get_no_such_headers_and_caches_are_told():
    assert guard().cors(head()) == ()
    assert guard(cors_origins=("http://a",)).cors(head()) == ((b"vary", b"origin"),)


def test_any_site_means_any_that_has_a_name():
    mine = guard(cors_origins=("*",))
    assert status(mine, head((b"origin", b"https://anything.example"))) is None
    assert status(mine, head((b"origin", b"null"))) == 403


# -- asking whether one may ask


def preflight(origin: bytes, *more: tuple[bytes, bytes]) -> Head:
    ask = (b"access-control-request-method", b"POST")
    return head((b"origin", origin), ask, *more, method=b"OPTIONS")


def test_a_browser_that_asks_first_is_told_that_its_page_may():
    mine = guard(cors_origins=("http://a",))
    wanted = (b"access-control-request-headers", b"authorization, content-type")
    network = (b"access-control-request-private-network", b"true")
    asked = preflight(b"http://a", wanted, network)
    assert mine.refuse(asked) is None
    found = dict(mine.preflight(asked) or ())
    assert found[b"access-control-allow-origin"] == b"http://a"
    assert found[b"access-control-allow-headers"] == b"authorization, content-type"
    assert b"POST" in found[b"access-control-allow-methods"]
    assert found[b"access-control-allow-private-network"] == b"true"


def test_and_that_it_may_not_where_its_site_was_not_named():
    assert status(guard(), preflight(b"http://a")) == 403


def test_what_a_page_asks_for_is_not_repeated_unless_it_is_names_of_headers():
    mine = guard(cors_origins=("http://a",))
    asked = preflight(b"http://a", (b"access-control-request-headers", b"x\xff;y"))
    assert b"access-control-allow-headers" not in dict(mine.preflight(asked) or ())


def test_other_requests_ask_nothing_of_the_kind():
    mine = guard(cors_origins=("http://a",))
    origin = (b"origin", b"http://a")
    assert mine.preflight(head(origin)) is None
    assert mine.preflight(head(origin, method=b"OPTIONS")) is None
    assert mine.preflight(head(method=b"OPTIONS")) is None
