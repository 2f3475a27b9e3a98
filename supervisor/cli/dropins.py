"""How systemd reads a file: the first of its places that has it, then drop-ins by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path


def texts(root: Path, places: Sequence[str]) -> Iterator[str]:
    """The main file, then its drop-ins, in the order in which they are read: what is said later
    counts. `places` are its full names below `root`, of which the first goes before the others.
    Lines that go on have been put together; what cannot be read is left out."""
    for place in places:
        if (text := _text(root / place)) is not None:
            yield text
            break
    dropped: dict[str, Path] = {}
    for place in reversed(places):
        try:
            dropped |= {p.name: p for p in (root / f"{place}.d").iterdir() if p.suffix == ".conf"}
        except OSError:
            continue
    for name in sorted(dropped):
        if (text := _text(dropped[name])) is not None:
            yield text


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").replace("\\\n", " ")
    except OSError:
        return None
