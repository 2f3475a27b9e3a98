"""Says in words what was decided and why. Every `Why` has its sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collectors.reading import Seconds

from .became import RUNGS, of_outcome
from .halt import Halt
from .headroom import Room, rooms
from .ladder import ASLEEP, Rung
from .lines import Lines
from .plan import Plan, Trigger, Why
from .policy import Policy, Retention
from .rank import RANKINGS, VALUE
from .refusal import of_change, of_limit, of_short
from .retention import idle_for, is_at_rest
from .rows import plan_row
from .snapshot import ModelRef, Resident, Snapshot, State
from .status import Hold, Keeper, Status, standing
from .watch import Finding, Kind
from .wording import duration as duration
from .wording import size as size

_SENTENCES = {
    Why.MAKES_ROOM: "{} was chosen to go: it makes room",
    Why.WANTED: "{} is wanted",
    Why.THERE: "{} is there already",
    Why.ASKED: "{} was chosen to go: somebody asked for it",
    Why.IDLE: "{} was chosen to go: it was idle for longer than its timeout",
    Why.STUCK: "{} was chosen to go: it was busy for longer than its timeout",
    Why.UNUSED: "{} was chosen to go: its last user has gone",
    Why.PINNED: "{} stayed: it is pinned",
    Why.BUSY: "{} stayed: it was serving a request",
    Why.LEASED: "{} stayed: a client has a lease on it",
    Why.LOADING: "{} stayed: it was still loading",
    Why.LEAVING: "{} was leaving already",
    Why.UNKNOWN: "{} stayed: its engine did not answer, so nobody knows what it was doing",
    Why.UNABLE: "{} stayed: its engine cannot unload it",
    Why.DISTRUSTED: "{} stayed: its last unload gave back too little to count on",
    Why.WRONG_POOL: "{} stayed: it holds nothing where room was needed",
    Why.NOT_NEEDED: "{} stayed: there was room enough without it",
    Why.NOT_ENOUGH: "{} stayed: unloading it would not have been enough",
    Why.TOO_SMALL: "{} stayed: what it holds is next to nothing of what is missing",
    Why.BARRED: "{} was not loaded: a stranger holds memory there, and nobody is to be loaded then",
    Why.NO_BED: "{} stayed: it can only be told to sleep, and RAM has no room for its weights",
    Why.BRAKED: "{} was not loaded: somebody would have to leave, as often happened lately",
    Why.TOO_YOUNG: "{} stayed: it has not been there for as long as `min_residency` says",
    Why.TOGETHER: "{} was chosen to go: it is always together with one that goes",
    Why.STAYS_TOGETHER: "{} stayed: it is always together with one that may not go",
    Why.SWITCHED: "{} was chosen to go: its client has moved on to another model",
    Why.PAUSED: "{} was left alone: it is a pause, in which only what is asked for is done",
    Why.DRAINED: "{} was not loaded: its engine is drained",
    Why.SILENT: "{} was left as it is: the engine of who was wanted does not answer",
    Why.ALERTED: "{} was chosen to go: an alert asks for it",
    Why.NOT_MEANT: "{} stayed: it is none of those that the alert is about",
}


# For whom nothing was done, and for reasons that may hold for long.
_STAYED = frozenset(Why) - {Why.MAKES_ROOM, Why.WANTED, Why.ASKED, Why.IDLE, Why.STUCK, Why.UNUSED,
                            Why.TOGETHER, Why.SWITCHED, Why.BARRED, Why.BRAKED,
                            Why.ALERTED}  # fmt: skip


def sentence(why: Why, name: str) -> str:
    return _SENTENCES[why].format(name)


def of_plan(plan: Plan) -> list[str]:
    """What would be done, and why everybody else would be spared."""
    return _told(plan_row(plan))


def of_room(room: Room, lines: Lines) -> str:
    """The lines of one pool, as an operator wants to see them at the start."""
    text = (
        f"{room.pool}: {size(room.free)} of {size(room.total)} free, reserve {size(room.reserve)}"
    )
    if room.budget is not None:
        text += f", budget of its models {size(room.budget)}"
    return (
        f"{text}: relief below {size(lines.soft)} for {duration(lines.grace)}, "
        f"below {size(lines.hard)} at once, up to {size(lines.restore)}"
    )


def tell(decision: Mapping[str, Any]) -> list[str]:
    """A recorded decision, as `rows.decision_row` has it, in words; the newest fact last."""
    lines = [f"{decision['id']}: {decision['cause']}"]
    lines += _told(decision)
    if not any(decision[key] for key in ("actions", "notes", "unmet", "full")):
        lines.append("there was nothing to do")
    lines += [of_outcome(o) for o in decision.get("outcomes", ())]
    return lines


def _told(row: Mapping[str, Any]) -> list[str]:
    lines = []
    frees = {a["model"]: a["shares"] for a in row["actions"]}
    to_sleep = {a["model"] for a in row["actions"] if _only_sleeps(a)}
    for note in row["notes"]:
        text = sentence(Why(note["why"]), note["model"])
        if note["model"] in to_sleep:
            text = text.replace("was chosen to go", "was chosen to sleep", 1)
        if note["model"] in frees:
            verb = "needs" if Why(note["why"]) is Why.WANTED else "frees"
            text += f" ({verb} {_amounts(frees[note['model']])})"
        lines.append(text + _weighed(note, row.get("ranking")))
    for short in row.get("short", ()):  # an older journal does not say
        lines += of_short(short)
    if row["unmet"]:
        lines.append(f"still missing: {_amounts(row['unmet'])}")
    for blind in row.get("blind", ()):  # an older journal does not say
        lines.append(f"{blind['pool']} cannot be read: {blind['why']}")
    lines += [f"{barred['pool']}: {barred['why']}" for barred in row.get("barred", ())]
    if row["full"]:
        limits = ", ".join(dict.fromkeys(row["full"]))
        lines.append(f"{len(row['full'])} too many would be active: the limit of {limits}")
    if row["trigger"] == Trigger.DEMAND.value and (row["unmet"] or row["full"]):
        lines.append("nobody was unloaded: a plan that cannot succeed evicts nobody")
    return lines


def _only_sleeps(action: Mapping[str, Any]) -> bool:
    rungs = action.get("ladder") or ()
    return bool(rungs) and ASLEEP.issuperset(map(Rung, rungs))


def _weighed(note: Mapping[str, Any], ranking: str | None) -> str:
    """What decided: the loss, or the rule that was set instead."""
    goes = note["why"] == Why.MAKES_ROOM.value
    if ranking is not None and ranking in RANKINGS and ranking != VALUE.name:
        return f", by {ranking}: {RANKINGS[ranking].meaning}" if goes else ""
    if (loss := note.get("loss")) is None:
        return ""
    return (
        f": asked for again within {duration(loss['within'])} with {loss['chance']:.0%}, "
        f"{duration(loss['back'])} to have it back: {duration(loss['expected'])} expected loss"
        + (", the least of those that free enough" if goes else "")
    )


def of_rung(rung: Rung, ref: ModelRef, why: str) -> str:
    """A rung that was tried and was not enough."""
    return f"{RUNGS[rung.value]} {ref}: {why}"


def _amounts(shares: Iterable[Mapping[str, Any]]) -> str:
    known = (s for s in shares if s["size"])
    return ", ".join(f"{size(s['size'])} of {s['pool']}" for s in known) or "an unknown amount"


def why(
    ref: ModelRef,
    snapshot: Snapshot,
    policy: Policy,
    decisions: Sequence[Mapping[str, Any]],
    departures: Sequence[Mapping[str, Any]] = (),
    findings: Iterable[Finding] = (),
    now: float | None = None,
) -> list[str]:
    """Why `ref` is where it is, why it left or was refused, and what would have to change.
    `decisions`, and `departures` that were not our doing, newest first; so are the lines.
    `findings` are what is wrong now. `now` is Unix time; None: how long ago it was is not told."""
    resident = snapshot.resident(ref)
    lines = [_whereabouts(ref, resident, snapshot, policy)]
    if policy.pause is not None:
        lines.append(of_pause(policy.pause, snapshot.taken_at))
    if (halt := policy.drain_of(ref.engine)) is not None:
        lines.append(of_drain(ref.engine, halt, snapshot.taken_at))
    if resident is not None:
        lines += _prospects(resident, snapshot, policy)
    installed = snapshot.entry(ref)
    if installed is not None and resident is None and installed.trouble is None:
        lines.append(f"a request through the gateway loads it, or `ullage load {ref}`")
    if installed is not None and installed.trouble is not None:
        lines.append(f"it has trouble: {installed.trouble}")
    odd = (Kind.NO_FIT, Kind.DRIFT)
    lines += [f"it {f.detail}" for f in findings if f.ref == ref and f.kind in odd]
    waiting = [d for d in departures if d["model"] == str(ref)]
    told: set[str] = set()  # why it stayed, which may have been the same a hundred times
    for decision in decisions:
        while waiting and waiting[0]["at"] > decision["at"]:
            lines.append(of_departure(waiting.pop(0)))
        lines += _of_one(decision, str(ref), told, now)
    return lines + [of_departure(d) for d in waiting]


def _of_one(decision: Mapping[str, Any], name: str, told: set[str], now: float | None) -> list[str]:
    """What a decision has to do with one model. Nothing, where it stayed for a reason that was
    `told` already."""
    mine = [o for o in decision.get("outcomes", ()) if o["model"] == name]
    notes = [n for n in decision["notes"] if n["model"] == name]
    refused = _wanted(notes) and not decision["actions"]
    if not mine and not refused:
        notes = [n for n in notes if n["why"] not in told]
        told |= {n["why"] for n in notes if Why(n["why"]) in _STAYED}
    if not mine and not notes:
        return []
    ago = "" if now is None else f", {duration(max(0.0, now - decision['at']))} ago"
    lines = [f"{decision['id']}{ago}: {decision['cause']}"]
    if refused and (decision["unmet"] or decision["full"]):
        lines.append(f"  {name} was refused")
        notes = []
        for short in decision.get("short", ()):
            lines += [f"  {line}" for line in (*of_short(short), of_change(short, name))]
        if decision["full"]:
            limits = ", ".join(of_limit(key) for key in dict.fromkeys(decision["full"]))
            lines.append(f"  no more may be active at once: {limits}")
        lines += [f"  {b['pool']} cannot be read: {b['why']}" for b in decision.get("blind", ())]
    for note in notes:
        text = sentence(Why(note["why"]), note["model"])
        lines.append(f"  {text}{_weighed(note, decision.get('ranking'))}")
    lines += [f"  {barred['pool']}: {barred['why']}" for barred in decision.get("barred", ())
              if _wanted(notes) or refused]  # fmt: skip
    return lines + [f"  {of_outcome(o)}" for o in mine]


def _wanted(notes: Iterable[Mapping[str, Any]]) -> bool:
    whys = (Why.WANTED.value, Why.BARRED.value, Why.BRAKED.value)
    return any(n["why"] in whys for n in notes)


def of_pause(halt: Halt, now: Seconds) -> str:
    return f"paused{_so_long(halt, now)}: only what is asked for is done; `ullage continue` ends it"


def of_drain(engine: str, halt: Halt, now: Seconds) -> str:
    """`engine` is its name."""
    text = f"{engine} is drained{_so_long(halt, now)}: it takes no requests and no loads"
    text += ", and its models leave when nobody uses them" if halt.unload else ""
    return f"{text}; `ullage undrain` ends it"


def _so_long(halt: Halt, now: Seconds) -> str:
    return "" if halt.ends is None else f" for {duration(max(0.0, halt.ends - now))} more"


def of_farewell(name: str, contexts: int) -> str:
    """One that was told to go, and is in use."""
    return f"{name} is leaving (contexts={contexts}): it goes when nobody uses it any more"


def of_keeper(keeper: Keeper, now: Seconds) -> str:
    """What keeps a model: "pinned for 2 h more", "leased by agent (41 s left)"."""
    left = None if keeper.ends is None else duration(max(0.0, keeper.ends - now))
    if keeper.hold is Hold.PIN:
        return "pinned" if left is None else f"pinned for {left} more"
    if keeper.hold is Hold.LEASE:
        return f"leased by {keeper.client} ({left} left)"
    if keeper.hold is Hold.WORK:
        return f"{keeper.count} in flight" if keeper.count else "busy"
    if keeper.hold is Hold.TIMER:
        return f"goes in {left} unless it is used"
    return f"waits for its first user ({left} left)"


def of_departure(departure: Mapping[str, Any]) -> str:
    """One that left by itself, as `rows.departure_row` has it."""
    return (
        f"not our doing: {departure['model']} left with {_amounts(departure['held'])}: "
        f"{departure['why']}"
    )


def _whereabouts(
    ref: ModelRef, resident: Resident | None, snapshot: Snapshot, policy: Policy
) -> str:
    if resident is None:
        if snapshot.entry(ref) is not None:
            return f"{ref} is installed and not loaded"
        return f"{ref} is not known to any engine now"
    held = ", ".join(f"{size(resident.holds(p))} of {p}" for p in sorted(resident.pools))
    text = f"{ref} is {resident.state.value} and holds {held or 'an unknown amount'}"
    if resident.busy:
        count = resident.in_flight
        doing = f"{count} in flight" if count else "seems to be at work"
        return f"{text}; {doing}, for {duration(resident.busy_for)}"
    return f"{text}; idle for {duration(resident.idle_for)}"


def _prospects(resident: Resident, snapshot: Snapshot, policy: Policy) -> list[str]:
    """What keeps it, and what would make it go."""
    ref = resident.ref
    now, found = snapshot.taken_at, standing(ref, snapshot, policy)
    if policy.is_pinned(ref):
        pin = next(k for k in found.keepers if k.hold is Hold.PIN)
        return [f"it stays: it is {of_keeper(pin, now)} (`ullage unpin` lets it go)"]
    if resident.state is State.UNKNOWN:
        return ["it stays: its engine does not answer"]
    lines = [of_farewell(str(ref), found.contexts)] if found.status is Status.LEAVING else []
    forced = policy.force_when_busy_of(ref)
    leases = [k for k in found.keepers if k.hold is Hold.LEASE and not forced]
    lines += [f"it stays: it is {of_keeper(k, now)}" for k in leases]
    if resident.busy and not forced:
        lines.append("it stays while it is serving")
    if policy.goes_unused(ref):
        lines.append("it goes with its last user: it is not kept for the next one")
        lines += [f"it {of_keeper(k, now)}" for k in found.keepers if k.hold is Hold.FIRST]
    elif is_at_rest(resident, policy):
        lines.append("it sleeps until it is used, or RAM is needed")
    elif timeout := policy.idle_timeout_of(ref):
        left = duration(max(0.0, timeout - idle_for(resident, snapshot)))
        what = "keep-alive" if policy.retention_of(ref) is Retention.KEEP_ALIVE else "idle watchdog"
        lines.append(f"the {what} unloads it in {left} unless it is used")
    for room in rooms(snapshot, policy):
        if room.pool in resident.pools:
            if room.headroom < 0:
                lines.append(f"{room.pool} lacks {size(-room.headroom)}: it may have to go")
            else:
                lines.append(
                    f"{room.pool} has {size(room.headroom)} of headroom: "
                    "nobody has to go for less than that"
                )
    return lines
