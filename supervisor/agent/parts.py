"""What this host holds of models that span hosts: kept for as long as they are served, and let go
when another part is not there any more.

Each host decides that by itself, by what it was told. A part that is kept has a lease, which
expires by itself; nothing is let go of that was not kept before, and nothing while the fleet is not
heard of: losing Ray unloads nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from collectors.reading import Seconds
from supervisor.core.status import Status
from supervisor.fleet.hosts import Directory, HostId, Part
from supervisor.fleet.spans import Grounds, Member, grounds, members

from .backend import BackendError
from .bridge import Bridge
from .view import View

log = logging.getLogger("ullage.fleet")

TTL: Final = Seconds(60.0)
RENEWED: Final = Seconds(20.0)  # after so long: two renewals may be lost
PATIENCE: Final = Seconds(30.0)  # for a host that is not heard of, which may be started anew
PROMPT: Final = Seconds(2.0)  # for what takes the daemon milliseconds


@dataclass(slots=True)
class _Kept:
    """A part that was in use. `lease`: ours on it, since `renewed`. `since` when there have been
    grounds to let it go; `told`: the daemon was."""

    model: str
    lease: str | None = None
    renewed: Seconds = Seconds(0.0)
    since: Seconds | None = None
    told: bool = False


@dataclass(slots=True)
class Parts:
    """`settled`: how old a directory has to be to be whole. `lost`: how long what hosts say has to
    stay so before it is acted on."""

    own: HostId
    bridge: Bridge
    view: View
    clock: Callable[[], Seconds]
    settled: Seconds
    lost: Seconds
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _recalled: set[str] = field(default_factory=set)
    _trouble: dict[str, str] = field(default_factory=dict)

    async def look(self, connected: bool) -> None:
        """Once. Nothing is raised: what did not work is tried again at the next look."""
        now = self.clock()
        directory = self.view.directory(now, connected)
        own = directory.hosts.get(self.own)
        if own is None or own.heard + self.lost < now:
            return  # our daemon says nothing
        sure = connected and now - self.view.began >= self.settled
        for part in own.word.parts:
            member = members(directory, part.span)[self.own]
            try:
                await self._look(directory, part, member, sure, now)
            except BackendError as error:
                if self._trouble.get(part.span) != error.detail:
                    log.info("the part of %s: %s", part.span, error.detail)
                self._trouble[part.span] = error.detail
            else:
                self._trouble.pop(part.span, None)

    async def _look(
        self, directory: Directory, part: Part, member: Member, sure: bool, now: Seconds
    ) -> None:
        kept = self._kept.get(part.span)
        if not member.there:
            self._kept.pop(part.span, None)
            self._recalled.discard(part.span)
            if kept is not None:
                await self._release(kept)
            return
        if kept is None and part.span not in self._recalled:
            kept = await self._recall(part)
        why = grounds(directory, self.own, part) if sure else None
        if why is None:
            if sure and kept is None:
                kept = self._kept[part.span] = _Kept(part.model)
            if kept is not None:
                kept.since, kept.told = None, False
                await self._hold(kept, part, member, now)
        elif kept is not None:
            await self._leave(kept, part, why, now)

    async def _recall(self, part: Part) -> _Kept | None:
        """What an agent before this one had kept, by its lease. Of a leader that is never asked: it
        is of no use without the other parts, whoever has loaded it."""
        leases = {} if part.leads else await self.bridge.held(part.model, PROMPT)
        self._recalled.add(part.span)
        mine = [id for id, client in leases.items() if client == _client(part)]
        if not mine and not part.leads:
            return None
        kept = self._kept[part.span] = _Kept(part.model, mine[0] if mine else None)
        return kept

    async def _hold(self, kept: _Kept, part: Part, member: Member, now: Seconds) -> None:
        """The leader needs no lease: it goes as any model does, and the parts after it."""
        housed = member.housed
        going = housed is None or housed.status in (Status.LEAVING.value, Status.UNKNOWN.value)
        if part.leads or (now - kept.renewed < RENEWED and kept.lease is not None):
            return
        try:
            if kept.lease is not None:
                await self.bridge.renew(kept.lease, PROMPT)
                kept.renewed = now
                return
        except BackendError as error:
            if error.status != 404:
                raise
            kept.lease = None
        if not going:
            kept.lease = await self.bridge.hold(part.model, _client(part), TTL, PROMPT)
            kept.renewed = now

    async def _leave(self, kept: _Kept, part: Part, why: Grounds, now: Seconds) -> None:
        if kept.since is None:
            kept.since = now
        if kept.told or now - kept.since < (self.lost if why.said else PATIENCE):
            return
        await self._release(kept)
        await self.bridge.unload(part.model, PROMPT)
        kept.told = True
        log.info("the part of %s is let go: %s", part.span, why.why)

    async def _release(self, kept: _Kept) -> None:
        lease, kept.lease = kept.lease, None
        if lease is not None:
            try:
                await self.bridge.let_go(lease, PROMPT)
            except BackendError as error:
                if error.status != 404:
                    kept.lease = lease
                    raise


def _client(part: Part) -> str:
    """Whose its leases are."""
    return f"span {part.span}"
