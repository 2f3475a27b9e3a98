"""Accelerators: how busy, how warm, how thirsty, and what their drivers complain of."""

from .panels import (
    BLUE,
    GREEN,
    HERE,
    INSTANCE,
    JOB,
    MARKS,
    ORANGE,
    POOL,
    POOLS,
    RED,
    YELLOW,
    Board,
    Panel,
    Query,
    Row,
    per_device,
)

BY = "max by (instance, uuid)"
# 1 where something must be done to an accelerator, 0 where its driver says that nothing must.
REPAIR = (
    f'ullage_device_recovery{{{POOL}, action!="none"}} or '
    f'0 * ullage_device_recovery{{{POOL}, action="none"}}'
)


def now(metric: str) -> str:
    return f"{BY} ({metric}{{{POOL}}})"


DEVICES = (
    Panel(
        "Accelerators",
        "One line each. Empty is what its driver does not tell; a line without numbers is a "
        "device that sleeps, or that cannot be read now.",
        (
            Query(f"max by (instance, uuid, name, vendor, driver, pci) "
                  f"(ullage_device_info{{{POOL}}})"),
            Query(now("ullage_device_utilization_ratio"), column="Busy", unit="percentunit"),
            Query(now("ullage_device_temperature_celsius"), column="Temperature",
                  unit="celsius", steps=((80, YELLOW), (90, RED))),
            Query(now("ullage_device_power_watts"), column="Power", unit="watt"),
            Query(now("ullage_device_power_limit_watts"), column="Limit", unit="watt"),
            Query(now("ullage_device_throttled"), column="Slowed down",
                  words=((0, "no", GREEN), (1, "yes", ORANGE))),
            Query(f"{BY} ({REPAIR})",
                  column="Needs repair", words=((0, "no", GREEN), (1, "yes", RED))),
            Query(now("ullage_device_asleep"), column="Asleep",
                  words=((0, "no", GREEN), (1, "yes", BLUE))),
        ),
        type="table", width=24,
        labels=(("instance", "Host"), ("name", "Name"), ("uuid", "UUID"), ("vendor", "Vendor"),
                ("driver", "Driver"), ("pci", "Slot")),
    ),
)  # fmt: skip

WORK = (
    Panel(
        "Busy",
        "Share of the last moments in which a kernel ran.",
        (per_device("ullage_device_utilization_ratio"),),
        "percentunit", width=8, least=0, most=1,
    ),
    Panel(
        "Memory at work",
        "Share of the last moments in which memory was read or written.",
        (per_device("ullage_device_memory_utilization_ratio"),),
        "percentunit", width=8, least=0, most=1,
    ),
    Panel(
        "Clocks",
        "Of the compute units; dashed, of the memory.",
        (
            per_device("ullage_device_clock_hertz"),
            Query(per_device("ullage_device_memory_clock_hertz").expr,
                  "memory of {{name}} {{uuid}}", True),
        ),
        "hertz", width=8, least=0,
    ),
)  # fmt: skip

HEAT = (
    Panel(
        "Temperature",
        "Of each accelerator and, dashed, of its memory, as its driver has them.",
        (
            per_device("ullage_device_temperature_celsius"),
            Query(per_device("ullage_device_memory_temperature_celsius").expr,
                  "memory of {{name}} {{uuid}}", True),
        ),
        "celsius", width=8,
    ),
    Panel(
        "Power",
        "What each accelerator draws; dashed, what it may draw.",
        (
            per_device("ullage_device_power_watts"),
            Query(per_device("ullage_device_power_limit_watts").expr,
                  "limit of {{name}} {{uuid}}", True),
        ),
        "watt", width=8, least=0,
    ),
    Panel(
        "Energy",
        "What each accelerator used in the time that is shown, by its own meter.",
        (Query(f"sum by (instance, uuid) "
               f"(increase(ullage_device_energy_joules_total{{{POOL}}}[$__range]))",
               "{{instance}} {{uuid}}"),),
        "joule", "bargauge", 8, least=0,
    ),
    Panel(
        "Slowed down",
        "Why an accelerator was slower than it could be: by a limit of power, by heat, by its "
        "board. A line without a reason says that nothing slows it.",
        (Query(f"{BY[:-1]}, reason) (ullage_device_throttled{{{POOL}}})",
               "{{instance}} {{uuid}} {{reason}}"),),
        type="state-timeline", width=24, height=6,
        words=((0, "nothing slows it", GREEN), (1, "slower", ORANGE)),
    ),
)  # fmt: skip

TROUBLE = (
    Panel(
        "What drivers reported",
        "Errors by kind and code, as Xid 79 of NVIDIA; each bar is a minute. Absent until the "
        "first.",
        (Query(f"sum by (instance, uuid, kind, code) "
               f"(increase(ullage_device_errors_total{{{POOL}}}[$__rate_interval]))",
               "{{kind}} {{code}} {{instance}} {{uuid}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Errors in all",
        "What drivers have reported since the daemon's start.",
        (Query(f"sum by (instance, uuid, kind, code) (max_over_time("
               f"ullage_device_errors_total{{{POOL}}}[$__range]))", column="Times",
               steps=((1, ORANGE),)),),
        type="table", width=8,
        labels=(("instance", "Host"), ("uuid", "UUID"), ("kind", "Kind"), ("code", "Code")),
    ),
    Panel(
        "Memory errors",
        "Of accelerators with ECC: corrected ones are a sign, uncorrected ones have done harm; "
        "each bar is a minute.",
        (Query(f"sum by (instance, uuid, error) "
               f"(increase(ullage_device_ecc_errors_total{{{POOL}}}[$__rate_interval]))",
               "{{error}} {{instance}} {{uuid}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "What must be done",
        "What its driver says must be done to an accelerator before it works again.",
        (Query(f"{BY[:-1]}, action) ({REPAIR})", "{{instance}} {{uuid}} {{action}}"),),
        type="state-timeline", words=((0, "nothing", GREEN), (1, "this", RED)),
    ),
    Panel(
        "Asleep",
        "Whether each accelerator is powered down; it is not woken to be read.",
        (per_device("ullage_device_asleep"),),
        type="state-timeline", words=((0, "awake", GREEN), (1, "asleep", BLUE)),
    ),
)  # fmt: skip

LINK = (
    Panel(
        "Link",
        "Lanes of the bus as they are now; an idle device may have fewer. Fewer at work than it "
        "has contacts: look at its slot.",
        (
            per_device("ullage_device_pcie_width_lanes", legend="lanes {{name}} {{uuid}}"),
            Query(per_device("ullage_device_pcie_generation").expr,
                  "generation {{name}} {{uuid}}", True),
        ),
        width=8, least=0,
    ),
    Panel(
        "Memory of accelerators",
        "What is in use of each pool but the host's own; dashed, all of it. Of a unified pool "
        "also what the accelerators may hold.",
        (
            Query(f'ullage_memory_capacity_bytes{{{POOL}, kind!="ram"}} - '
                  f'ullage_memory_free_bytes{{{POOL}, kind!="ram"}}', "{{instance}} {{pool}}"),
            Query(f'ullage_memory_capacity_bytes{{{POOL}, kind!="ram"}}',
                  "all of {{instance}} {{pool}}", True),
            Query(f"ullage_memory_device_used_bytes{{{POOL}}}",
                  "accelerators' part of {{instance}} {{pool}}"),
            Query(f"ullage_memory_device_limit_bytes{{{POOL}}}",
                  "limit of {{instance}} {{pool}}", True, RED),
        ),
        "bytes", width=8, least=0,
    ),
    Panel(
        "Age of the readings",
        "How old the numbers of each source are: those above are as old as its health.",
        (Query(f'ullage_reading_age_seconds{{{HERE}, tier="health"}}',
               "{{instance}} {{collector}}"),),
        "s", width=8, least=0,
    ),
)  # fmt: skip

BOARD = Board(
    "hardware",
    "Ullage: hardware",
    "Accelerators: how busy, how warm, how thirsty, and what their drivers complain of.",
    (JOB, INSTANCE, POOLS),
    MARKS,
    (
        Row("Accelerators", DEVICES),
        Row("Work", WORK),
        Row("Heat and power", HEAT),
        Row("Trouble", TROUBLE),
        Row("Link and memory", LINK),
    ),
)
