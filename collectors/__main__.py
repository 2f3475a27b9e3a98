"""`python -m collectors`: where every byte of this machine's memory is, and who holds it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console

from .capture import Capture
from .display import WIDTH, show
from .machine import Machine, find, fold
from .owner import Owner, read_all
from .reading import RAM, Collector, Device, Health, Holder, Tier
from .recorded import Pseudonyms, Recorder
from .tree import PoolParts, account

FILES = 60.0  # no driver hangs in a capture; a machine that is busy with others is slow


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 1 where a source could not be read. No GPU is no error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.record is not None:
        try:
            return _record(options.root, options.record)
        except OSError as error:
            parser.error(str(error))
    live = options.root == Path("/")
    machine = _read(find(options.root), 0.0 if live else FILES)
    pools = [parts.biggest(options.top) for parts in account(machine)]
    try:
        if options.json:
            print(json.dumps(_document(machine, pools, options.top), indent=2, default=_plain))
        else:
            console = _Paper(highlight=False)
            if not console.is_terminal:
                console = _Paper(highlight=False, width=WIDTH)
            show(machine, pools, console)
        sys.stdout.flush()
    except BrokenPipeError:  # `... | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if machine.faults else 0


class _Paper(Console):
    """A console whose reader may go away: by itself, it would end the program with status 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _read(collectors: Iterable[Collector], at_least: float = 0.0) -> Machine:
    owners = [Owner(collector, at_least=at_least) for collector in collectors]
    machine = fold(read_all(owners, Tier.ALL))
    for owner in owners:
        owner.close()
    return machine


def _record(root: Path, folder: Path) -> int:
    """Raises OSError where the folder will not do."""
    import pynvml

    capture = Capture(root, folder, names := Pseudonyms())
    recorder = Recorder(pynvml, names)
    machine = _read(find(root, binding=recorder))
    capture.take(recorder)
    print(f"{folder}: {capture.written} files. Have a look before you give them away.")
    print(f"To see the machine in them: python -m collectors --root {shlex.quote(str(folder))}")
    return 1 if machine.faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m collectors",
        description="Where every byte of this machine's memory is: pools, and who holds them.",
        epilog="Exit status: 0; 1 if a source could not be read; 2 if the command line is wrong.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON; sizes are bytes")
    parser.add_argument(
        "--top", type=_count, default=8, metavar="N", help="processes per pool (default: 8)"
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="write a capture of this machine, to attach to a report, into an empty DIR",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="look for proc and sys below DIR: a capture, or another system's (default: /)",
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"not a number of processes: {text!r}")
    return int(text)


def _document(machine: Machine, pools: Iterable[PoolParts], top: int) -> dict[str, Any]:
    return {
        "pools": [_pool(parts) for parts in pools],
        "devices": [_device(device, machine.health) for device in machine.devices],
        "processes": list(_processes(machine, top)),
        "host": None if machine.host is None else asdict(machine.host),
        "blind": [asdict(blind) for blind in machine.blind],
        "faults": dict(machine.faults),
        "incidents": [asdict(incident) for incident in machine.incidents],
        "notes": list(machine.notes),
    }


def _pool(parts: PoolParts) -> dict[str, Any]:
    pool = parts.pool
    return {
        "id": pool.id,
        "kind": pool.kind,
        "total": pool.total,
        "free": pool.free,
        "used": pool.used,
        "reserved": pool.reserved,
        "device_limit": pool.device_limit,
        "device_used": pool.device_used,
        "parts": [asdict(part) for part in parts.parts],
        "excess": parts.excess,
        "cut": parts.cut,
    }


def _device(device: Device, told: Mapping[str, Health]) -> dict[str, Any]:
    return {**asdict(device), **asdict(told.get(device.uuid, Health()))}


def _processes(machine: Machine, top: int) -> Iterable[dict[str, Any]]:
    """The `top` holders of each pool, as they were told: by the drivers, and of RAM besides by
    the kernel (`file` is what is mapped from files on top of `size`, `shared` a part of it)."""
    groups: dict[str, list[Holder]] = {}
    for holder in machine.holders or ():
        groups.setdefault(holder.pool, []).append(holder)
    for group in groups.values():
        for holder in sorted(group, key=lambda h: (h.size is None, -(h.size or 0), h.pid))[:top]:
            yield {**asdict(holder), "by": "driver"}
    for p in sorted(machine.processes or (), key=lambda p: (-p.anonymous, p.pid))[:top]:
        whose = {"pid": p.pid, "pool": RAM, "size": p.anonymous, "name": p.name, "sharers": ()}
        rest = {"by": "kernel", "parent": p.parent, "file": p.file, "shared": p.shared}
        yield {**whose, **rest}


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} has no form in JSON")


if __name__ == "__main__":
    sys.exit(main())
