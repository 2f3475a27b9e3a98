"""What must hold whatever breaks: judged from a history, without a word of the code under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.faults.history import NEVER, Call, History, Leave, Process, Request, Trouble

SOON = 1.0  # seconds: a look of the daemon's, and how late a busy machine may be
SHORT = 0.1  # seconds: of what was begun just before the disk was slow, a part is written already
REFUSED = (429, 502, 503, 504)  # by which we say that it is not the request that is wrong


def check(history: History) -> list[str]:
    """Every breach, in words; none: all is well."""
    found = list(history.wrong)
    for rule in RULES:
        found += [f"{rule.__name__.upper()}: {words}" for words in rule(history)]
    return found


def i1(history: History) -> Iterator[str]:
    """Nobody goes who is pinned, leased, or at work."""
    for call in _unloads(history):
        for true, what in ((call.pinned, "pinned"), (call.leased, "leased")):
            if true:
                yield f"{_named(call)} is {what}, and is told to go by {_triggers(call)}"
        if call.busy:
            yield f"{_named(call)} serves {call.busy}, and is told to go by {_triggers(call)}"
    for process, leave in _leaves(history):
        what = f"{process.ref} at {leave.at:.2f}"
        given = {p.what for p in history.promises if p.ref == process.ref and p.covers(leave.at)}
        if "pinned" in given:
            yield f"{what} is pinned, and is told to end"
        if "leased" in given and "forced" not in given:
            yield f"{what} is leased, and is told to end"
        if leave.busy and "forced" not in given:
            yield f"{what} serves {leave.busy}, and is told to end"


def i2(history: History) -> Iterator[str]:
    """Nobody comes into a GPU that cannot be read, and nobody goes but whom an operator names."""
    dark = [t for t in history.troubles if t.dark]
    for call in history.calls:
        if call.kind == "unload" and _triggers(call) == "operator":
            continue
        for trouble in dark:
            lifted = NEVER if trouble.lifted is None else trouble.lifted
            if trouble.began + SOON + 2.0 < call.began < lifted:
                words = f"{call.kind} of {_named(call)} by {_triggers(call)}"
                yield f"{words} while nobody can read the GPU"


def i3(history: History) -> Iterator[str]:
    """An engine does one thing at a time with a model, and one of each kind."""
    for i, call in enumerate(history.calls):
        for other in history.calls[:i]:
            if other.engine != call.engine or other.life != call.life:
                continue
            if (NEVER if other.ended is None else other.ended) <= call.began:
                continue
            if other.model == call.model or other.kind == call.kind:
                yield f"{call.kind} of {_named(call)} during {other.kind} of {_named(other)}"
    for call in history.calls:
        if call.kind != "load" or call.was == "gone":
            continue
        if not any(t.meddles or t.repeats for t in _during(history, call.began)):
            yield f"{_named(call)} is told to load, and is {call.was}"


def i4(history: History) -> Iterator[str]:
    """After an unload the next one waits for its memory, or until it has waited enough."""
    last: Call | None = None
    for call in _unloads(history):
        if last is not None and last.life == call.life and last.was == "loaded":
            freed = any(
                m.at <= call.began and m.at >= last.began and m.why == f"-{last.model}"
                for m in history.memory
            )
            ended = NEVER if last.ended is None else last.ended
            if not freed and call.began < ended + history.settle:
                yield f"{_named(call)} goes before {_named(last)} has given its memory back"
        last = call


def i5(history: History) -> Iterator[str]:
    """A load has room by what the driver says, less what other loads are promised. Of one whose
    size nobody can know (0) that is not asked; nor of who leaves, when others have taken too
    much."""
    for call in history.calls:
        if call.kind != "load" or call.was != "gone" or not call.size:
            continue
        if _meddled(history, call.began):
            continue
        others = [
            c
            for c in history.calls
            if c is not call
            and c.kind == "load"
            and c.began < call.began < (NEVER if c.ended is None else c.ended)
        ]
        left = call.free - history.reserve - sum(c.size for c in others) - call.size
        if left < 0:
            yield f"{_named(call)} is loaded where {-left} bytes are lacking"
    before = 0
    for memory in history.memory:
        more, before = memory.used > before, memory.used
        if more and memory.used > history.total and not _meddled(history, memory.at):
            yield f"the GPU holds {memory.used - history.total} bytes too much: {memory.why}"


def i6(history: History) -> Iterator[str]:
    """A request ends once; it fails only where something that it needs was broken, and is told."""
    for request in history.requests:
        what = f"request {request.number} of {request.engine}/{request.model}"
        if request.endings != 1:
            yield f"{what} ended {request.endings} times"
        elif request.ending != "whole" and not _may_fail(history, request):
            yield f"{what} was {request.ending} ({request.status}): {request.words}"


def _may_fail(history: History, request: Request) -> bool:
    ended, after = request.ended or NEVER, 0.0 if request.ending == "cut" else SOON
    return any(
        trouble.covers(request.began, ended, after) and _excuses(trouble, request)
        for trouble in history.troubles
    )


def _excuses(trouble: Trouble, request: Request) -> bool:
    """Does it explain such an end? Nothing explains a stream that ends too early, and says
    nothing; only the daemon's own end one that is cut; and only an engine's what is no answer."""
    ours = trouble.daemon or request.engine in trouble.engines
    match request.ending:
        case "cut" | "unheard":
            return trouble.daemon
        case "strange":
            return request.engine in trouble.engines
        case "told":
            return ours or _waits(trouble, request)
        case "refused":
            return request.status in REFUSED and (
                ours or (request.status == 503 and _waits(trouble, request))
            )
    return False


def _waits(trouble: Trouble, request: Request) -> bool:
    """For a GPU that cannot be read, as whoever is there already does not."""
    return trouble.dark and request.was != "loaded"


def i7(history: History) -> Iterator[str]:
    """What an engine is told stands on disk before."""
    for call in history.calls:
        if any(_keeps_nothing(t, call.began) for t in history.troubles):
            continue
        if not call.decisions:
            yield f"{call.kind} of {_named(call)} is not written down"
        elif all(d.get("mode") != "enforce" or "rooms" not in d for d in call.decisions):
            yield f"{call.kind} of {_named(call)} is written down without what it was decided by"
    for process in history.processes:
        # Another daemon may have seen to what the one before it had begun.
        if history.life_at(process.forked) is history.life_at(process.began):
            what = f"start of {process.ref} at {process.began:.2f}"
            yield from _stands(history, what, process.began, process.decisions)
    for process, leave in _leaves(history):
        what = f"end of {process.ref} at {leave.at:.2f}"
        yield from _stands(history, what, leave.at, leave.decisions)


def _stands(
    history: History, what: str, at: float, decisions: list[dict[str, Any]] | None
) -> Iterator[str]:
    """By a process' own look at the journal."""
    if any(_keeps_nothing(t, at) for t in history.troubles):
        return
    if decisions is None:
        if not _killed(history, at):
            yield f"{what}: the journal could not be read"
        return
    own = [d for d in decisions if d["at"] >= history.life_at(at).wall]
    if not own:
        yield f"{what} is not written down"
    elif all(d["mode"] != "enforce" or "rooms" not in d for d in own):
        yield f"{what} is written down without what it was decided by"


def _leaves(history: History) -> Iterator[tuple[Process, Leave]]:
    """But of those whom a daemon that was killed has left: the next one may have them end."""
    for process in history.processes:
        for leave in process.told:
            same = history.life_at(process.forked) is history.life_at(leave.at)
            if same or not _killed(history, leave.at):
                yield process, leave


def _killed(history: History, at: float) -> bool:
    return any(t.daemon for t in _during(history, at))


def _keeps_nothing(trouble: Trouble, at: float) -> bool:
    """There is no disk to write on, or it has been waited for long enough."""
    waited = at - trouble.began > trouble.unwritten - SHORT
    return (trouble.disk or waited) and trouble.covers(at, at, SOON)


def i8(history: History) -> Iterator[str]:
    """An alert acts once, however often it is told of."""
    by_episode: dict[str, set[str]] = {}
    for deed in history.deeds:
        by_episode.setdefault(deed.episode, set()).add(deed.decision)
    for episode, decisions in by_episode.items():
        if len(decisions) > 1:
            yield f"{episode} has caused {sorted(decisions)}"


def _meddled(history: History, at: float) -> bool:
    return any(t.meddles for t in _during(history, at))


def _during(history: History, at: float) -> Iterator[Trouble]:
    return (t for t in history.troubles if t.covers(at, at, SOON))


def _unloads(history: History) -> Iterator[Call]:
    return (c for c in history.calls if c.kind == "unload")


def _named(call: Call) -> str:
    return f"{call.engine}/{call.model} at {call.began:.2f}"


def _triggers(call: Call) -> str:
    return ", ".join(sorted({str(d.get("trigger")) for d in call.decisions})) or "nobody"


RULES: tuple[Callable[[History], Iterator[str]], ...] = (i1, i2, i3, i4, i5, i6, i7, i8)
