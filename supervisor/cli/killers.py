"""Programs that kill others for want of memory, and when: earlyoom and systemd-oomd."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.reading import Bytes, Seconds
from supervisor.units import UnitError, parse_duration

from .dropins import texts

EARLYOOM, OOMD = "earlyoom", "systemd-oomd"
USUAL_PERCENT = 10.0  # earlyoom's -m
USUAL_PRESSURE = Seconds(30.0)  # systemd-oomd's DefaultMemoryPressureDurationSec
OOMD_FILES = ("etc/systemd/oomd.conf", "run/systemd/oomd.conf", "usr/lib/systemd/oomd.conf")


@dataclass(frozen=True, slots=True)
class Killer:
    """`percent` of RAM and `below` bytes: it acts below the lower of the two. `after` so many
    seconds of pressure."""

    name: str
    percent: float | None = None
    below: Bytes | None = None
    after: Seconds | None = None

    def acts_at(self, ram: Bytes) -> Bytes | None:
        """Available RAM, in bytes, of `ram` in all."""
        found = [] if self.percent is None else [int(ram * self.percent / 100)]
        found += [] if self.below is None else [self.below]
        return Bytes(min(found)) if found else None


def killers(commands: Mapping[int, Sequence[str]], root: Path) -> tuple[Killer, ...]:
    """Those of the processes, by their command lines."""
    found: dict[str, Killer] = {}
    for _, argv in sorted(commands.items()):
        name = Path(argv[0]).name if argv else ""
        if name == EARLYOOM:
            found[name] = earlyoom(argv[1:])
        elif name == OOMD:
            found[name] = oomd(texts(root, OOMD_FILES))
    return tuple(found.values())


def earlyoom(arguments: Iterable[str]) -> Killer:
    """Its -m PERCENT[,KILL] and -M KIB[,KILL]."""
    said = dict(_options(arguments))
    percent = _number(said.get("-m"))
    kib = _number(said.get("-M"))
    if percent is None and kib is None:
        percent = USUAL_PERCENT
    return Killer(EARLYOOM, percent, None if kib is None else Bytes(int(kib * 1024)))


def _options(arguments: Iterable[str]) -> Iterator[tuple[str, str]]:
    left = iter(arguments)
    for word in left:
        if word in ("-m", "-M"):
            yield word, next(left, "")
        elif word[:2] in ("-m", "-M") and word[2:3].isdecimal():
            yield word[:2], word[2:]


def _number(text: str | None) -> float | None:
    found = None if text is None else re.match(r"\d+(?:\.\d+)?", text)
    return None if found is None else float(found[0])


def oomd(texts: Iterable[str]) -> Killer:
    """Its files in the order in which it reads them."""
    after = USUAL_PRESSURE
    for text in texts:
        for value in re.findall(r"^DefaultMemoryPressureDurationSec=(.*)$", text, re.MULTILINE):
            try:
                after = parse_duration(value.strip().replace("sec", "s").replace("min", "m"))
            except UnitError:
                continue
    return Killer(OOMD, after=after)
