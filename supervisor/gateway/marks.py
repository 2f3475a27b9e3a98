"""The mark of requests that were placed: what goes along with one to another host's gateway, and
whom that believes. Whoever is believed was placed already, and is never placed again.

The word of a request alone is nothing: it counts with the fleet's token, and is passed on to
nobody else (`heads.forward` takes off whatever is called x-ullage-…).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from supervisor.config.gated import TokenConfig
from supervisor.engines.wire import VIA

from .sessions import HIGHEST, PRIORITY, SESSION
from .tokens import Caller, given

if TYPE_CHECKING:
    from .heads import Head, Headers

PLACED: Final = b"x-ullage-placed"  # by which host
HOST: Final = b"x-ullage-host"  # of an answer: which host gave it
REFUSED: Final = b"x-ullage-refused"  # of an answer: the other gateway's own word why not
MODEL: Final = b"x-ullage-model"

# What another host may refuse and a third may grant. What is wrong with the request itself is so
# everywhere, and who has waited for as long as it may has done so.
ELSEWHERE: Final = frozenset(
    b"queue_full insufficient_memory model_load_failed model_cooling_down stopping starting"
    b" engine_down engine_gone engine_failed paused engine_drained model_not_found".split()
)
# The other gateway does not take us for one of its fleet, or for anybody at all.
_SHUT: Final = frozenset((401, 403, 421, 429, 508))


class Marks:
    """`tokens` are the fleet's: the first is sent, each is believed; without any no word is.
    `turn` is another once they are others."""

    def __init__(self, tokens: Iterable[str] = (), own: str = "") -> None:
        self._own = _plain(own.encode("ascii", "replace"))
        self._tokens: tuple[str, ...] = ()
        self._bearer, self._digests = b"", tuple[bytes, ...]()
        # Without a name: who asks is whoever the other host says, or nobody in particular.
        self.caller = Caller(TokenConfig("", b"", priority=HIGHEST))
        self.turn = 0
        self.take(tokens)

    def take(self, tokens: Iterable[str]) -> None:
        """These from now on. What another host has placed here already stays here to its end."""
        tokens = tuple(tokens)
        if tokens == self._tokens:
            return
        self._tokens, self.turn = tokens, self.turn + 1
        self._bearer = b"Bearer " + tokens[0].encode() if tokens else b""
        self._digests = tuple(sha256(token.encode()).digest() for token in tokens)

    def believed(self, head: Head) -> bool:
        """Does it come from another host of the fleet, which has placed it here?"""
        if not self._digests or head.get(PLACED) is None:
            return False
        token = given(head)
        if token is None:
            return False
        found = sha256(token).digest()
        # All of them, however soon it is found.
        return True in [compare_digest(found, digest) for digest in self._digests]

    def added(self, head: Head, client: str, priority: int) -> Headers:
        """What a request to another host's gateway has besides: the token, the mark, on whose
        behalf it comes; and by whom it came, each gateway of them, so that it is known to one that
        it has passed already."""
        via = b", ".join([v for n, v in head.headers if n == b"via"] + [VIA.encode()])
        found = [(b"authorization", self._bearer), (PLACED, self._own), (b"via", via)]
        found.append((PRIORITY, b"%d" % priority))
        if client:
            found.append((SESSION, _plain(client.encode())))
        return tuple(found)


def refused(status: int, headers: Headers) -> str | None:
    """Why another host's gateway has refused what a third may take; None: it has answered."""
    said = dict(headers)
    why = said.get(REFUSED)
    if why is not None:
        return why.decode("ascii", "replace") if why in ELSEWHERE else None
    if status in _SHUT and MODEL not in said:
        return f"{status}, for it does not know this host's token, or not its own name"
    return None


def _plain(value: bytes) -> bytes:
    return bytes(b for b in value if 32 <= b != 127)
