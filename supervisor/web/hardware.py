"""What the metrics say of devices, of the host's memory, and of how old their numbers are.

What this machine cannot tell is not there, rather than 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from collectors.reading import Device, Health, HostFacts, Level, Tier
from supervisor.core.snapshot import Snapshot
from supervisor.loop import Loop

Fact = tuple[str, tuple[str, ...], float]

# A device's reading, the field of Health that has it.
READINGS = {
    "device_utilization_ratio": "utilization",
    "device_memory_utilization_ratio": "memory_utilization",
    "device_temperature_celsius": "temperature",
    "device_memory_temperature_celsius": "memory_temperature",
    "device_power_watts": "power",
    "device_power_limit_watts": "power_limit",
    "device_energy_joules_total": "energy",
    "device_clock_hertz": "clock",
    "device_memory_clock_hertz": "memory_clock",
    "device_pcie_generation": "pcie_generation",
    "device_pcie_width_lanes": "pcie_width",
}


def errors(loop: Loop, snapshot: Snapshot) -> Iterator[Fact]:
    """What drivers have reported."""
    pools = {d.uuid: d.pool or "" for d in snapshot.devices}
    for (uuid, kind, code), count in sorted(loop.alarms.counts.items()):
        yield "device_errors_total", (pools.get(uuid, ""), uuid, kind, code), count


def hardware(snapshot: Snapshot) -> Iterator[Fact]:
    for device in snapshot.devices:
        yield from _device(device, snapshot.health.get(device.uuid))
    if snapshot.host is not None:
        yield from _host(snapshot.host)


def ages(loop: Loop) -> Iterator[Fact]:
    """How old the numbers of each collector are, and how often it is asked."""
    for (collector, tier), age in sorted(
        loop.sampler.sources.ages().items(), key=lambda item: (item[0][0], item[0][1].value)
    ):
        yield "reading_age_seconds", (collector, _TIERS[tier]), round(age, 3)


_TIERS = {Tier.MEMORY: "memory", Tier.PROCESSES: "processes", Tier.HEALTH: "health"}


def _device(device: Device, health: Health | None) -> Iterator[Fact]:
    labels = (device.pool or "", device.uuid)
    names = (device.name, device.pci or "", device.driver or "", device.vendor)
    yield "device_info", (*labels, *names, device.kind.value, device.parent or ""), 1
    yield "device_asleep", labels, device.asleep
    if health is None:
        return
    for name, field in READINGS.items():
        if (value := getattr(health, field)) is not None:
            yield name, labels, value
    for reason in health.throttled or ():
        yield "device_throttled", (*labels, reason), 1
    if health.throttled == ():
        yield "device_throttled", (*labels, ""), 0
    for word, count in (
        ("corrected", health.ecc_corrected),
        ("uncorrected", health.ecc_uncorrected),
    ):
        if count is not None:
            yield "device_ecc_errors_total", (*labels, word), count
    if health.recovery is not None:
        yield "device_recovery", (*labels, health.recovery), 1


def _host(host: HostFacts) -> Iterator[Fact]:
    for name, size in (
        ("host_swap_bytes", host.swap_total),
        ("host_swap_free_bytes", host.swap_free),
        ("host_physical_memory_bytes", host.physical),
        ("host_memory_limit_bytes", host.limit),
        ("host_shared_memory_bytes", host.shared),
        ("host_kernel_memory_bytes", host.kernel),
        ("host_huge_pages_bytes", host.huge),
        ("host_compressed_memory_bytes", host.zram if host.compressed is None else host.compressed),
        ("host_swapped_pages_total", host.swapped),
        ("host_refaulted_pages_total", host.refaults),
        ("host_oom_kills_total", host.oom_kills),
    ):
        if size is not None:
            yield name, (), size
    if host.pressure is not None:
        yield "host_memory_stalled_seconds_total", ("some",), host.pressure.some
        yield "host_memory_stalled_seconds_total", ("full",), host.pressure.full
    if host.level is not None:
        for level in Level:
            yield "host_memory_pressure_level", (level.value,), level is host.level
