"""Is this Ray one that a host may join? Facts in, findings out. Reads nothing.

Whoever reaches Ray's ports runs what he likes on every host, so: a token is asked for, nothing
listens where strangers are, the dashboard is off. A fact that is not known is None, and of that
nothing is found.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from supervisor.extras import EXTRAS

LEAST: Final = (2, 54)  # before it, anybody could have the dashboard delete jobs (CVE-2026-27482)
BELOW: Final = (3,)


@dataclass(frozen=True, slots=True)
class Rules:
    """As configured: `fleet.require_token` and `fleet.allow_outside`."""

    require_token: bool = True
    allow_outside: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """`mode`: RAY_AUTH_MODE, as it holds for Ray's processes here; "" where it is not set.
    `open_without`: Ray answered who sent no token. `listens`: addresses and ports at which Ray's
    processes listen on this host; `addresses`: those that this host has. `dashboard`: where it
    answers, "" where it is off. What other hosts have is told by fleet/troubles.py."""

    mode: str | None = None
    open_without: bool | None = None
    version: str | None = None
    dashboard: str | None = None
    listens: tuple[tuple[str, int], ...] | None = None
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """`refuses`: no host joins such a Ray."""

    about: str
    what: str
    remedy: str
    refuses: bool = True

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


def findings(facts: Facts, rules: Rules) -> tuple[Finding, ...]:
    return tuple(found for rule in _RULES for found in rule(facts, rules))


def refusals(facts: Facts, rules: Rules) -> tuple[Finding, ...]:
    return tuple(found for found in findings(facts, rules) if found.refuses)


_TOKEN = (
    "set RAY_AUTH_MODE=token for every `ray start` and for `ullage fleet join`, and give all the"
    " same token (`ray get-auth-token --generate`, RAY_AUTH_TOKEN_PATH)"
)


def _token(f: Facts, rules: Rules) -> Iterator[Finding]:
    harm = "whoever reaches its ports runs programs on every host"
    if f.open_without:
        yield Finding("token", f"Ray asks for no token: {harm}", _TOKEN, rules.require_token)
    elif f.mode is not None and f.mode != "token":
        said = f"RAY_AUTH_MODE is {f.mode}" if f.mode else "RAY_AUTH_MODE is not set"
        yield Finding("token", f"{said}, so Ray asks for no token here: {harm}", _TOKEN,
                      rules.require_token)  # fmt: skip


def _version(f: Facts, rules: Rules) -> Iterator[Finding]:
    if f.version is None:
        return
    own = numbers(f.version)
    if own < LEAST or own[:1] >= BELOW:
        least = ".".join(map(str, LEAST))
        what = f"this is Ray {f.version}, and {least} or newer is needed, below {BELOW[0]}"
        yield Finding("version", what, f"install {' '.join(EXTRAS['fleet'])} on every host")


def numbers(version: str) -> tuple[int, ...]:
    """What a version begins with: (2, 60, 0) of "2.60.0rc1"."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _dashboard(f: Facts, rules: Rules) -> Iterator[Finding]:
    if f.dashboard:
        what = f"Ray's dashboard is on, at {f.dashboard}"
        yield Finding("dashboard", what, "start Ray's head with --include-dashboard=false")


def _outside(f: Facts, rules: Rules) -> Iterator[Finding]:
    if f.listens is None:
        return
    outside = sorted({a for a in f.addresses if is_outside(a)})
    found = {(a, p) for a, p in f.listens if is_outside(a)}
    found |= {(a, p) for a, p in f.listens if _is_any(a) and outside}
    if not found:
        return
    where = sorted({a for a, _ in found if not _is_any(a)} | (
        {*outside} if any(_is_any(a) for a, _ in found) else set()))  # fmt: skip
    ports = ", ".join(str(p) for p in sorted({p for _, p in found})[:6])
    what = f"Ray listens at {', '.join(where)} (port {ports}), which is no private address"
    remedy = (
        "keep these ports to the hosts of the fleet by a firewall and set fleet.allow_outside, or"
        " start Ray with --node-ip-address of a private network"
    )
    yield Finding("outside", what, remedy, not rules.allow_outside)


def is_outside(address: str) -> bool:
    """Can strangers have a way there? Not to loopback, private and link-local addresses."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    shared = ip.version == 4 and ip in _SHARED
    return not (ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_unspecified or shared)


# Of carriers and of overlay networks as Tailscale: not reached from elsewhere.
_SHARED = ipaddress.ip_network("100.64.0.0/10")


def _is_any(address: str) -> bool:
    return address in ("0.0.0.0", "::")


_RULES: tuple[Callable[[Facts, Rules], Iterator[Finding]], ...] = (
    _token,
    _version,
    _dashboard,
    _outside,
)
