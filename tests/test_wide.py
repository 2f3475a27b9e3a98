"""Where every byte is, and how the devices feel, as people see it."""

# ruff: noqa: E501

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from collectors.reading import (
    RAM,
    Device,
    DeviceKind,
    Health,
    HostFacts,
    MemoryPool,
    PoolId,
    PoolKind,
    Pressure,
    Seconds,
    gib,
)
from supervisor.cli import show
from supervisor.cli.bars import Screen
from supervisor.core.policy import Policy
from supervisor.core.snapshot import EngineId, Foreign, Mapped, Share, Snapshot
from supervisor.web import view
from tests.builders import engine, resident
from tests.canned import state

CARD = PoolId("GPU-8f6f1c5e-7a42-4c1b-9d3e-2b1a0c9d8e7f")
SLEEPER = PoolId("GPU-1c4e22d9-03bb-4c7f-8a10-77aa0c9d8e01")
SLICE = PoolId("MIG-77aa0c9d-55b1-5c4f-9a0e-1b2c3d4e5f60")
RTX, H100 = "NVIDIA GeForce RTX 3090", "NVIDIA H100 80GB HBM3"
WELL = Health(
    utilization=0.25,
    temperature=61.4,
    power=212.5,
    power_limit=450.0,
    clock=2.52e9,
    throttled=(),
    pcie_generation=4,
    pcie_width=16,
    recovery="none",
)
HOST = HostFacts(
    swap_total=gib(8),
    swap_free=gib(7),
    limit=gib(64),
    limited_by="/sys/fs/cgroup/memory.max",
    physical=gib(128),
    anonymous=gib(9),
    shared=gib(1),
    kernel=gib(2),
    pressure=Pressure(Seconds(1.5), Seconds(0.5)),
)
LONG = "hf.co/someone/a-model-with-a-name-that-is-too-long-for-any-terminal-GGUF:Q4_K_M"


def machine() -> Snapshot:
    small = replace(
        resident("qwen3:8b", 0, idle=120),
        shares=(Share(CARD, gib(6)), Share(RAM, gib(1))),
        mapped=(Mapped("8:1:77", RAM, gib(5)),),
        pids=(4711,),
    )
    long = replace(resident(LONG, 9, pool=CARD, busy=3), pids=(4194304,))
    wide = replace(resident("通义千问:7b", 2, pool=SLICE, engine="vllm"), pids=(99,))
    return Snapshot(
        Seconds(1000),
        (
            MemoryPool(CARD, PoolKind.DEDICATED, gib(24), gib(6)),
            MemoryPool(SLICE, PoolKind.DEDICATED, gib(40), gib(37)),
            MemoryPool(RAM, PoolKind.HOST, gib(64), gib(50)),
        ),
        (small, long, wide),
        {SLEEPER: "not asked for"},
        (engine("ollama"), engine("vllm")),
        devices=(
            Device(CARD, CARD, RTX, 0, "nvidia"),
            Device(SLEEPER, SLEEPER, RTX, 1, "nvidia", asleep=True),
            Device("GPU-b", None, H100, 2, "nvidia"),
            Device(SLICE, SLICE, f"{H100} MIG 3g.40gb", 2, "nvidia", parent="GPU-b"),
            Device("npu", RAM, "NPU Strix Halo", 0, "amd", kind=DeviceKind.NPU),
        ),
        foreign=(
            Foreign(CARD, 900, "Xorg", gib(0.5)),
            Foreign(CARD, 8, "ollama", gib(0.25), EngineId("ollama")),
            Foreign(RAM, 77, "firefox", gib(3)),
        ),
        mapped={RAM: gib(5)},
        health={
            CARD: replace(WELL, throttled=("power cap", "thermal")),
            "GPU-b": replace(WELL, recovery="reset", power_limit=None),
            SLICE: Health(),
        },
        host=HOST,
    )


def document(snapshot: Snapshot | None = None) -> dict[str, Any]:
    return state(**view.of_snapshot(snapshot or machine(), Policy()))


def drawn(on: Screen, snapshot: Snapshot | None = None) -> str:
    """What --wide adds: the rest is as without it."""
    told = document(snapshot)
    plain, all = show.status(told, on), show.status(told, on, wide=True)
    lines = plain.splitlines()
    models = next(i for i, line in enumerate(lines) if line.startswith("MODEL"))
    head, tail = "\n".join(lines[:models]) + "\n", "\n".join(lines[models:]) + "\n"
    assert all.startswith(head)
    assert all.endswith(tail)
    return all.removeprefix(head).removesuffix(tail)


AT_80 = """\
NVIDIA GeForce RTX 3090  GPU-8f6f                            24 GiB
├─ used                                                      18 GiB
│  ├─ ollama                                               15.2 GiB
│  │  ├─ ollama/hf.co/someone/a-model-with-a-name-that-…      9 GiB  pid 4194304
│  │  ├─ ollama/qwen3:8b                                      6 GiB  pid 4711
│  │  └─ ollama                                             256 MiB  pid 8
│  ├─ other programs                                        512 MiB
│  │  └─ Xorg                                               512 MiB  pid 900
│  └─ unaccounted                                           2.2 GiB
└─ free                                                       6 GiB

NVIDIA H100 80GB HBM3 MIG 3g.40gb  MIG-77aa      40 GiB
├─ used                                           3 GiB
│  ├─ vllm                                        2 GiB
│  │  └─ vllm/通义千问:7b                         2 GiB  pid 99
│  └─ unaccounted                                 1 GiB
└─ free                                          37 GiB

RAM                              64 GiB
├─ used                          14 GiB
│  ├─ ollama                      6 GiB
│  │  └─ ollama/qwen3:8b          6 GiB  pid 4711
│  ├─ other programs              3 GiB
│  │  └─ firefox                  3 GiB  pid 77
│  └─ unaccounted                 5 GiB
└─ free                          50 GiB
of the used, mapped weights       5 GiB

DEVICE        BUSY   TEMP      POWER     CLOCK  LINK        STATE
…0  GPU-8f6f   25%  61 °C  212/450 W  2520 MHz  PCIe 4 x16  slowed: power cap,
                                                            thermal
…0  GPU-1c4e     -      -          -         -  -           asleep
…0 80GB HBM3   25%  61 °C      212 W  2520 MHz  PCIe 4 x16  needs: reset
  …G 3g.40gb     -      -          -         -  -           -
… Strix Halo     -      -          -         -  -           -

limited to 64 GiB by /sys/fs/cgroup/memory.max, swap 1 GiB of 8 GiB, stalled for
1.5s since boot

"""

AT_120 = """\
NVIDIA GeForce RTX 3090  GPU-8f6f                                                                    24 GiB
├─ used                                                                                              18 GiB
│  ├─ ollama                                                                                       15.2 GiB
│  │  ├─ ollama/hf.co/someone/a-model-with-a-name-that-is-too-long-for-any-terminal-GGUF:Q4_K_M       9 GiB  pid 4194304
│  │  ├─ ollama/qwen3:8b                                                                              6 GiB  pid 4711
│  │  └─ ollama                                                                                     256 MiB  pid 8
│  ├─ other programs                                                                                512 MiB
│  │  └─ Xorg                                                                                       512 MiB  pid 900
│  └─ unaccounted                                                                                   2.2 GiB
└─ free                                                                                               6 GiB

NVIDIA H100 80GB HBM3 MIG 3g.40gb  MIG-77aa      40 GiB
├─ used                                           3 GiB
│  ├─ vllm                                        2 GiB
│  │  └─ vllm/通义千问:7b                         2 GiB  pid 99
│  └─ unaccounted                                 1 GiB
└─ free                                          37 GiB

RAM                              64 GiB
├─ used                          14 GiB
│  ├─ ollama                      6 GiB
│  │  └─ ollama/qwen3:8b          6 GiB  pid 4711
│  ├─ other programs              3 GiB
│  │  └─ firefox                  3 GiB  pid 77
│  └─ unaccounted                 5 GiB
└─ free                          50 GiB
of the used, mapped weights       5 GiB

DEVICE                               BUSY   TEMP      POWER     CLOCK  LINK        STATE
NVIDIA GeForce RTX 3090  GPU-8f6f     25%  61 °C  212/450 W  2520 MHz  PCIe 4 x16  slowed: power cap, thermal
NVIDIA GeForce RTX 3090  GPU-1c4e       -      -          -         -  -           asleep
NVIDIA H100 80GB HBM3                 25%  61 °C      212 W  2520 MHz  PCIe 4 x16  needs: reset
  NVIDIA H100 80GB HBM3 MIG 3g.40gb     -      -          -         -  -           -
NPU Strix Halo                          -      -          -         -  -           -

limited to 64 GiB by /sys/fs/cgroup/memory.max, swap 1 GiB of 8 GiB, stalled for 1.5s since boot

"""

ASCII = """\
NVIDIA GeForce RTX 3090  GPU-8f6f                            24 GiB
|- used                                                      18 GiB
|  |- ollama                                               15.2 GiB
|  |  |- ollama/hf.co/someone/a-model-with-a-name-that-~      9 GiB  pid 4194304
|  |  |- ollama/qwen3:8b                                      6 GiB  pid 4711
|  |  `- ollama                                             256 MiB  pid 8
|  |- other programs                                        512 MiB
|  |  `- Xorg                                               512 MiB  pid 900
|  `- unaccounted                                           2.2 GiB
`- free                                                       6 GiB

NVIDIA H100 80GB HBM3 MIG 3g.40gb  MIG-77aa      40 GiB
|- used                                           3 GiB
|  |- vllm                                        2 GiB
|  |  `- vllm/通义千问:7b                         2 GiB  pid 99
|  `- unaccounted                                 1 GiB
`- free                                          37 GiB

RAM                              64 GiB
|- used                          14 GiB
|  |- ollama                      6 GiB
|  |  `- ollama/qwen3:8b          6 GiB  pid 4711
|  |- other programs              3 GiB
|  |  `- firefox                  3 GiB  pid 77
|  `- unaccounted                 5 GiB
`- free                          50 GiB
of the used, mapped weights       5 GiB

DEVICE        BUSY  TEMP      POWER     CLOCK  LINK        STATE
~0  GPU-8f6f   25%  61 C  212/450 W  2520 MHz  PCIe 4 x16  slowed: power cap,
                                                           thermal
~0  GPU-1c4e     -     -          -         -  -           asleep
~0 80GB HBM3   25%  61 C      212 W  2520 MHz  PCIe 4 x16  needs: reset
  ~G 3g.40gb     -     -          -         -  -           -
~ Strix Halo     -     -          -         -  -           -

limited to 64 GiB by /sys/fs/cgroup/memory.max, swap 1 GiB of 8 GiB, stalled for
1.5s since boot

"""


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        pytest.param(Screen(80), AT_80, id="80"),
        pytest.param(Screen(120), AT_120, id="120"),
        pytest.param(Screen(80, unicode=False), ASCII, id="ascii"),
    ],
)
def test_every_byte_and_every_device_is_told_word_by_word(on: Screen, expected: str) -> None:
    assert drawn(on) == expected


def test_without_wide_nothing_of_it_is_shown() -> None:
    assert "├─" not in show.status(document(), Screen(80))


@pytest.mark.parametrize("width", [72, 80, 100, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_wider_than_the_screen(width: int, unicode: bool) -> None:
    for line in drawn(Screen(width, unicode=unicode)).splitlines():
        assert cell_len(line) <= width


def test_where_only_ascii_can_be_shown_only_names_are_anything_else() -> None:
    text = drawn(Screen(80, unicode=False)).replace("通义千问", "")
    assert text.isascii()
