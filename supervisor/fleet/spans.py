"""Models that span hosts, as the directory tells of them: who holds what part, and whether all of
them are there. And what a host does with a part when they are not.

A part is there by its host's own word. A host that is silent is believed still; one that is lost
is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from supervisor.core.status import Status
from supervisor.printable import printable

from .hosts import Directory, Host, HostId, Housed, Part, Presence
from .index import LATEST

# With its engine silent nobody can tell; what was told to go works until it has gone.
THERE = frozenset(s.value for s in (Status.LOADED, Status.LOADING, Status.LEAVING, Status.UNKNOWN))
PARTS = "/"  # between a claim and the host of the part that is coming by it
_HEARD = frozenset({Presence.HERE, Presence.DRAINED})


class Member(NamedTuple):
    """A host with its part. `housed`: the model there, None: its word knows no such model."""

    host: Host
    part: Part
    housed: Housed | None

    @property
    def id(self) -> HostId:
        return self.host.id

    @property
    def there(self) -> bool:
        """Is the part loaded, or being loaded, as far as that is known?"""
        housed = self.housed
        known = housed is not None and housed.status in THERE
        return known and self.host.presence is not Presence.LOST

    @property
    def leaves(self) -> bool:
        """Was it told to go?"""
        return self.housed is not None and self.housed.status == Status.LEAVING.value

    @property
    def ready(self) -> bool:
        """Could it be worked with now?"""
        return self.there and self.housed is not None and self.housed.status == Status.LOADED.value


class Grounds(NamedTuple):
    """Why a host lets its part go. `said`: a host's own word says so; else it is that somebody is
    not heard of, which may be over soon."""

    why: str
    said: bool


def called(directory: Directory, name: str) -> str | None:
    """The span that `name` means: as it is called, or as its leader's engine has it."""
    for host in directory.hosts.values():
        for part in host.word.parts:
            if name in _names(part):
                return part.span
    return None


def names(directory: Directory) -> tuple[str, ...]:
    """Of all spans, in order."""
    found = {part.span for host in directory.hosts.values() for part in host.word.parts}
    return tuple(sorted(found))


def members(directory: Directory, span: str) -> dict[HostId, Member]:
    """Who has a part of it, by name."""
    found = {m.id: m for host in directory.hosts.values() for m in _parts(host, span)}
    return {host: found[host] for host in sorted(found)}


def followers(found: dict[HostId, Member], leader: Member) -> list[Member]:
    """Those that may hold the other parts for `leader`, as far as they are known, by name."""
    mine = (found.get(host) for host in sorted(leader.part.others))
    return [m for m in mine if m is not None and not m.part.leads]


def lacking(found: dict[HostId, Member], leader: Member) -> int:
    """How many parts are not there."""
    there = sum(m.there for m in followers(found, leader))
    return max(0, leader.part.hosts - 1 - there)


def grounds(directory: Directory, own: HostId, part: Part) -> Grounds | None:
    """Why the host `own` lets go of its `part`, which is there. None: it keeps it, as far as is
    known."""
    mine = (p for p in directory.promises if p.model == part.span and p.host == own)
    if any(PARTS not in p.id and directory.at < p.until for p in mine):
        return None  # the claim of all; what only bars others says nothing of the rest
    found = members(directory, part.span)
    return _of_leader(found, own) if part.leads else _of_follower(found, own)


def span_troubles(directory: Directory) -> list[str]:
    """What hosts say of spans and does not go together, in sentences."""
    found: list[str] = []
    for span in names(directory):
        mine = members(directory, span)
        for member in mine.values():
            where = f"{printable(span)}: {printable(member.id)}"
            if member.host.presence is Presence.LOST:
                continue
            if member.housed is None:
                model = printable(member.part.model)
                found.append(f"{where} is to hold {model} of it, and no engine there has that")
            found += [f"{where}, which leads it, takes {printable(host)} for a part, and that host"
                      " has no table for it under [fleet.spans], or leads it too"
                      for host in member.part.others
                      if _says_nothing(directory, mine, host)]  # fmt: skip
    return found


def _says_nothing(directory: Directory, mine: dict[HostId, Member], host: HostId) -> bool:
    """Of hosts that are heard of: it holds no part, or it leads."""
    known = directory.hosts.get(host)
    if known is None or known.presence is Presence.LOST:
        return False
    return host not in mine or mine[host].part.leads


def span_rows(directory: Directory) -> list[dict[str, Any]]:
    """All spans for people: how each is, and who has what of it. By name."""
    return [_row(name, members(directory, name)) for name in names(directory)]


def _of_follower(found: dict[HostId, Member], own: HostId) -> Grounds | None:
    leaders = [m for m in found.values() if m.part.leads and own in m.part.others]
    if any(m.there or m.host.presence is Presence.SILENT for m in leaders):
        return None
    if not leaders:
        return Grounds("no host that is heard of leads it", False)
    lost = [m for m in leaders if m.host.presence not in _HEARD]
    if lost:
        return Grounds(f"{_listed(lost)}, which leads it, is lost", False)
    return Grounds(f"{_listed(leaders)}, which leads it, has not got it", True)


def _of_leader(found: dict[HostId, Member], own: HostId) -> Grounds | None:
    leader = found[own]
    others = {m.id: m for m in followers(found, leader)}
    drained = [m for m in others.values() if m.host.presence is Presence.DRAINED]
    here = [m for m in others.values() if m.host.presence is Presence.HERE]
    without = [m for m in here if not m.there or m.leaves]
    kept = sum(m.there and m not in drained and m not in without for m in others.values())
    wanted = leader.part.hosts - 1
    silent = sum(not m.there and m.host.presence is Presence.SILENT for m in others.values())
    if kept + silent >= wanted:
        return None
    if len(leader.part.others) - len(drained) - len(without) < wanted:
        why = [f"{_listed(drained)} is drained"] if drained else []
        why += [f"{_listed(without)} has not got its part"] if without else []
        return Grounds("; ".join(why), True)
    away = [h for h in leader.part.others if h not in others]
    away += [m.id for m in others.values() if m.host.presence is Presence.LOST]
    return Grounds(f"{', '.join(printable(h) for h in sorted(away))} is lost", False)


def _row(span: str, found: dict[HostId, Member]) -> dict[str, Any]:
    parts = [
        {
            "host": m.id,
            "model": m.part.model,
            "leads": m.part.leads,
            "status": "not known there" if m.housed is None else m.housed.status,
            "presence": m.host.presence.value,
        }
        for m in found.values()
    ]
    leaders = [m for m in found.values() if m.part.leads and m.there]
    serving = [m for m in leaders if not lacking(found, m)]
    ready = [m for m in serving if m.housed is not None and m.housed.ready]
    leader = next(iter(ready or serving or leaders), None)
    state = "ready" if ready else "loading" if serving else "broken" if leaders else "local"
    if state == "local" and any(m.there for m in found.values()):
        state = "in part"
    return {
        "name": span,
        "state": state,
        "leader": None if leader is None else leader.id,
        "parts": parts,
    }


def _listed(found: list[Member]) -> str:
    return ", ".join(printable(m.id) for m in found)


def _parts(host: Host, span: str) -> Iterator[Member]:
    for part in host.word.parts:
        if part.span == span:
            engine, _, name = part.model.partition("/")
            mine = (h for h in host.word.models if (h.engine, h.name) == (engine, name))
            yield Member(host, part, next(mine, None))


def _names(part: Part) -> tuple[str, ...]:
    found = (part.span, part.model) if part.leads else (part.span,)
    return (*found, *(n.removesuffix(LATEST) for n in found if n.endswith(LATEST)))
