"""The sequence setting: requests one after another, and every miss loads at once.

No service, no queue and no time that a load takes: what it costs is what the order of victims
costs, and nothing else. A bound that knows the future is a bound of just this.
"""

from __future__ import annotations

from collectors.reading import Bytes

from .figures import Figures
from .machine import Machine
from .rules import Rule
from .trace import Trace


def sequence(trace: Trace, capacity: Bytes, rule: Rule) -> Figures:
    """What `rule` pays for `trace` in so many bytes."""
    policy = rule.policy(trace.models, capacity)
    machine = Machine(trace.models, capacity, policy, rule.learns)
    figures = Figures(requests=len(trace.requests))
    slots, arrived, waits = machine.slots, machine.history.arrived, figures.waits
    for at, ref, _ in trace.requests:
        if leaving := machine.overdue(at):
            machine.leave(leaving, at)
        slot = slots.get(ref)
        if slot is not None:
            slot.used_at = at
            waits.append(0.0)
        elif (victims := machine.room_for(ref, at)) is None:
            figures.refused += 1
        else:
            machine.make_room(victims, at)
            machine.load(ref, at)
            took = trace.models[ref].load
            figures.loads.append((at, took))
            waits.append(took)
        arrived(ref, at)
    figures.overfull = int(machine.most > capacity)
    return figures
