"""Who asks, by the token that is sent or by the socket that it comes from, and how far each may go.

Tokens are known by their SHA-256 alone. No I/O; nothing here waits.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from supervisor.accounts import PEER, Accounts, Peer, own
from supervisor.config.entrusted import (
    ALL,
    CLOSING,
    FORCE,
    FREE,
    READ,
    WRITE,
    Entrusted,
    briefly,
    included,
    who_may,
)
from supervisor.guesses import Guesses

from .operations import SAFE

log = logging.getLogger("ullage.web")

CALLER = "ullage.caller"  # where the guard says in the scope of a request who it is
LONGEST = 4096  # bytes of a token; what is longer is not worth hashing
SAID_AGAIN = 60.0  # seconds; whoever retries with a wrong token writes no line for each try

# No token, a wrong one, one that has expired or has not the scope; too many wrong ones came from
# there; none is asked for, and this is another machine.
WHYS = ("none", "unknown", "expired", "scope", "slowed", "machine")

HOW = "as 'Authorization: Bearer ...'"
HOW_TO_TOKEN = f"set listen.token_file or ULLAGE_TOKEN, and send it {HOW}"
LOOKS = included((READ,))


@dataclass(frozen=True, slots=True)
class Caller:
    """`scopes` is what it may do, `force` whether an alert of its may act unchecked. `via` is how
    it is known: by a "token", by the "socket" that it came from, or because it is "local".
    `proof` is the SHA-256 of its token."""

    name: str
    scopes: frozenset[str] = ALL
    via: str = "token"
    proof: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def force(self) -> bool:
        return FORCE in self.scopes


# What a proxy adds: whoever is behind one on this machine is not known to be on it. Nothing else is
# made of them, for anybody can send them.
PROXIED = frozenset({"forwarded", "x-forwarded-for", "x-real-ip"})

MAIN = "token"  # what who sends listen.token is called
LOCAL = Caller("local", ALL - {FORCE}, "local")
LOOKER = Caller("local", LOOKS, "local")  # from elsewhere, where nobody needs a token
NOBODY = Caller("", frozenset(), "")  # whoever asks for what is free


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a request may not pass: its status, a sentence, and `members` for programs."""

    status: int
    why: str
    members: dict[str, Any] = field(default_factory=dict)
    wait: int | None = None  # seconds after which it is worth to ask again


@dataclass(slots=True)
class Use:
    """What was done with one token. Unix time."""

    requests: int = 0
    used_at: float | None = None


class Callers:
    """`token` says which one may do everything, `entrusted` which may do so much and no more. Both
    are asked at each request: tokens come and go while we run. Without any that closes the API,
    this machine may do everything but `alerts:force`. `group` is that of the Unix socket's."""

    def __init__(
        self,
        token: Callable[[], str | None] = lambda: None,
        entrusted: Callable[[], Iterable[Entrusted]] = tuple,
        group: int | None = None,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token, self._entrusted, self._group = token, entrusted, group
        self._wall, self._clock = wall, clock
        self._uses: dict[str, Use] = {}
        self._said: dict[str, float] = {}
        self.waking: set[Callable[[], None]] = set()  # of whoever stays
        self.accounts = Accounts()
        self.guesses = Guesses(clock, log)
        self.refused: Counter[str] = Counter()  # by why, as WHYS has them
        self.alert_refused_at: float | None = None  # Unix time

    # -- who there is

    @property
    def known(self) -> tuple[Entrusted, ...]:
        """All of them, that of listen.token among them."""
        main = self._token()
        found = tuple(self._entrusted())
        if main is None:
            return found
        return (Entrusted(MAIN, sha256(main.encode()).digest(), ALL), *found)

    @property
    def state(self) -> dict[str, Any]:
        """As JSON, without anything that is secret."""
        at = self.alert_refused_at
        return {"tokens": self.rows, "refused": dict(self.refused), "alert_refused_at": at}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of each token: its name, what it may do, and how it was used. As JSON."""
        rows = []
        for token in self.known:
            use = self._uses.get(token.name, Use())
            row = {"name": token.name, "scopes": briefly(token.scopes), "expires": token.expires}
            rows.append(row | {"requests": use.requests, "used_at": use.used_at})
        return rows

    # -- who this is

    def identify(self, scope: Scope, headers: Headers, need: str) -> Caller | Denied:
        """Who sends this, or why it may not be answered. `need` is the scope that it takes."""
        if need == FREE:
            return NOBODY
        by_socket = self._connected(scope)
        if by_socket is not None and need in by_socket.scopes:
            return by_socket
        given, known = _given(headers), self.known
        digest = None if given is None else sha256(given).digest()
        peer = _address(scope)
        if digest is not None:
            if self.guesses and (wait := self.guesses.shut_out(peer, digest)):
                return self._slowed(wait, need)
            if (token := _whose(digest, known)) is not None:
                return self._as_far(token, need, scope, peer)
        if by_socket is not None:
            return self._short(by_socket.name, by_socket.scopes, need, scope)
        if is_closed(known) or (need == WRITE and any(WRITE in t.scopes for t in known)):
            if digest is not None:
                wait = self.guesses.wrong(peer)
                why = "this token is not known here"
                return self._slowed(wait, need) if wait else self._deny(401, "unknown", why, need)
            why = f"this needs a token with {' or '.join(who_may(need))}, {HOW}"
            return self._deny(401, "none", why, need)
        if _is_loopback(peer) and PROXIED.isdisjoint(headers):
            return LOCAL
        if scope["method"] in SAFE and need in LOOKS:
            return LOOKER
        why = f"without a token only this machine may change things; {HOW_TO_TOKEN}"
        return self._deny(403, "machine", why, need)

    def _connected(self, scope: Scope) -> Caller | None:
        """Who has come by the Unix socket. Whose the kernel does not tell may look."""
        if not is_local_socket(scope):
            return None
        peer: Peer | None = scope.get(PEER)
        if peer is None:
            return Caller("socket", LOOKS, "socket")
        rules = own(peer.uid) or (self._group is not None and self._group in peer.groups)
        return Caller(self.accounts.called(peer.uid), ALL if rules else LOOKS, "socket")

    def _as_far(self, token: Entrusted, need: str, scope: Scope, peer: str) -> Caller | Denied:
        """`token` is good for what its scopes say, until its time is over."""
        now = self._wall()
        if token.expires is not None and now >= token.expires:
            text = f"token {token.name} has expired; `ullage token` makes another"
            return self._deny(401, "expired", text, need)
        if need not in token.scopes:
            return self._short(f"token {token.name}", token.scopes, need, scope)
        use = self._uses.setdefault(token.name, Use())
        use.requests, use.used_at = use.requests + 1, now
        self.guesses.right(peer, token.digest)
        return Caller(token.name, token.scopes, "token", token.digest)

    # -- for as long as it stays

    def left(self, caller: Caller, need: str) -> float:
        """For how many seconds more it may stay, by what is known now. 0.0: no longer."""
        if caller.via == "socket":
            return math.inf  # whose it is was settled when it came
        if caller.proof is None:
            return 0.0 if is_closed(self.known) else math.inf
        token = _whose(caller.proof, self.known)
        if token is None or need not in token.scopes:
            return 0.0
        return math.inf if token.expires is None else max(0.0, token.expires - self._wall())

    def changed(self) -> None:
        """Other tokens are known than before."""
        names = {token.name for token in self.known}
        for gone in self._uses.keys() - names:
            del self._uses[gone]
        for wake in list(self.waking):
            wake()

    # -- no

    def _short(self, who: str, has: frozenset[str], need: str, scope: Scope) -> Denied:
        said = ", ".join(briefly(has)) or "no scope"
        text = f"{scope['method']} {scope['path']} needs {need}; {who} has {said}"
        return self._deny(403, "scope", text, need, {"needs": need, "has": sorted(has)})

    def _slowed(self, wait: float, need: str) -> Denied:
        text = "too many wrong tokens came from there; none is looked at for a while"
        return self._deny(429, "slowed", text, need, wait=max(1, math.ceil(wait)))

    def _deny(
        self,
        status: int,
        kind: str,
        why: str,
        need: str,
        members: dict[str, Any] | None = None,
        wait: int | None = None,
    ) -> Denied:
        """Senders of alerts do not show what they are answered: what they are refused is logged."""
        self.refused[kind] += 1
        if need == WRITE:
            self.alert_refused_at = self._wall()
            now, said = self._clock(), self._said.get(kind)
            if said is None or now - said >= SAID_AGAIN:
                self._said[kind] = now
                log.warning("an alert is refused: %s", why)
        return Denied(status, why, members or {}, wait)


@dataclass(frozen=True, slots=True)
class Stay:
    """An answer that goes on, for as long as its caller may have it."""

    callers: Callers
    caller: Caller
    need: str

    def left(self) -> float:
        return self.callers.left(self.caller, self.need)

    def begun(self, wake: Callable[[], None]) -> None:
        """`wake` is called when it is worth to ask again how long is left."""
        self.callers.waking.add(wake)

    def over(self, wake: Callable[[], None]) -> None:
        self.callers.waking.discard(wake)


def is_closed(known: Iterable[Entrusted]) -> bool:
    """Whoever asks needs a token, on this machine too: also when those there are have expired."""
    return any(token.scopes & CLOSING for token in known)


def _whose(digest: bytes, known: Iterable[Entrusted]) -> Entrusted | None:
    found = None
    for token in known:  # all of them, however soon it is found
        if compare_digest(token.digest, digest):
            found = token
    return found


def is_local_socket(scope: Scope) -> bool:
    """Our end is a unix socket: a path has no port. Its file's mode says who may connect."""
    server = scope.get("server")
    return server is not None and server[1] is None and scope.get("client") is None


def _address(scope: Scope) -> str:
    """Whence it comes. "": there is no telling."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_loopback(address: str) -> bool:
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return (mapped or peer).is_loopback  # listening on "::" shows 127.0.0.1 as ::ffff:127.0.0.1


def _given(headers: Headers) -> bytes | None:
    """The token that is sent. None: there is none."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    token = given.strip().encode("latin-1", "replace")
    return token if scheme.lower() == "bearer" and 0 < len(token) <= LONGEST else None
