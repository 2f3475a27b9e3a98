"""Parsers of what others say, fed with what nobody would say: `make fuzz`, or
`python -m tests.hostile.fuzz SECONDS [TARGET …]`.

Anything but the errors that a parser has in its description is a crash, and so is an example that
takes more than a second.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.hostile.targets import TARGETS, Target

SLOW = 1.0  # seconds that no example may take: each is small
GROWN = 256 * 1024  # KiB that nothing may have cost in the end
BATCH = 50  # examples between two looks at the clock


def fuzz(target: Target, examples: int, number: int) -> None:
    """Raises what the parser raised, of the smallest example; its data is printed."""

    def one(data: st.DataObject) -> None:
        act: Callable[[], object] = target(data)
        began = time.process_time()
        act()
        took = time.process_time() - began
        assert took < SLOW, f"{took:.1f} s"

    held = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(held(given(st.data())(one)))()


def peak() -> int:
    """KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(words: list[str]) -> int:
    seconds = float(words[0]) if words else 60.0
    names = words[1:] or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        print(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
        return 2
    number, done = time.time_ns(), dict.fromkeys(names, 0)
    for target in names:  # what is imported and compiled at first is no growth
        fuzz(TARGETS[target], 3, number)
    before, ends = peak(), time.monotonic() + seconds
    while time.monotonic() < ends:
        for name in names:
            number += 1
            try:
                fuzz(TARGETS[name], BATCH, number)
            except BaseException:
                print(f"{name}: crashed, by the seed {number}", flush=True)
                raise
            done[name] += BATCH
    grown = peak() - before
    for name, count in done.items():
        print(f"{name:20} {count:8} examples, no crash")
    print(f"memory grew by {grown / 1024:.0f} MiB")
    return int(grown > GROWN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
