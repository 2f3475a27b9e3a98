"""Who may ask, and how much: checked before anything else sees the request.

Browsers are the way in for strangers: a page can rebind its name to 127.0.0.1, and can post
to us without asking. So the Host must be a name of ours, whatever we listen on, and another
site's page may change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from supervisor.hosts import LOOPBACK, host_of

from .problems import ProblemResponse, problem

log = logging.getLogger("ullage.web")

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# These need no token: they say nothing of the machine.
FREE = frozenset({"/healthz", "/readyz", "/"})
ASSETS = "/assets/"  # what lies there is the same on every machine
STREAM = "text/event-stream"
LARGEST_BODY = 1024**2  # bytes; the largest honest one is a list of models
BODY_TIMEOUT = 10.0  # seconds
LITTLE = 64 * 1024  # bytes of a refused body that are read off
READ_OFF = 1.0  # seconds
CLOSE = {"connection": "close"}  # what is still to come of the request is not worth reading

HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}

HOW_TO_TOKEN = "set listen.token_file or ULLAGE_TOKEN, and send it as 'Authorization: Bearer ...'"


@dataclass(frozen=True, slots=True)
class Rules:
    """`hosts` in lower case, without a port. `token` None: only this machine may change things."""

    hosts: frozenset[str] = LOOPBACK
    token: str | None = None
    largest_body: int = LARGEST_BODY
    body_timeout: float = BODY_TIMEOUT


def rules(bound_host: str, allowed_hosts: Iterable[str], token: str | None) -> Rules:
    names = {h.strip("[]").lower() for h in (bound_host, *allowed_hosts)}
    return Rules(LOOPBACK | names, token)


class Guard:
    """ASGI middleware. Answers what may not pass with a problem, and hands on the rest."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._serve(scope, receive, answer)
        except asyncio.CancelledError:
            if not started:
                text = "the daemon is stopping; what was decided may still have happened"
                await problem(503, text, headers=CLOSE)(scope, receive, answer)
            raise
        except Exception:
            log.exception("could not answer %s %s", scope["method"], scope["path"])
            if started:
                raise
            await problem(500, "an internal error; the log has it")(scope, receive, answer)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = refuse(scope, self.rules)
        if refused is not None:
            await _read_off(receive)
        elif scope["method"] not in SAFE:
            try:
                async with asyncio.timeout(self.rules.body_timeout):
                    receive = await _read(receive, self.rules.largest_body)
            except TimeoutError:
                text = f"the body was not here within {self.rules.body_timeout:g} s"
                refused = problem(408, text, headers=CLOSE)
            except OverflowError:
                text = f"a body is at most {self.rules.largest_body} bytes"
                refused = problem(413, text, headers=CLOSE)
            except EOFError:
                return  # the client is gone
        await (refused or self.app)(scope, receive, send)


def refuse(scope: Scope, rules: Rules) -> ProblemResponse | None:
    """Why this request may not pass, as far as its headers tell. None: it may."""
    headers = Headers(scope=scope)
    unsafe = scope["method"] not in SAFE
    hosts = headers.getlist("host")
    if len(hosts) != 1:
        return problem(421, f"a request names one Host, not {len(hosts)}", headers=CLOSE)
    if host_of(hosts[0]) not in rules.hosts:
        text = f"this server is not called {hosts[0]!r}; if it is, add it to listen.allowed_hosts"
        return problem(421, text, headers=CLOSE)
    if site := _foreign_site(headers, hosts[0]):
        if unsafe:
            return problem(403, f"a page of {site} may change nothing here", headers=CLOSE)
        if STREAM in headers.get("accept", ""):  # which stays open, and takes somebody's place
            return problem(403, f"a page of {site} may not listen here", headers=CLOSE)
    return _authorize(scope, rules, headers) or (
        _check_body(scope, headers, rules) if unsafe else _no_body(headers)
    )


def _foreign_site(headers: Headers, host: str) -> str | None:
    """The site whose page sends this, when it is not our own. Programs send neither header."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return repr(origin)
    fetched_by = headers.get("sec-fetch-site", "none")
    return None if fetched_by in ("same-origin", "none") else "another site"


def _authorize(scope: Scope, rules: Rules, headers: Headers) -> ProblemResponse | None:
    if _is_free(scope["path"]) or is_local_socket(scope):
        return None
    if rules.token is not None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), rules.token.encode())
        if scheme.lower() == "bearer" and same:
            return None
        challenge = {"www-authenticate": 'Bearer realm="ullage"', **CLOSE}
        text = "this needs the token, as 'Authorization: Bearer ...'"
        return problem(401, text, headers=challenge)
    if scope["method"] in SAFE or _is_loopback(scope):
        return None
    text = f"without a token only this machine may change things; {HOW_TO_TOKEN}"
    return problem(403, text, headers=CLOSE)


def _is_free(path: str) -> bool:
    return path in FREE or (path.startswith(ASSETS) and "/" not in path[len(ASSETS) :])


def is_local_socket(scope: Scope) -> bool:
    """Our end is a unix socket: a path has no port. Its file's mode says who may connect."""
    server = scope.get("server")
    return server is not None and server[1] is None and scope.get("client") is None


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        peer = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return False
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return (mapped or peer).is_loopback  # listening on "::" shows 127.0.0.1 as ::ffff:127.0.0.1


def _no_body(headers: Headers) -> ProblemResponse | None:
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return None
    return problem(400, "a request that only reads has no body", headers=CLOSE)


def _check_body(scope: Scope, headers: Headers, rules: Rules) -> ProblemResponse | None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if scope["method"] in ("POST", "PUT") and kind != "application/json":
        text = f"a body is application/json here, not {kind or 'untyped'}"
        return problem(415, text, headers=CLOSE)
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > rules.largest_body:
        return problem(413, f"a body is at most {rules.largest_body} bytes", headers=CLOSE)
    return None


async def _read_off(receive: Receive) -> None:
    """Take what a refused client has sent, if it is little: a connection that is closed over
    unread words is reset, and the answer is lost with it."""
    with contextlib.suppress(TimeoutError, OverflowError, EOFError):
        async with asyncio.timeout(READ_OFF):
            await _read(receive, LITTLE)


async def _read(receive: Receive, most: int) -> Receive:
    """Read the body whole. Raises OverflowError when it is larger, EOFError when it breaks off."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise EOFError
        body += message.get("body", b"")
        if len(body) > most:
            raise OverflowError
        more = message.get("more_body", False)
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay
