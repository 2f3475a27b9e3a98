"""What is said to whoever is not served: what was in the way, and nothing else."""

from __future__ import annotations

from collectors.reading import RAM, gib
from supervisor.core.admission import Tight
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.gateway import refusals

REF = ModelRef(EngineId("llama"), ModelId("beta"))
TIGHT = Tight(RAM, gib(4), gib(1), (("llama/alpha", gib(8)),))
ENOUGH = Tight(RAM, gib(4), gib(20), (("python", gib(1)),))


def test_who_waited_for_bytes_is_told_who_holds_them():
    told = refusals.waited(REF, 300.2, "blocked", TIGHT, 12.0)
    assert told.message == (
        "llama/beta was waited for for 5m: it needs 4 GiB of ram, of which 1 GiB is free; "
        "held by llama/alpha (8 GiB)"
    )
    assert (told.needed, told.free, told.retry_after) == (gib(4), gib(1), 12.0)


def test_bytes_that_were_there_are_not_the_reason():
    told = refusals.waited(REF, 1.0, "blocked", ENOUGH, None, ("host", "host"))
    assert told.message == (
        "llama/beta was waited for for 1s: as many models are active as may be (host)"
    )
    assert (told.needed, told.free, told.holders) == (None, None, ())
    told = refusals.waited(REF, 1.0, "loading", ENOUGH, 3.0)
    assert told.message == "llama/beta was waited for for 1s, and is still being loaded"
    assert told.needed is None


def test_a_limit_that_can_never_be_kept_is_named():
    told = refusals.no_room(REF, ("engine llama", "engine llama"), "", None)
    assert told.message.endswith("as many models are active as may be (engine llama)")
