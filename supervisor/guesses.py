"""Wrong tokens, counted by where they come from: whoever guesses is slowed down.

A place from which too many came is shut out for a while, with a right token too: else whoever
guesses there would only have to go on. Tokens that were good there before are let through, so that
nobody's neighbour can shut them out. Bounded, whoever comes. No I/O; nothing here waits.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from dataclasses import dataclass

WRONG_AT_ONCE, WRONG_EACH = 20, 3.0  # wrong tokens of a place: so many, then one in so many seconds
PLACES = 1024  # that are remembered for wrong tokens; the one that was quiet longest is forgotten
FAMILIAR = 4096  # places with a token that was good there; likewise


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


class Guesses:
    """`clock` is monotonic, in seconds. `peer` is an IP address. Of this machine's wrong tokens
    too many are refused as well, but nothing else that comes from it."""

    def __init__(self, clock: Callable[[], float], log: logging.Logger) -> None:
        self._clock, self._log = clock, log
        self._wrong: dict[str, Bucket] = {}
        self._familiar: dict[tuple[str | None, bytes | None], None] = {}

    def __bool__(self) -> bool:
        """Whether anybody has guessed: else there is nothing to look up."""
        return bool(self._wrong)

    def shut_out(self, peer: str, digest: bytes | None = None) -> float:
        """For how many seconds nothing is looked at that comes from there. 0.0: there were few
        wrong ones, or the token with this SHA-256 was good there before."""
        place = place_of(peer)
        bucket = None if place is None else self._wrong.get(place)
        if bucket is None or (place, digest) in self._familiar:
            return 0.0
        level = bucket.level + (self._clock() - bucket.at) / bucket.each
        return 0.0 if level >= 1.0 else (1.0 - level) * bucket.each

    def wrong(self, peer: str) -> float:
        """One came from there. 0.0, or for how many seconds none is looked at."""
        place, now = place_of(peer) or peer, self._clock()
        bucket = self._wrong.pop(place, None)
        if bucket is None:
            while len(self._wrong) >= PLACES:
                del self._wrong[next(iter(self._wrong))]
            bucket = Bucket(WRONG_AT_ONCE, WRONG_EACH, WRONG_AT_ONCE, now)
        self._wrong[place] = bucket  # the last to be forgotten
        wait = bucket.take(now)
        if not wait and bucket.level < 1.0:
            said = "%s sends one wrong token after the other; it is slowed down"
            self._log.warning(said, place)
        return wait

    def right(self, peer: str, digest: bytes) -> None:
        """That token was good there."""
        place = place_of(peer)
        if place is None:
            return
        self._familiar.pop((place, digest), None)
        while len(self._familiar) >= FAMILIAR:
            del self._familiar[next(iter(self._familiar))]
        self._familiar[place, digest] = None


def place_of(peer: str) -> str | None:
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
