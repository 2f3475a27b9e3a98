"""Whose name is called, and which page is asking: looked at before anything else of a request.

Browsers are the way in for strangers: a page can rebind its name to this machine, and can post to
us without asking. So the Host must be a name of ours, whatever we listen on; and pages of other
sites may ask for nothing, not even by GET, unless their site was named (`gateway.cors_origins`).
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from supervisor.config.gated import ANY_ORIGIN, GatewayConfig
from supervisor.engines.wire import VIA
from supervisor.hosts import CONTAINERS, LOOPBACK, host_of
from supervisor.printable import printable

from .tokens import Refused

if TYPE_CHECKING:
    from .heads import Head

UNKNOWN = object()
TAKEN_FOR = b"600"  # seconds for which a browser need not ask again
METHODS = b"GET, POST, DELETE, HEAD, OPTIONS"
TOLD = b"retry-after, x-request-id, x-ullage-host, x-ullage-model, x-ullage-waited"
_HEADER_LIST = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, *")

Headers = tuple[tuple[bytes, bytes], ...]


class Guard:
    """`refuse`, then `preflight`, then tokens. `cors` are headers for the answer."""

    def __init__(self, config: GatewayConfig, hostname: str | None = None) -> None:
        """`hostname` is this machine's, which is asked for where it is not given."""
        own = (socket.gethostname() if hostname is None else hostname).lower()
        names = {h.strip("[]").lower() for h in (config.host, *config.allowed_hosts)}
        self._names = LOOPBACK | CONTAINERS | names | ({own, f"{own}.local"} if own else set())
        self._exposed = config.exposed
        self._origins = frozenset(o.encode() for o in config.cors_origins)
        self._any = ANY_ORIGIN in config.cors_origins

    def refuse(self, head: Head) -> Refused | None:
        """Why this may not pass, as far as its Host and its origin tell. None: it may."""
        found = head.memo.get(self, UNKNOWN)
        if found is UNKNOWN:
            found = head.memo[self] = self._refuse(head)
        refused: Refused | None = found
        return refused

    def _refuse(self, head: Head) -> Refused | None:
        host = origin = site = None
        hosts = 0
        for name, value in head.headers:
            if name == b"host":
                host, hosts = value, hosts + 1
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"via" and VIA.encode() in value:
                text = "this came from this gateway itself: an engine is registered at its address"
                return Refused(508, "loop", text)
        if hosts != 1 or host is None:
            return Refused(421, "host", f"a request names one Host, not {hosts}")
        if not self._is_ours(host):
            text = f"this server is not called {_shown(host)}; if it is, add it to"
            return Refused(421, "host", f"{text} gateway.allowed_hosts")
        if origin is not None:
            if origin.partition(b"://")[2].lower() == host.lower() or self._may(origin):
                return None
            text = f"a page of {_shown(origin)} may not ask here; if it should, add"
            return Refused(403, "origin", f'{text} "{_shown(origin)}" to gateway.cors_origins')
        if site is not None and site not in (b"same-origin", b"none"):
            return Refused(403, "origin", "a page of another site may not ask here")
        return None

    def preflight(self, head: Head) -> Headers | None:
        """The headers of a 204 for a browser that asks whether its page may ask. None: it does not
        ask that. Only for what was not refused."""
        origin = head.get(b"origin")
        if head.method != b"OPTIONS" or origin is None:
            return None
        if head.get(b"access-control-request-method") is None:
            return None
        headers = [
            *_allowed(origin),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-max-age", TAKEN_FOR),
        ]
        asked = head.get(b"access-control-request-headers")
        if asked and _HEADER_LIST.issuperset(asked):
            headers.append((b"access-control-allow-headers", asked))
        if head.get(b"access-control-request-private-network") == b"true":
            headers.append((b"access-control-allow-private-network", b"true"))
        return tuple(headers)

    def cors(self, head: Head) -> Headers:
        """What lets the page that asks read the answer, where its site was named. Of what was not
        refused; needed for every answer, those that tell of errors too."""
        if not self._origins:
            return ()
        origin = head.get(b"origin")
        if origin is None or not self._may(origin):
            return ((b"vary", b"origin"),)
        return (*_allowed(origin), (b"access-control-expose-headers", TOLD))

    def _may(self, origin: bytes) -> bool:
        return origin in self._origins or (self._any and origin != b"null")

    def _is_ours(self, host: bytes) -> bool:
        name = host_of(host.decode()) if host.isascii() else None
        if name is None:
            return False
        if name in self._names or name.endswith(".localhost"):
            return True
        # No page can be called by our address that does not come from us.
        return self._exposed and _is_address(name)


def _allowed(origin: bytes) -> Headers:
    return ((b"access-control-allow-origin", origin), (b"vary", b"origin"))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _shown(value: bytes) -> str:
    text = printable(value[:100].decode("ascii", "replace"), "?")
    return text.replace("\\", "?").replace('"', "?")
