"""`python -m collectors`: what memory this machine has, and who holds it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .machine import Machine, Owner, find, fold, read_all
from .process import list_commands, read_processes
from .reading import RAM, Device, Holder, MemoryPool, PoolId

PIPED_WIDTH = 120  # columns, where nobody's window limits them
BAR_WIDTH = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 1 where a source could not be read. No GPU is no error."""
    options = _parser().parse_args(arguments)
    owners = [Owner(collector) for collector in find(options.root)]
    machine = fold(read_all(owners, holders=True))
    for owner in owners:
        owner.close()
    processes = _biggest(machine, options.root, options.top)
    try:
        if options.json:
            print(json.dumps(_document(machine, processes), indent=2))
        else:
            _show(machine, processes)
        sys.stdout.flush()
    except BrokenPipeError:  # `... | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if machine.faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m collectors",
        description="What memory this machine has, as pools, and which processes hold it.",
        epilog="Exit status: 0; 1 if a source could not be read; 2 if the command line is wrong.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON; sizes are bytes")
    parser.add_argument(
        "--top", type=_count, default=8, metavar="N", help="processes per pool (default: 8)"
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="look for proc and sys below DIR (default: /)",
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"not a number of processes: {text!r}")
    return int(text)


def _biggest(machine: Machine, root: Path, top: int) -> list[Holder]:
    """The `top` holders of each pool: of accelerators by the driver's word, of RAM by the kernel's.

    A driver's holders of RAM come on top of the kernel's: its pages are in nobody's RSS.
    """
    memory = read_processes(list_commands(root), root).values()
    in_ram = [Holder(m.pid, RAM, m.resident, m.name) for m in memory]
    listed = machine.holders or ()
    groups: dict[tuple[PoolId, bool], list[Holder]] = {}
    for holder in listed:
        groups.setdefault((holder.pool, True), []).append(holder)
    groups[RAM, False] = in_ram
    return [h for group in groups.values() for h in sorted(group, key=_largest_first)[:top]]


def _largest_first(holder: Holder) -> tuple[bool, int, int]:
    return holder.size is None, -(holder.size or 0), holder.pid


def _document(machine: Machine, processes: Iterable[Holder]) -> dict[str, Any]:
    return {
        "pools": [_pool(pool) for pool in machine.pools],
        "devices": [asdict(device) for device in machine.devices],
        "processes": [asdict(holder) for holder in processes],
        "host": None if machine.host is None else asdict(machine.host),
        "blind": [asdict(blind) for blind in machine.blind],
        "faults": machine.faults,
        "notes": list(machine.notes),
    }


def _pool(pool: MemoryPool) -> dict[str, Any]:
    return {
        "id": pool.id,
        "kind": pool.kind.value,
        "total": pool.total,
        "free": pool.free,
        "used": pool.used,
        "reserved": pool.reserved,
    }


def _show(machine: Machine, processes: Sequence[Holder]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    full, empty = ("#", ".") if console.options.ascii_only else ("█", "░")
    pools = _table("POOL", "KIND", "", ">USED", ">FREE", ">TOTAL")
    for pool in machine.pools:
        share = pool.used / pool.total if pool.total else 0.0
        bar = full * round(BAR_WIDTH * share)
        color = "red" if share > 0.9 else "yellow" if share > 0.75 else "green"
        pools.add_row(
            _short(pool.id),
            pool.kind.value,
            Text(bar.ljust(BAR_WIDTH, empty), color),
            size(pool.used),
            size(pool.free),
            size(pool.total),
        )
    console.print(pools)
    if machine.devices:
        console.print()
        console.print(_devices(machine.devices))
    if processes:
        console.print()
        console.print(_processes(processes))
    lines = [f"{blind.pool}: cannot be read: {blind.why}" for blind in machine.blind]
    lines += [f"{name}: {why}" for name, why in machine.faults.items()]
    if machine.host is not None and machine.host.limit is not None:
        lines.append(f"RAM is limited to {size(machine.host.limit)} by {machine.host.limited_by}")
    lines += machine.notes
    if lines:
        console.print()
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _devices(devices: Iterable[Device]) -> Table:
    table = _table(">GPU", "~NAME", "~POOL", "PCI", "DRIVER", ">BUSY", ">TEMP", ">POWER")
    for device in devices:
        table.add_row(
            str(device.index),
            device.name,
            device.pool,
            device.pci or "-",
            device.driver or "-",
            _number(device.utilization, "{:.0%}"),
            _number(device.temperature, "{:.0f} °C"),
            _number(device.power, "{:.0f} W"),
        )
    return table


def _processes(processes: Iterable[Holder]) -> Table:
    table = _table(">PID", "PROCESS", "POOL", ">HOLDS")
    for holder in processes:
        held = "-" if holder.size is None else size(holder.size)
        table.add_row(str(holder.pid), Text(holder.name or "-"), _short(holder.pool), held)
    return table


def _table(*columns: str) -> Table:
    """A plain table. A heading after ">" is for numbers; one after "~" may wrap if it must."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in columns:
        table.add_column(
            heading.lstrip(">~"),
            justify="right" if heading.startswith(">") else "left",
            no_wrap=not heading.startswith("~"),
            overflow="fold",
        )
    return table


def _short(pool: PoolId) -> str:
    """Enough of a UUID to tell cards apart; the table of devices has it in full."""
    return pool[:12] if len(pool) > 20 else pool


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def size(n: int) -> str:
    """Bytes for people: 1.5 GiB."""
    value = float(n)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


if __name__ == "__main__":
    sys.exit(main())
