"""Who asks, by the token that is sent, and how much each may ask for.

Tokens are known by their SHA-256 alone. Without any token configured everybody who reaches the
gateway may use it. No I/O; nothing here waits.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING

from supervisor.config.gated import TokenConfig
from supervisor.core.groups import matches
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.guesses import Bucket, Guesses

if TYPE_CHECKING:
    from .heads import Head

log = logging.getLogger("ullage.gateway")

HEADERS = (b"authorization", b"x-api-key", b"api-key")  # OpenAI's, Anthropic's, Azure's
LONGEST = 4096  # bytes of a token; what is longer is not worth hashing
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
    gone: bool = False  # it is configured no more
    _bucket: Bucket | None = None
    _may: dict[ModelRef, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.token is not None:
            self.configured(self.token)

    def configured(self, token: TokenConfig) -> None:
        """What it may from now on. What is under way stays counted."""
        rate, before = token.per_minute, self.token
        if rate == 0:
            self._bucket = None
        elif self._bucket is None or before is None or before.per_minute != rate:
            self._bucket = Bucket(rate, 60.0 / rate, rate, self.clock())
        self.token = token
        self._may.clear()

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
        self._clock, self._wall, self._aliases = clock, wall, aliases
        self.anybody = Caller(clock=clock)  # without tokens, and on the Unix socket
        self.turn = 0  # grows whenever who may come, or how far, is another than before
        self.callers: tuple[Caller, ...] = ()
        self._known: tuple[tuple[bytes, Caller], ...] = ()
        self.guesses = Guesses(clock, log)
        self.take(tokens)

    def take(self, tokens: Iterable[TokenConfig]) -> tuple[Caller, ...]:
        """Those that there are from now on. Returns whose token is not among them any more: one
        of the same name that is another token is somebody else."""
        found, before = tuple(tokens), dict(self._known)
        if found == tuple(caller.token for caller in self.callers):
            return ()
        known: list[tuple[bytes, Caller]] = []
        for token in found:
            caller = before.pop(token.digest, None)
            if caller is None or caller.name != token.name:
                if caller is not None:
                    before[token.digest] = caller
                caller = Caller(token, self._aliases, self._clock)
            else:
                caller.configured(token)
            known.append((token.digest, caller))
        self.callers, self._known = tuple(caller for _, caller in known), tuple(known)
        self.turn += 1
        for caller in before.values():
            caller.gone = True
        return tuple(before.values())

    def identify(self, head: Head, peer: str | None) -> Caller | Refused:
        """Who sends this. `peer` is an IP address; None: the Unix socket, whose file's mode says
        who may."""
        if not self._known or peer is None:
            return self.anybody
        found: Caller | None = head.memo.get(self)
        if found is None or found.gone:
            sent = given(head)
            if sent is None:
                return Refused(401, "token", f"this needs a token: {HOW}", headers=CHALLENGE)
            digest = sha256(sent).digest()
            if self.guesses and (wait := self.guesses.shut_out(peer, digest)):
                return _too_many(wait)
            found = self._whose(digest)
            if found is None:
                wait = self.guesses.wrong(peer)
                text = "this token is not known here"
                return _too_many(wait) if wait else Refused(401, "token", text, headers=CHALLENGE)
            self.guesses.right(peer, digest)
            head.memo[self] = found
        assert found.token is not None
        expires = found.token.expires
        if expires is not None and self._wall() >= expires:
            text = f"token {found.token.name} has expired; ask for another"
            return Refused(401, "expired", text, headers=CHALLENGE)
        return found

    def _whose(self, digest: bytes) -> Caller | None:
        found = None
        for known, caller in self._known:  # all of them, however soon it is found
            if compare_digest(known, digest):
                found = caller
        return found


def _too_many(wait: float) -> Refused:
    text = "too many wrong tokens came from there; none is looked at for a while"
    return Refused(429, "token", text, float(math.ceil(wait)))


def given(head: Head) -> bytes | None:
    """The token that is sent, in whichever header. None: there is none."""
    for name in HEADERS:
        value = head.get(name)
        if value is None:
            continue
        if name == b"authorization":
            scheme, _, value = value.partition(b" ")
            if scheme.lower() != b"bearer":
                continue
        sent: bytes = value.strip()
        if 0 < len(sent) <= LONGEST:
            return sent
    return None
