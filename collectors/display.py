"""A machine on paper: each pool as a tree of who holds it, then devices, and facts in words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from .machine import Machine
from .reading import RAM, Device, Health, HostFacts, Level, PoolId, PoolKind
from .recorded import UUID
from .tree import Part, PoolParts

WIDTH = 80  # columns; only a long name may need more
BAR_WIDTH = 30
SIZE_WIDTH = 9  # of "123.4 GiB"


@dataclass(frozen=True, slots=True)
class Signs:
    """What to draw with."""

    full: str = "█"
    empty: str = "░"
    branch: str = "├─"
    last: str = "└─"
    degree: str = " °C"


PLAIN = Signs("#", ".", "|-", "`-", " C")


def show(machine: Machine, pools: Sequence[PoolParts], console: Console) -> None:
    """Print it. Characters that the terminal cannot show, or would obey, are replaced."""
    signs = PLAIN if console.options.ascii_only else Signs()
    for line in lines(machine, pools, signs):
        console.print(_printable(line, console), soft_wrap=True)


def lines(machine: Machine, pools: Sequence[PoolParts], signs: Signs) -> Iterator[Text]:
    """Everything, line by line: pools, devices, then what else is to be known."""
    for i, parts in enumerate(pools):
        if i:
            yield Text()
        yield from _pool(parts, machine, signs)
    for blind in machine.blind:
        yield Text()
        yield Text.assemble((_pool_name(blind.pool, machine), "bold"))
        yield Text(f"{signs.last} cannot be read: {blind.why}", "red")
    if machine.devices:
        yield Text()
        for device in machine.devices:
            yield from _device(device, machine, signs)
    facts = [*_faults(machine), *_host(machine.host), *machine.notes]
    if facts:
        yield Text()
    for fact in facts:
        yield from _wrapped(fact, "", "  ")


def size(n: int) -> str:
    """Bytes for people: 1.5 GiB."""
    value = float(n)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


# -- pools


def _pool(parts: PoolParts, machine: Machine, signs: Signs) -> Iterator[Text]:
    pool = parts.pool
    words = [pool.kind.value]
    if pool.id == RAM and pool.kind is PoolKind.UNIFIED:
        words.append("with " + ", ".join(d.name for d in machine.devices if d.pool == RAM))
    yield Text.assemble((_pool_name(pool.id, machine), "bold"), "  " + "  ".join(words))
    share = pool.used / pool.total if pool.total else 0.0
    color = "red" if share > 0.9 else "yellow" if share > 0.75 else "green"
    bar = (signs.full * round(BAR_WIDTH * share)).ljust(BAR_WIDTH, signs.empty)
    told = f"  {size(pool.used)} of {size(pool.total)} used, {size(pool.free)} free"
    yield Text.assemble((bar, color), told)
    rows = [_part(part) for part in parts.parts]
    rows += [("", f"{_called(p)}: nobody says how much it holds") for p in parts.untold]
    rows += _beside(parts, machine)
    for i, (amount, label) in enumerate(rows):
        sign = signs.last if i == len(rows) - 1 else signs.branch
        yield Text(f"{sign} {amount:>{SIZE_WIDTH}}  {label}")


def _part(part: Part) -> tuple[str, str]:
    label = _called(part)
    if part.device == part.size:
        label += "  (held by a driver)"
    elif part.device:
        label += f"  ({size(part.device)} of it held by a driver)"
    return size(part.size), label


def _beside(parts: PoolParts, machine: Machine) -> Iterator[tuple[str, str]]:
    """What is to be known about a pool and is no part of what is used."""
    pool = parts.pool
    if pool.reserved:
        yield size(pool.reserved), "reserved by the driver, outside the total"
    if pool.device_limit is not None:
        held = "" if pool.device_used is None else f", they hold {size(pool.device_used)}"
        yield "", f"accelerators may hold {size(pool.device_limit)} of it{held}"
    if parts.excess and pool.id == RAM and machine.host is not None and machine.host.is_limited:
        yield "", f"{size(parts.excess)} more is held beyond the limit, or counted more than once"
    elif parts.excess:
        cut = f", so {parts.cut} smaller processes have no line" if parts.cut else ""
        yield "", f"counted more than once: {size(parts.excess)}{cut}"


def _called(part: Part) -> str:
    return part.label if part.pid is None else f"{part.label} {part.pid}"


def _pool_name(pool: PoolId, machine: Machine) -> str:
    """As the devices that draw from it: the compute instances of one memory are several."""
    if pool == RAM:
        return "RAM"
    devices = [d for d in machine.devices if d.pool == pool]
    if not devices:
        return pool
    numbers = " and ".join(_number(d, machine) for d in devices)
    return f"{devices[0].kind.value.upper()} {numbers}  {devices[0].name}  {_short(pool)}"


def _short(pool: PoolId) -> str:
    """Enough of a UUID to tell cards apart; the list of devices has it in full."""
    return UUID.sub(lambda found: found.group()[:8], pool)


# -- devices


def _device(device: Device, machine: Machine, signs: Signs) -> Iterator[Text]:
    indent = "  " if device.parent else ""
    number = f"{device.kind.value.upper()} {_number(device, machine)}"
    asleep = "  asleep" if device.asleep else ""
    yield Text.assemble(indent, (number, "bold"), f"  {device.name}{asleep}")
    who = [device.uuid, _draws_from(device)]
    if device.parent is None:
        driver = None if device.driver is None else f"driver {device.driver}"
        who[1:1] = [device.pci, driver]
    health = machine.health.get(device.uuid, Health())
    for words in ([w for w in who if w], list(_feels(health, signs))):
        # Broken only between words that belong together.
        joined = ", ".join(word.replace(" ", "\0") for word in words)
        yield from _wrapped(joined, indent + "  ", indent + "  ")


def _number(device: Device, machine: Machine) -> str:
    """As its driver counts; an instance after the GPU that it is a part of: 7.0."""
    whole = next((d.index for d in machine.devices if d.uuid == device.parent), None)
    return str(device.index) if whole is None else f"{whole}.{device.index}"


def _draws_from(device: Device) -> str | None:
    if device.pool is None:
        return "split: its instances have the memory"
    if device.pool == RAM:
        return "draws from RAM"
    return None if device.pool == device.uuid else f"pool {_short(device.pool)}"


def _feels(health: Health, signs: Signs) -> Iterator[str]:
    if health.utilization is not None:
        yield f"busy {health.utilization:.0%}"
    if health.memory_utilization is not None:
        yield f"memory busy {health.memory_utilization:.0%}"
    if health.temperature is not None:
        yield f"{health.temperature:.0f}{signs.degree}"
    if health.memory_temperature is not None:
        yield f"memory {health.memory_temperature:.0f}{signs.degree}"
    if health.power is not None:
        limit = "" if health.power_limit is None else f" of {health.power_limit:.0f}"
        yield f"{health.power:.0f}{limit} W"
    if health.clock is not None:
        yield f"{health.clock / 1e6:.0f} MHz"
    if health.memory_clock is not None:
        yield f"memory {health.memory_clock / 1e6:.0f} MHz"
    if health.pcie_generation is not None and health.pcie_width is not None:
        yield f"PCIe {health.pcie_generation} x{health.pcie_width}"
    if health.throttled:
        yield f"slowed by {' and '.join(health.throttled)}"
    if health.ecc_corrected:
        yield f"{health.ecc_corrected} memory errors corrected"
    if health.ecc_uncorrected:
        yield f"{health.ecc_uncorrected} memory errors not corrected"
    if health.recovery not in (None, "none"):
        yield f"the driver asks for: {health.recovery}"


def _wrapped(text: str, first: str, others: str) -> Iterator[Text]:
    for line in textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield Text(line.replace("\0", " "))


# -- what else


def _faults(machine: Machine) -> Iterator[str]:
    for name, why in machine.faults.items():
        yield f"{name}: {why}"
    for incident in machine.incidents:
        yield f"{incident.device}: {incident.text} ({incident.remedy.value})"


def _host(host: HostFacts | None) -> Iterator[str]:
    if host is None:
        return
    if host.limit is not None:
        whole = "" if host.physical is None else f" (the machine has {size(host.physical)})"
        yield f"RAM is limited to {size(host.limit)}{whole} by {host.limited_by}"
    if host.swap_total:
        used = host.swap_total - host.swap_free
        yield f"swap: {size(used)} of {size(host.swap_total)} used; it is never room for a model"
    if host.huge:
        yield f"huge pages: {size(host.huge)} set aside, {_told(host.huge_free)} of it free"
    if host.level not in (None, Level.NORMAL):
        yield f"memory pressure, says the system: {host.level.value}"
    if host.pressure is not None:
        some, full = host.pressure.some, host.pressure.full
        yield f"waited for memory since boot: some task {some:.1f} s, all tasks {full:.1f} s"
    if host.oom_kills:
        yield f"processes killed for want of memory since boot: {host.oom_kills}"
    for node in host.nodes:
        yield (f"NUMA node {node.node} has no CPU: {size(node.free)} free of {size(node.total)}")


def _told(n: int | None) -> str:
    return "an unknown part" if n is None else size(n)


def _printable(text: Text, console: Console) -> Text:
    """A program chooses its own name, and may put anything in it."""
    shown = "".join(c if c.isprintable() else "?" for c in text.plain)
    shown = shown.encode(console.encoding, "replace").decode(console.encoding)
    if shown != text.plain:
        text = Text(shown, spans=text.spans)
    return text
