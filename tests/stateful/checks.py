"""What is looked at after every step, and what must be left when everybody has gone home."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from supervisor.core.account import account
from supervisor.core.snapshot import ModelRef, State
from supervisor.gateway.admission import Grant, Refusal
from tests.stateful.ledger import EPS, Ledger
from tests.stateful.town import GATEWAY, REFS, Town, home

LAPSES = 6.0  # seconds after which what has run out is over: it is seen at the next look
LATE = 3.0  # and a request that waited for as long as it may is refused within so many
ROUNDED = 0.002  # Unix times are written down to the millisecond


def after_each_step(town: Town, book: Ledger) -> Iterator[str]:
    yield from book.wrong
    yield from town.errors.found
    yield from _requests(town, book)
    yield from _claims(town, book)
    yield from _promises(town, book)
    yield from _bytes(town)
    yield from _alerts(town)


def _requests(town: Town, book: Ledger) -> Iterator[str]:
    """I6, for as long as they are under way."""
    now, traffic, holds = town.clock(), town.world.loop.traffic, town.admission.holds
    mine: Counter[ModelRef] = Counter()
    for guest in book.guests:
        yield from guest.wrong
        refusals = sum(isinstance(a, Refusal) for a in guest.heard)
        grants = sum(isinstance(a, Grant) for a in guest.heard)
        if refusals > 1 or grants > 2:
            yield f"I6: a request was answered {len(guest.heard)} times"
        if guest.held and now > guest.at + GATEWAY.max_wait + LATE + EPS:
            yield f"I6: a request of {guest.wish.candidates} is held since {guest.at}"
        if guest.working and guest.grant is not None:
            mine[guest.grant.ref] += 1
    if dict(traffic.flying) != dict(mine):
        yield f"I6: at work are {dict(mine)}, and {dict(traffic.flying)} are counted"
    held = sum(g.held for g in book.guests)
    if holds.count != held:
        yield f"I6: {held} are held, and {holds.count} are counted"


def _claims(town: Town, book: Ledger) -> Iterator[str]:
    """I9 and I10: neither a clock that is set nor another daemon takes or gives a second."""
    now, keeping = town.clock(), town.world.loop.keeping
    for id, (ref, ends) in book.leases.items():
        lease = keeping.leases.get(id)
        yield from _lasts(f"the lease on {ref}", ends, lease and lease.expires_at, now)
    for id, (pool, size, ends) in book.jobs.items():
        job = keeping.reserved.get(id)
        yield from _lasts(f"the reservation of {size} in {pool}", ends, job and job.ends, now)
    for name, ends in book.pins.items():
        found = keeping.pins.ends.get(name, float("inf")) if name in keeping.pins.names else None
        yield from _lasts(f"the pin of {name}", ends, found, now)
    if book.pause is not None:
        pause, none = keeping.pausing.pause, float("inf")
        found = None if pause is None else none if pause.ends is None else pause.ends
        yield from _lasts("the pause", book.pause[1], found, now)
    for engine, ends in book.drains.items():
        halt, none = keeping.pausing.drained.get(engine), float("inf")
        found = None if halt is None else none if halt.ends is None else halt.ends
        yield from _lasts(f"the drain of {engine}", ends, found, now)


def _lasts(what: str, ends: float, found: float | None, now: float) -> Iterator[str]:
    if found is None and now < ends - ROUNDED:
        yield f"I9: {what} is gone, {ends - now:g} s too early"
    elif found is not None and abs(found - ends) > ROUNDED and found != ends:
        yield f"I10: {what} ends {found - ends:+g} s later than it was said"
    elif found is not None and now > ends + LAPSES + EPS:
        yield f"I10: {what} has not ended, {now - ends:g} s too late"


def _promises(town: Town, book: Ledger) -> Iterator[str]:
    loop = town.world.loop
    promised = [r.ref for r in loop.reservations]
    if len(set(promised)) != len(promised):
        yield f"a load has two reservations: {promised}"
    loads = {a.ref for run in loop.runs for a in run.loads}
    if not set(promised) <= loads:
        yield f"bytes are promised to {set(promised) - loads}, whom nobody loads"
    if loop.snapshot is not None:
        jobs = Counter(r.job for r in loop.snapshot.reservations if r.ref is None)
        if twice := [job for job, count in jobs.items() if count > 1]:
            yield f"bytes are kept twice for {twice}"


def _bytes(town: Town) -> Iterator[str]:
    """Every used byte of what was seen is somebody's, once."""
    snapshot = town.world.loop.snapshot
    if snapshot is None:
        return
    for one in account(snapshot):
        pool = snapshot.pool(one.pool)
        total = sum(part.size for part in one.parts)
        if (
            pool is None
            or total != pool.total - pool.free
            or min((part.size for part in one.parts), default=0) < 0
        ):
            yield f"bytes: the parts of {one.pool} are {total}: {one.parts}"


def _alerts(town: Town) -> Iterator[str]:
    """I8: however often it is told of, and whichever daemon was told."""
    acted = Counter(
        d["cause"].partition(" asks ")[0]
        for d in town.disk.decisions.values()
        if d["trigger"] == "alert" and d["actions"]
    )
    for said, count in acted.items():
        if count > 1:
            yield f"I8: {said} made somebody go {count} times"


def at_rest(town: Town, book: Ledger) -> Iterator[str]:
    """Everybody has gone home, all engines and drivers are well, and it was waited for long."""
    loop, holds, traffic = town.world.loop, town.admission.holds, town.world.loop.traffic
    for guest in book.guests:
        if guest.over is None:
            yield f"I6: a request of {guest.wish.candidates} was never answered"
    left = (holds.count, dict(holds.of_client), dict(holds.by_ref), town.admission.drains.current)
    if left != (0, {}, {}, None):
        yield f"at rest, and somebody waits: {left}"
    if (dict(traffic.flying), dict(traffic.waiting), traffic.closed) != ({}, {}, frozenset()):
        yield f"at rest, and requests are counted: {traffic.flying} {traffic.waiting}"
    if loop.runs or loop.reservations or loop.goings.asked:
        yield f"at rest, and under way are {[r.decision.id for r in loop.runs]}"
    if book.forced:
        yield f"at rest, and wishes to unload {book.forced} were never answered"
    if loop.keeping.leases.awaited or loop.keeping.reserved.asked:
        yield "at rest, and claims are being asked for"
    snapshot = loop.snapshot
    assert snapshot is not None
    if snapshot.blind:
        yield f"at rest, and blind: {dict(snapshot.blind)}"
    if down := [e.id for e in snapshot.engines if not e.up]:
        yield f"at rest, and down: {down}"
    for ref in REFS:
        engine, seen = town.engines[ref.engine], snapshot.resident(ref)
        there = engine.there(ref.model)
        if there != (seen is not None and seen.state is State.LOADED):
            yield f"at rest {ref} is {'there' if there else 'gone'}, and seen as {seen}"
        elif seen is not None and seen.holds(home(ref)) != town.holds(ref, home(ref)):
            yield f"at rest {ref} holds {town.holds(ref, home(ref))}, and is seen as {seen}"
    for pool in snapshot.pools:
        if pool.free != town.machine.free(pool.id):
            yield f"at rest {pool.id} has {town.machine.free(pool.id)} free, seen {pool.free}"


def in_the_end(town: Town, killed: set[str]) -> Iterator[str]:
    """The daemon has ended: whatever was decided has one outcome each, but where it was killed."""
    for id, decision in town.disk.decisions.items():
        outcomes = town.disk.outcomes.get(id, [])
        if id not in killed and (lacks := town.disk.lacks(decision)):
            yield f"I7: {id} ({decision['cause']}) has no outcome of {lacks}"
        told = Counter((o["action"], o["model"]) for o in outcomes)
        if twice := [what for what, count in told.items() if count > 1]:
            yield f"I7: {id} ({decision['cause']}) has several outcomes of {twice}"
    for id in town.disk.outcomes.keys() - town.disk.decisions.keys():
        yield f"I7: there are outcomes of {id}, which was never decided"
