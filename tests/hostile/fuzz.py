"""Parsers of what others say, fed with what nobody would say: `make fuzz`, or
`python -m tests.hostile.fuzz SECONDS [TARGET …]`.

Anything but the errors that a parser has in its description is a crash, and so is an example that
takes more than a second. What crashed is kept, and tried first the next time: until it is mended
nothing else is looked for.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.hostile.targets import TARGETS, Target

SLOW = 1.0  # seconds that no example may take: each is small
GROWN = 256 * 1024  # KiB that nothing may have cost in the end
BATCH = 50  # examples between two looks at the clock
USUAL = 60.0  # seconds
KEPT = Path(__file__).parents[2] / ".hypothesis/fuzz"  # of each target what crashed it


def fuzz(target: Target, examples: int, number: int, kept: Path | None = None) -> int:
    """How often the parser was called. Raises what it raised, of the smallest example; its data is
    printed, and stays in the folder `kept`."""
    calls = 0

    def one(data: st.DataObject) -> None:
        nonlocal calls
        act: Callable[[], object] = target(data)
        calls += 1
        began = time.process_time()
        act()
        took = time.process_time() - began
        assert took < SLOW, f"{took:.1f} s"

    held = settings(
        max_examples=examples,
        deadline=None,
        database=None if kept is None else DirectoryBasedExampleDatabase(kept),
        derandomize=False,
        print_blob=False,
        phases=(Phase.reuse, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    held(seed(number)(given(st.data())(one)))()  # in this order: a seed takes the folder away
    return calls


def _tried(name: str, examples: int, number: int, kept: Path) -> int:
    try:
        return fuzz(TARGETS[name], examples, number, kept / name)
    except KeyboardInterrupt:
        raise
    except BaseException:
        print(f"{name}: crashed; kept in {kept / name}, and tried first from now on", flush=True)
        raise


def peak() -> int:
    """KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(words: list[str], kept: Path = KEPT) -> int:
    seconds = float(words[0]) if words else USUAL
    names = words[1:] or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        print(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
        return 2
    number, done = time.time_ns(), dict.fromkeys(names, 0)
    for name in names:  # what is imported and compiled at first is no growth
        _tried(name, 3, number, kept)
    before, began = peak(), time.monotonic()
    while not all(done.values()) or time.monotonic() < began + seconds:
        for name in names:
            number += 1
            done[name] += _tried(name, BATCH, number, kept)
    grown, took = peak() - before, time.monotonic() - began
    for name, count in done.items():
        print(f"{name:20} {count:9,} executions, no crash")
    total = sum(done.values())
    print(f"{'all':20} {total:9,} executions in {took:.0f} s, {total / took:,.0f} a second")
    print(f"memory grew by {grown / 1024:.0f} MiB")
    return int(grown > GROWN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
