"""Who asks, by the token that is sent, and how much each may ask for.

Tokens are known by their SHA-256 alone. Without any token configured everybody who reaches the
gateway may use it. No I/O; nothing here waits.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING

from supervisor.core.groups import matches
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.gated import TokenConfig

if TYPE_CHECKING:
    from .heads import Head

log = logging.getLogger("ullage.gateway")

HEADERS = (b"authorization", b"x-api-key", b"api-key")  # OpenAI's, Anthropic's, Azure's
LONGEST = 4096  # bytes of a token; what is longer is not worth hashing
WRONG_AT_ONCE, WRONG_EACH = 20, 3.0  # wrong tokens of a peer: so many, then one in so many seconds
PEERS = 1024  # that are remembered for wrong tokens; the one that was quiet longest is forgotten
MODELS = 1024  # of which each caller remembers whether it may use them
CHALLENGE = ((b"www-authenticate", b'Bearer realm="ullage"'),)
HOW = "send it as 'Authorization: Bearer ...' or 'x-api-key: ...'"


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request may not pass: its status, a word for programs and metrics, and a sentence."""

    status: int
    why: str
    message: str
    retry_after: float | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class Bucket:
    """What may be done `most` times at once, and then once each `each` seconds."""

    most: float
    each: float
    level: float
    at: float

    def take(self, now: float) -> float:
        """Take one. 0.0, or how long until there is one again; then nothing was taken."""
        self.level = min(self.most, self.level + max(0.0, now - self.at) / self.each)
        self.at = now
        if self.level < 1.0:
            return (1.0 - self.level) * self.each
        self.level -= 1.0
        return 0.0


class Pass:
    """One request of a caller, counted until its `end`; more than one end are harmless."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller: Caller | None = caller

    def end(self) -> None:
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.in_flight -= 1


@dataclass(slots=True, eq=False)
class Caller:
    """A token, and what is done with it. `token` None: there are no tokens, or none is needed.

    `in_flight` counts requests from `begin` on, held ones too; `requests` all there ever were.
    """

    token: TokenConfig | None = None
    aliases: Container[str] = ()
    clock: Callable[[], float] = time.monotonic
    in_flight: int = 0
    requests: int = 0
    used_at: float | None = None  # on the clock
    _bucket: Bucket | None = None
    _may: dict[ModelRef, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.token is not None and (rate := self.token.per_minute):
            self._bucket = Bucket(rate, 60.0 / rate, rate, self.clock())

    @property
    def name(self) -> str:
        return "" if self.token is None else self.token.name

    @property
    def priority(self) -> int:
        return 0 if self.token is None else self.token.priority

    def begin(self) -> Pass | Refused:
        """One request more, if there may be one."""
        token = self.token
        if token is not None:
            if token.max_in_flight and self.in_flight >= token.max_in_flight:
                text = f"token {token.name} has {self.in_flight} requests under way, as many as it"
                return Refused(429, "limit", f"{text} may have at once", 1.0)
            self.used_at = self.clock()
            if self._bucket is not None and (wait := self._bucket.take(self.used_at)):
                text = f"token {token.name} may ask {token.per_minute} times a minute, and has"
                return Refused(429, "limit", text, float(math.ceil(wait)))
        self.in_flight += 1
        self.requests += 1
        return Pass(self)

    def may_use(self, ref: ModelRef, asked: str = "") -> bool:
        """May it use this model, which was `asked` for by that name?"""
        token = self.token
        if token is None or (token.models is None and token.engines is None):
            return True
        if token.engines is not None and ref.engine not in token.engines:
            return False
        if token.models is None:
            return True
        may = self._may.get(ref)
        if may is None:
            if len(self._may) >= MODELS:
                self._may.clear()
            may = self._may[ref] = any(matches(p, ref) for p in token.models)
        if may or asked not in self.aliases:
            return may
        return any(names_alias(pattern, asked) for pattern in token.models)


def names_alias(pattern: str, alias: str) -> bool:
    """An alias has no engine: it is matched by its name alone."""
    return matches(pattern, ModelRef(EngineId(""), ModelId(alias)))


class Tokens:
    """`wall` is Unix time, for what expires; `clock` is monotonic, for limits."""

    def __init__(
        self,
        tokens: Iterable[TokenConfig] = (),
        aliases: Container[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._wall = clock, wall
        self.callers = tuple(Caller(t, aliases, clock) for t in tokens)
        self.anybody = Caller(clock=clock)  # without tokens, and on the Unix socket
        self._known = tuple((c.token.digest, c) for c in self.callers if c.token is not None)
        self._wrong: dict[str, Bucket] = {}

    def identify(self, head: Head, peer: str | None) -> Caller | Refused:
        """Who sends this. `peer` is an IP address; None: the Unix socket, whose file's mode says
        who may."""
        if not self._known or peer is None:
            return self.anybody
        if self._wrong and (wait := self._shut_out(_source(peer))):
            return _too_many(wait)
        found: Caller | None = head.memo.get(self)
        if found is None:
            given = _given(head)
            if given is None:
                return Refused(401, "token", f"this needs a token: {HOW}", headers=CHALLENGE)
            found = self._whose(given)
            if found is None:
                return self._is_wrong(_source(peer) or peer)
            head.memo[self] = found
        assert found.token is not None
        expires = found.token.expires
        if expires is not None and self._wall() >= expires:
            text = f"token {found.token.name} has expired; ask for another"
            return Refused(401, "expired", text, headers=CHALLENGE)
        return found

    def _whose(self, given: bytes) -> Caller | None:
        digest, found = sha256(given).digest(), None
        for known, caller in self._known:  # all of them, however soon it is found
            if compare_digest(known, digest):
                found = caller
        return found

    def _shut_out(self, whence: str | None) -> float:
        """How long nothing is looked at that comes from there, after too many wrong tokens."""
        bucket = None if whence is None else self._wrong.get(whence)
        if bucket is None:
            return 0.0
        level = bucket.level + (self._clock() - bucket.at) / bucket.each
        return 0.0 if level >= 1.0 else (1.0 - level) * bucket.each

    def _is_wrong(self, whence: str) -> Refused:
        now = self._clock()
        bucket = self._wrong.pop(whence, None)
        if bucket is None:
            while len(self._wrong) >= PEERS:
                del self._wrong[next(iter(self._wrong))]
            bucket = Bucket(WRONG_AT_ONCE, WRONG_EACH, WRONG_AT_ONCE, now)
        self._wrong[whence] = bucket  # the last to be forgotten
        wait = bucket.take(now)
        if wait:
            return _too_many(wait)
        if bucket.level < 1.0:
            log.warning("%s sends one wrong token after the other; it is slowed down", whence)
        return Refused(401, "token", "this token is not known here", headers=CHALLENGE)


def _too_many(wait: float) -> Refused:
    text = "too many wrong tokens came from there; none is looked at for a while"
    return Refused(429, "token", text, float(math.ceil(wait)))


def _given(head: Head) -> bytes | None:
    """The token that is sent, in whichever header. None: there is none."""
    for name in HEADERS:
        value = head.get(name)
        if value is None:
            continue
        if name == b"authorization":
            scheme, _, value = value.partition(b" ")
            if scheme.lower() != b"bearer":
                continue
        given: bytes = value.strip()
        if 0 < len(given) <= LONGEST:
            return given
    return None


def _source(peer: str) -> str | None:
    """Whose guesses are counted together: an address, or a network of one in IPv6, where each has
    billions. None: this machine, on which one client's mistake must not shut out the others."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            if address.is_loopback:
                return None
            return f"{ipaddress.ip_network((int(address) >> 64 << 64, 64))}"
        address = address.ipv4_mapped
    return None if address.is_loopback else str(address)
