"""On whose behalf a request comes: an agent or a session, as far as it says so.

A name is what unload-on-switch, fair shares and leases go by. It is bounded in length and in
number, and what one token says can never be taken for what another said.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from supervisor.printable import printable

from .tokens import Caller

if TYPE_CHECKING:
    from .heads import Head

SESSION, LEASE, PRIORITY = b"x-ullage-session", b"x-ullage-lease", b"x-ullage-priority"
LONGEST = 100  # characters of a name; of a longer one the rest is told by a few digits
MOST = 1024  # names at once; those beyond are one
SILENT = 3600.0  # seconds after which a name is somebody else's to take
OTHERS = "_other"
LONGEST_LEASE = 128
HIGHEST = 20  # as in the configuration, and as low below 0


class Sessions:
    """`clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._names: dict[tuple[str, str | bytes], str] = {}
        self._heard: dict[str, float] = {}
        self._tidied = float("-inf")

    def who(self, head: Head, user: str | None, caller: Caller) -> str:
        """`X-Ullage-Session`, else the token's name, else the body's `user`; "" where none is said.
        What a token calls itself stands behind its name, as "laptop/agent-1"."""
        memo = head.memo
        said: str | bytes | None = memo[SESSION] if SESSION in memo else head.get(SESSION)
        memo[SESSION] = said
        if not said:
            if caller.token is not None:
                return caller.name
            if not user:
                return ""
            said = user
        # Kept for an hour: who calls itself by a whole text is told by its digest.
        key = (caller.name, said if len(said) <= LONGEST else _digest(said))
        name = self._names.get(key)
        if name is None:
            name = self._take(key, said)
            if name == OTHERS or not name:
                return name
        self._heard[name] = self._clock()
        return name

    def __len__(self) -> int:
        return len(self._heard)

    def _take(self, key: tuple[str, str | bytes], said: str | bytes) -> str:
        token, own = key[0], _plain(said)
        if not own:
            return token
        if len(self._names) >= MOST:
            self._forget()
        if len(self._names) >= MOST:
            return OTHERS
        name = self._names[key] = f"{token}/{own}" if token else own
        return name

    def _forget(self) -> None:
        """Those that were silent for an hour. Looked for at most once a second: a thousand names
        that are all in use would otherwise make every new one expensive."""
        now = self._clock()
        if now - self._tidied < 1.0:
            return
        self._tidied, silent = now, now - SILENT
        self._heard = {n: at for n, at in self._heard.items() if at > silent}
        self._names = {k: n for k, n in self._names.items() if n in self._heard}


def lease_of(head: Head) -> str | None:
    """The lease that the request says it belongs to."""
    said = head.get(LEASE)
    if not said or len(said) > LONGEST_LEASE:
        return None
    return _plain(said) or None


def priority_of(head: Head, caller: Caller) -> int:
    """What the request says of its own, else the token's. With a token it may be lower, and never
    higher."""
    said = head.get(PRIORITY)
    if said is None:
        return caller.priority
    try:
        wanted = int(said) if len(said) <= 4 else caller.priority
    except ValueError:
        return caller.priority
    wanted = max(-HIGHEST, min(HIGHEST, wanted))
    return wanted if caller.token is None else min(wanted, caller.priority)


def _digest(said: str | bytes) -> bytes:
    return sha256(said if isinstance(said, bytes) else said.encode("utf-8", "replace")).digest()


def _plain(said: str | bytes) -> str:
    """Printable, on one line, and not too long; two that differ stay two."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    whole = printable(text.strip(), "?")
    if len(whole) <= LONGEST:
        return whole
    digits = sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{whole[: LONGEST - 9]}~{digits}"
