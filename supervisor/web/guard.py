"""Who may ask, and how much: checked before anything else sees the request.

Browsers are the way in for strangers: a page can rebind its name to 127.0.0.1, and can post
to us without asking. So the Host must be a name of ours, whatever we listen on, and another
site's page may change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from supervisor.accounts import PEER
from supervisor.hosts import LOOPBACK, host_of

from .callers import CALLER, Callers, Denied
from .operations import SAFE, Needs
from .problems import ProblemResponse, problem

log = logging.getLogger("ullage.web")

STREAM = "text/event-stream"
LARGEST_BODY = 1024**2  # bytes; the largest honest one is a list of models
LARGEST_BODIES = 4 * 1024**2  # bytes, of all that are held at once
SMALL_BODY = 16 * 1024  # bytes of each that are always taken: who holds much keeps no wish out
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

CHALLENGE = {"www-authenticate": 'Bearer realm="ullage"', **CLOSE}


@dataclass(frozen=True, slots=True)
class Rules:
    """`hosts` in lower case, without a port. `needs` says which scope a request takes."""

    hosts: frozenset[str] = LOOPBACK
    callers: Callers = field(default_factory=Callers)
    needs: Needs = field(default_factory=Needs)
    largest_body: int = LARGEST_BODY
    largest_bodies: int = LARGEST_BODIES
    body_timeout: float = BODY_TIMEOUT


def rules(
    bound_host: str, allowed_hosts: Iterable[str], callers: Callers, needs: Needs | None = None
) -> Rules:
    names = {h.strip("[]").lower() for h in (bound_host, *allowed_hosts)}
    return Rules(LOOPBACK | names, callers, needs or Needs())


class Guard:
    """ASGI middleware. Answers what may not pass with a problem, and hands on the rest."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules
        self._held = Held(rules.largest_bodies)

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
        peer = scope.get(PEER)
        if peer is not None:
            await self.rules.callers.accounts.learn(peer.uid)
        refused = refuse(scope, self.rules)
        if refused is not None:
            await _read_off(receive)
        elif scope["method"] not in SAFE:
            with self._held.one() as body:
                try:
                    async with asyncio.timeout(self.rules.body_timeout):
                        receive = await _read(receive, self.rules.largest_body, body)
                except TimeoutError:
                    text = f"the body was not here within {self.rules.body_timeout:g} s"
                    refused = problem(408, text, headers=CLOSE)
                except OverflowError:
                    text = f"a body is at most {self.rules.largest_body} bytes"
                    refused = problem(413, text, headers=CLOSE)
                except TooMuchHeld:
                    text = f"bodies of {self.rules.largest_bodies} bytes are held; ask again"
                    refused = problem(503, text, headers=CLOSE)
                except EOFError:
                    return  # the client is gone
                await (refused or self.app)(scope, receive, send)
            return
        await (refused or self.app)(scope, receive, send)


class TooMuchHeld(Exception):
    """Bodies of other requests take what there is for them."""


class Held:
    """How many bytes of requests' bodies are held, from when they come until the answer is given.
    `most` of them, besides the first SMALL_BODY of each."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0

    @contextlib.contextmanager
    def one(self) -> Iterator[Body]:
        body = Body(self)
        try:
            yield body
        finally:
            self.now -= body.held


@dataclass(slots=True)
class Body:
    """What one request holds."""

    all: Held
    held: int = 0

    def holds(self, size: int) -> None:
        """So many bytes of it have come so far. Raises TooMuchHeld."""
        more = max(0, size - SMALL_BODY) - self.held
        if more > 0 and self.all.now + more > self.all.most:
            raise TooMuchHeld
        self.held += more
        self.all.now += more


def refuse(scope: Scope, rules: Rules) -> ProblemResponse | None:
    """Why this request may not pass, as far as its headers tell. None: it may, and CALLER in the
    scope says whose it is."""
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
    if origin is not None and _authority(origin) != host.lower():
        return repr(origin)
    fetched_by = headers.get("sec-fetch-site", "none")
    return None if fetched_by in ("same-origin", "none") else "another site"


def _authority(origin: str) -> str | None:
    """None: it is no origin, so it is nobody's that we know."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # as "http://[::1"
        return None


def _authorize(scope: Scope, rules: Rules, headers: Headers) -> ProblemResponse | None:
    need = rules.needs(scope["method"], scope["path"])
    found = rules.callers.identify(scope, headers, need)
    if isinstance(found, Denied):
        head = CHALLENGE if found.status == 401 else CLOSE
        if found.wait is not None:
            head = {"retry-after": str(found.wait), **head}
        return problem(found.status, found.why, headers=head, **found.members)
    scope[CALLER] = found
    return None


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
            await _read(receive, LITTLE, Body(Held(LITTLE)))


async def _read(receive: Receive, most: int, held: Body) -> Receive:
    """Read the body whole. Raises OverflowError when it is larger, EOFError when it breaks off, and
    TooMuchHeld."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise EOFError
        body += message.get("body", b"")
        if len(body) > most:
            raise OverflowError
        held.holds(len(body))
        more = message.get("more_body", False)
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay
