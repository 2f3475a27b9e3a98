"""Wishes for models that span hosts: where each is served, or how far it is on its way up.

What is decided is decided in fleet/gang.py. To bring one up takes minutes, and whoever asked need
not wait: one task does it (rising.py), and all who ask meanwhile hear what it is at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NoReturn

from collectors.reading import Seconds
from supervisor.fleet import gang, spans
from supervisor.fleet.decided import Answer, Asking, Choice, Note, Placement, Queued, Wish
from supervisor.fleet.explain import of_choice
from supervisor.fleet.hosts import HostId

from .backend import BackendError, Row
from .means import AT_MOST, Means
from .offering import ask_for_offer
from .rising import Failed, Rise
from .told import Told, rows

log = logging.getLogger("ullage.fleet")

WAITED: Final = Seconds(840.0)  # for whoever sets no time; the command waits for longer


@dataclass(slots=True)
class Gangs:
    """All spans that this agent is asked for. `told` keeps what was answered."""

    means: Means
    told: Told
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _doing: dict[str, str] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)

    def doing(self, span: str) -> str | None:
        """What is being done for it here, in words."""
        return self._doing.get(span)

    async def stop(self) -> None:
        """What was begun is taken back; the claims end with the engine's own."""
        self.means.stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def place(
        self, span: str, dry: bool, within: Seconds | None, avoid: Collection[str]
    ) -> Row:
        """Where it is served. Waits for `within` seconds at most, None: until that is known, one
        way or the other. Raises Refused."""
        means = self.means
        wish = Wish(span, means.own, frozenset(HostId(h) for h in avoid))
        once = within is None  # else it is tried again until the time is over
        end = Seconds(means.clock() + (WAITED if within is None else within))
        tried = False
        while True:
            means.news.clear()
            choice = self._choose(wish)
            if isinstance(choice, Placement):
                return self._placed(choice, dry)
            if dry:
                return await self._dry(wish, choice)
            if isinstance(choice, Asking) and span not in self._tasks and not (once and tried):
                self._begin(wish)
                tried = True
            hopeless = isinstance(choice, Queued) and choice.wait is None
            over = once and (tried or hopeless) and span not in self._tasks
            unknown = isinstance(choice, Queued) and choice.unknown
            if over or unknown or means.clock() >= end:
                self._refuse(choice, span, dry)
            await means.pause(end)

    # -- one of them, on its way up

    def _begin(self, wish: Wish) -> None:
        span = wish.model
        self._failed.pop(span, None)
        self._doing[span] = "its hosts are asked what it would cost"
        self._tasks[span] = asyncio.create_task(self._bring_up(wish), name=f"bring up {span}")
        self._tasks[span].add_done_callback(partial(self._ended, span))

    def _ended(self, span: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(span, None)
        self._doing.pop(span, None)
        self.means.news.set()

    async def _bring_up(self, wish: Wish) -> None:
        span = wish.model
        try:
            choice = self._choose(wish)
            if not isinstance(choice, Asking):
                return
            answers = await self._offers(wish, choice.hosts)
            found = gang.settle(self.means.directory(), wish, answers, self.means.rules)
            if isinstance(found, Queued):
                self._fails(span, of_choice(found), found.notes)
            elif found.offers:
                await Rise(self.means, wish, found, answers, partial(self._does, span)).run()
                self.told.note(span, found.host, of_choice(found), found.notes, dry=False)
        except (Failed, BackendError) as error:
            self._fails(span, [f"{span} was not brought up: {error}"], ())
        except Exception as error:  # our bug: it costs us this span, and is told
            log.exception("a model that spans hosts")
            self._fails(span, [f"{span} was not brought up: {type(error).__name__}"], ())

    def _does(self, span: str, doing: str) -> None:
        if self._doing.get(span) != doing:
            self._doing[span] = doing
            log.info("%s: %s", span, doing)

    def _fails(self, span: str, said: list[str], notes: Collection[Note]) -> None:
        if self._failed.get(span) != said[0]:
            log.warning("%s", "; ".join(said))
        self._failed[span] = said[0]
        self.told.note(span, None, said, notes, dry=False, code="queued")

    # -- what is decided

    def _choose(self, wish: Wish) -> Choice:
        """Nothing is begun by a directory that may not know yet who has a part, or is getting
        one."""
        means = self.means
        found = gang.choose(means.directory(), wish, means.rules)
        if isinstance(found, Asking) and (means.young > 0 or not means.backend.connected):
            return Queued(wish.model, found.notes, wait=means.young or AT_MOST)
        return found

    async def _offers(self, wish: Wish, hosts: Collection[HostId]) -> dict[HostId, Answer]:
        means = self.means
        found = spans.members(means.directory(), wish.model)
        asked = [h for h in hosts if h in found]
        answers = await asyncio.gather(
            *(ask_for_offer(means.backend, h, found[h].part.model, means.clock) for h in asked)
        )
        return dict(zip(asked, answers, strict=True))

    # -- what is answered

    async def _dry(self, wish: Wish, choice: Asking | Queued) -> Row:
        found: Placement | Queued | Asking = choice
        if isinstance(choice, Asking):
            answers = await self._offers(wish, choice.hosts)
            found = gang.settle(self.means.directory(), wish, answers, self.means.rules)
        if isinstance(found, Placement):
            return self._placed(found, dry=True)
        return self._refuse(found, wish.model, dry=True)

    def _placed(self, found: Placement, dry: bool) -> Row:
        said = of_choice(found)
        id = self.told.note(found.model, found.host, said, found.notes, dry)
        member = spans.members(self.means.directory(), found.model)[found.host]
        return {
            "host": found.host,
            "address": member.host.word.address,
            "model": member.part.model,
            "ready": found.ready,
            "placement": id,
            "sentences": said,
            "notes": rows(found.notes),
        }

    def _refuse(self, found: Choice, span: str, dry: bool) -> NoReturn:
        """What is being done for it, or why the last attempt has failed, comes first."""
        said = of_choice(found)
        if isinstance(found, Queued) and found.unknown:
            self.told.refuse(404, "unknown", span, said, found.notes, dry)
        if (doing := self._doing.get(span)) is not None:
            said.insert(0, f"{span} is being brought up: {doing}")
        elif (failed := self._failed.get(span)) is not None and failed not in said:
            said.insert(0, failed)
        wait = getattr(found, "wait", None)
        more = {} if wait is None else {"wait": wait}
        self.told.refuse(409, "queued", span, said, found.notes, dry, **more)
