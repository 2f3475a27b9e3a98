"""What rests by the operator's word: all that we do of our own accord, or an engine."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.reading import Seconds


@dataclass(frozen=True, slots=True)
class Halt:
    """Until `ends`, on the clock of Snapshot.taken_at; None: until it is taken back. `unload`: the
    models of an engine that is drained leave when nobody uses them."""

    ends: Seconds | None = None
    unload: bool = False
