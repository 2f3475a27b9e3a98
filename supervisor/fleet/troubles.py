"""What is wrong with the hosts that are heard of, in sentences: each says what would be right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from collectors.reading import Seconds
from supervisor.core.wording import duration
from supervisor.printable import printable

from .hosts import Directory, Host, HostId, Presence, Word

CLOCKS_OFF: Final = Seconds(300.0)  # two wall clocks that are further apart are worth telling
LONGEST: Final = 40  # characters of a version that are shown


def troubles(
    directory: Directory,
    own_wall: float,
    own: HostId | None = None,
    engines: Mapping[HostId, str] = MappingProxyType({}),
) -> list[str]:
    """`own_wall` is Unix time here, at the directory's own instant; `own` is this host; `engines`
    are versions of what holds the fleet together, by host. Of who is lost nothing is said."""
    here = sorted(
        (h for h in directory.hosts.values() if h.presence is not Presence.LOST),
        key=lambda h: h.id,
    )
    return [
        *_clocks(here, directory.at, own_wall),
        *_without_pools(here),
        *_shared(here),
        *_versions({h.id: h.word.version for h in here}, own, "Ullage", _ONE_BY_ONE),
        *_versions({h.id: engines[h.id] for h in here if h.id in engines}, own, "Ray", _AT_ONCE),
    ]


_ONE_BY_ONE = "upgrade one host after the other, until all have the same"
_AT_ONCE = "Ray wants one version on all nodes: drain and stop all, upgrade, start the head first"


def _versions(
    found: Mapping[HostId, str], own: HostId | None, of: str, remedy: str
) -> Iterator[str]:
    """Who has another than this host, by version. One that is not told is no other."""
    mine = found.get(own, "") if own is not None else ""
    others: dict[str, list[HostId]] = {}
    for host, version in found.items():
        if mine and version and version != mine:
            others.setdefault(version, []).append(host)
    for version, hosts in sorted(others.items()):
        who = f"{_listed(hosts)} {'has' if len(hosts) == 1 else 'have'}"
        yield f"{who} {of} {_short(version)}, and this host {_short(mine)}: {remedy}"


def _short(version: str) -> str:
    return printable(version[:LONGEST])


def _clocks(here: list[Host], at: Seconds, own_wall: float) -> list[str]:
    off = {h.id: h.word.wall - (own_wall - (at - h.heard)) for h in here}
    far = {id: by for id, by in off.items() if abs(by) > CLOCKS_OFF}
    ahead = sum(by > 0 for by in far.values())
    if len(far) > 1 and len(far) > len(here) / 2 and ahead in (0, len(far)):
        by = sorted(far.values(), key=abs)[len(far) // 2]
        told = f"{duration(abs(by))} {'behind' if ahead else 'ahead of'}"
        return [
            f"this host's clock is {told} those of {_listed(far)}: set it by NTP."
            " Only times that are shown are wrong by it"
        ]
    return [
        f"the clock of {printable(id)} is {duration(abs(by))} {'ahead of' if by > 0 else 'behind'}"
        " this host's: set both by NTP. Only times that are shown are wrong by it"
        for id, by in far.items()
    ]


def _without_pools(here: list[Host]) -> list[str]:
    return [
        f"{printable(h.id)} has no pools: nothing is placed there."
        " `ullage doctor` on that host says what cannot be read"
        for h in here
        if not h.word.spaces
    ]


def _shared(here: list[Host]) -> list[str]:
    """What only one of two hosts can have."""
    found: list[str] = []
    for one, other in _pairs(here, lambda w: w.host.casefold()):
        found.append(
            f"{one} and {other} differ by case alone: give each host a name of its own,"
            " by `name` under [fleet]"
        )
    for one, other in _pairs(here, lambda w: w.epoch):
        found.append(f"{one} and {other} are one daemon, told of by two agents: stop one of them")
    for one, other in _pairs(here, lambda w: w.address):
        found.append(
            f"{one} and {other} have one address: requests for one reach the other."
            " Set `address` under [fleet]"
        )
    return found


def _pairs(here: list[Host], key: Callable[[Word], str | None]) -> Iterator[tuple[str, str]]:
    """Each that has the same as one before it, with that one."""
    first: dict[str, HostId] = {}
    for host in here:
        what = key(host.word)
        if what is not None:
            if what in first:
                yield printable(first[what]), printable(host.id)
            else:
                first[what] = host.id


def _listed(hosts: Iterable[HostId], most: int = 5) -> str:
    names = [printable(h) for h in hosts]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
