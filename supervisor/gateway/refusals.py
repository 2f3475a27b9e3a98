"""Why a request is not served, in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence

from collectors.reading import Bytes, Seconds
from supervisor.core.admission import Tight
from supervisor.core.explain import of_drain, of_pause
from supervisor.core.halt import Halt
from supervisor.core.snapshot import EngineId, ModelRef
from supervisor.keeping.alert_holds import AlertHold
from supervisor.units import format_bytes, format_seconds

from .unforeseen import FAILED
from .wishes import Refusal, RefusalKind

SOON = 5.0  # seconds after which it may well be otherwise, where nobody knows better
LATER = 60.0  # where something has to be changed first


def full(ref: ModelRef, held: int, client: str, eta: float | None) -> Refusal:
    whose = f" of {client}" if client else ""
    message = f"{held} requests{whose} are held already: as many as may be"
    return Refusal(RefusalKind.FULL, message, eta or SOON, ref, eta=eta)


def waited(
    ref: ModelRef,
    seconds: float,
    state: str,
    tight: Tight | None,
    eta: float | None,
    full_: Sequence[str] = (),
) -> Refusal:
    """`full_` are limits of active models that were in its way, and not the bytes of `tight`."""
    message = f"{ref} was waited for for {format_seconds(Seconds(round(seconds)))}"
    if full_:
        message += f": {_limits(full_)}"
    elif state == "loading":
        message += ", and is still being loaded"
    if full_ or (tight is not None and not tight.is_short):
        tight = None  # bytes are not what is missing
    else:
        message += _told(tight)
    return _of_memory(RefusalKind.WAITED, message, eta or SOON, ref, tight, state, eta)


def no_room(ref: ModelRef, full_: Sequence[str], barred: str, tight: Tight | None) -> Refusal:
    if barred:
        message = f"{ref} is not loaded now: {barred}"
    elif tight is None or full_:
        message = f"{ref} cannot be loaded: {_limits(full_)}"
    else:
        message = f"{ref} does not fit, whoever else goes{_told(tight)}"
    return _of_memory(RefusalKind.NO_ROOM, message, LATER, ref, tight, "unloaded", None)


def cannot(ref: ModelRef, why: str) -> Refusal:
    return Refusal(RefusalKind.NO_ROOM, why, LATER, ref, state="unloaded")


def failed(ref: ModelRef, detail: str) -> Refusal:
    message = f"{ref} could not be loaded: {detail}"
    return Refusal(RefusalKind.LOAD_FAILED, message, SOON, ref, state="failed")


def fault(ref: ModelRef) -> Refusal:
    return Refusal(RefusalKind.FAULT, FAILED, None, ref)


def cooling(ref: ModelRef, why: str, wait: float) -> Refusal:
    return Refusal(RefusalKind.COOLING_DOWN, why, max(1.0, wait), ref, state="failed")


def paused(ref: ModelRef, halt: Halt, now: Seconds) -> Refusal:
    message = f"{ref} is not loaded, and Ullage is {of_pause(halt, now)}"
    return Refusal(RefusalKind.PAUSED, message, _left(halt, now), ref, state="unloaded")


def closed(ref: ModelRef, hold: AlertHold, now: Seconds) -> Refusal:
    message = f"{ref} is not loaded: the alert {hold.alert} fires, and nothing is loaded meanwhile"
    wait = min(LATER, max(1.0, hold.ends - now))
    return Refusal(RefusalKind.PAUSED, message, wait, ref, state="unloaded")


def drained(engine: EngineId, halt: Halt, now: Seconds, ref: ModelRef | None = None) -> Refusal:
    message = of_drain(engine, halt, now)
    return Refusal(RefusalKind.DRAINED, message, _left(halt, now), ref, state="drained")


def _left(halt: Halt, now: Seconds) -> float:
    return LATER if halt.ends is None else max(1.0, halt.ends - now)


def stopping(ref: ModelRef | None = None) -> Refusal:
    return Refusal(RefusalKind.STOPPING, "the daemon is stopping", SOON, ref)


def not_ready() -> Refusal:
    message = "the first sample is not in yet; ask again in a second"
    return Refusal(RefusalKind.ENGINE_DOWN, message, 1.0)


def down(ref: ModelRef, fault: str | None) -> Refusal:
    message = f"{ref.engine} does not answer" + (f": {fault}" if fault else "")
    return Refusal(RefusalKind.ENGINE_DOWN, message, SOON, ref, state="unknown")


def broke_off(ref: ModelRef) -> Refusal:
    message = f"{ref.engine} broke off before it answered, twice"
    return Refusal(RefusalKind.ENGINE_DOWN, message, SOON, ref, state="unknown")


def nowhere(model: str, seconds: float, why: str) -> Refusal:
    """No host of the fleet has had room for it; `why` begins with a colon, or is empty."""
    took = format_seconds(Seconds(round(seconds)))
    message = f"{model} was waited for for {took}, and no host of the fleet has room for it{why}"
    return Refusal(RefusalKind.WAITED, message, SOON)


def lost(model: str, whys: Sequence[str]) -> Refusal:
    """Hosts that were to serve it did not; `whys` has one sentence for each of them."""
    message = f"{model} is not to be had: {'; '.join(whys)}"
    return Refusal(RefusalKind.HOST_LOST, message, SOON)


def unheard(model: str, why: str) -> Refusal:
    message = f"{model} is on another host, and the fleet's agent does not answer: {why}"
    return Refusal(RefusalKind.HOST_LOST, message, SOON)


def _of_memory(
    why: RefusalKind,
    message: str,
    retry_after: float,
    ref: ModelRef,
    tight: Tight | None,
    state: str,
    eta: float | None,
) -> Refusal:
    if tight is None:
        return Refusal(why, message, retry_after, ref, state=state, eta=eta)
    needed = tight.needed or None
    return Refusal(why, message, retry_after, ref, needed, tight.free, tight.holders, state, eta)


def _told(tight: Tight | None) -> str:
    if tight is None:
        return ""
    if tight.needed:
        needs, free = format_bytes(tight.needed), format_bytes(tight.free)
        text = f": it needs {needs} of {tight.pool}, of which {free} is free"
    else:
        text = f": nobody knows what it takes, and of {tight.pool} not even the reserve is free"
    if tight.holders:
        text += f"; held by {_and([_held(name, size) for name, size in tight.holders[:3]])}"
    return text


def _limits(full_: Sequence[str]) -> str:
    return f"as many models are active as may be ({_and(tuple(dict.fromkeys(full_)))})"


def _held(name: str, size: Bytes) -> str:
    return f"{name} ({format_bytes(size)})"


def _and(parts: Sequence[str]) -> str:
    return ", ".join(parts)
