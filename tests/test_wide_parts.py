"""What must hold of every tree, every row of the devices, and the host's line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from collectors.reading import (
    Bytes,
    Device,
    Health,
    HostFacts,
    MemoryPool,
    PoolKind,
    Pressure,
    Seconds,
    gib,
)
from supervisor.cli import show, wide
from supervisor.cli.bars import Screen
from supervisor.units import format_bytes
from supervisor.web import view
from tests.test_wide import CARD, RTX, SLEEPER, WELL, document, machine

# -- the trees

owners = st.sampled_from(["model", "engine", "foreign", "kernel", "shared", "unaccounted"])
parts = st.lists(
    st.builds(
        lambda owner, name, size, engine: {
            "owner": owner,
            "name": name,
            "size": size,
            "pid": 7 if owner == "foreign" else None,
            "engine": engine if owner in ("model", "engine") else None,
        },
        owners,
        st.text(max_size=50),
        st.integers(1, 2**45),
        st.sampled_from(["ollama", "vllm"]),
    ),
    max_size=8,
)


@given(parts, st.integers(0, 2**45), st.integers(72, 200), st.booleans())
def test_the_parts_of_a_tree_sum_to_what_is_used_at_every_depth(
    parts: list[dict[str, Any]], free: int, width: int, unicode: bool
) -> None:
    used = sum(p["size"] for p in parts)
    pool = {
        "id": "GPU-a",
        "name": "A card",
        "blind": None,
        "mapped": 0,
        "total": used + free,
        "free": free,
        "parts": parts,
    }
    lines = list(wide._lines(pool))
    depths = {d: sum(line.size for line in lines if line.depth == d) for d in (1, 2)}
    assert depths == {1: used + free, 2: used}
    named = {"model", "engine", "foreign"}
    assert sum(line.size for line in lines if line.depth == 3) == sum(
        p["size"] for p in parts if p["owner"] in named
    )
    [tree] = wide.trees([pool], {"GPU-a": "GPU-a"}, Screen(width, unicode=unicode))
    rows = tree.plain.splitlines()
    assert len(rows) == len(lines) + 1
    assert {cell_len(row.partition("  pid ")[0]) for row in rows} == {cell_len(rows[0])}
    for row, line in zip(rows[1:], lines, strict=True):
        assert row.removesuffix("  pid 7").endswith(f" {format_bytes(line.size)}")
        assert cell_len(row) <= width


def test_a_pool_that_cannot_be_read_has_no_tree() -> None:
    told = document()
    shown = wide.trees(told["pools"], {p["id"]: p["id"] for p in told["pools"]}, Screen(80))
    heads = [tree.plain.splitlines()[0] for tree in shown]
    assert len(heads) == 3
    assert not any(SLEEPER in head for head in heads)


def test_a_pool_of_which_nothing_is_used_is_told_too() -> None:
    empty = replace(
        machine(),
        pools=(MemoryPool(CARD, PoolKind.DEDICATED, gib(24), gib(24)),),
        residents=(),
        blind={},
        foreign=(),
        mapped={},
        host=None,
    )
    (pool,) = document(empty)["pools"]
    [tree] = wide.trees([pool], {CARD: "GPU-8f6f"}, Screen(80))
    assert [line.split() for line in tree.plain.splitlines()] == [
        [*RTX.split(), "GPU-8f6f", "24", "GiB"],
        ["├─", "used", "0", "B"],
        ["└─", "free", "24", "GiB"],
    ]


# -- the devices


def row(name: str, health: Health | None, **others: Any) -> dict[str, Any]:
    return view.device(Device(name, None, name, 0, "nvidia", **others), health)


def table(*rows: dict[str, Any], on: Screen = Screen(120)) -> list[str]:  # noqa: B008
    shown = wide.devices(rows, {r["uuid"]: r["uuid"] for r in rows}, on)
    return [line.rstrip() for line in show.drawn([shown], on).splitlines()[1:]]


@pytest.mark.parametrize(
    ("health", "told"),
    [
        (WELL, "a  25%  61 °C  212/450 W  2520 MHz  PCIe 4 x16  ok"),
        (None, "a - - - - - -"),
        (Health(), "a - - - - - -"),
        (Health(utilization=0.0), "a 0% - - - - ok"),
        (Health(power=30.4), "a - - 30 W - - ok"),
        (Health(pcie_generation=4), "a - - - - - ok"),
        (Health(throttled=("thermal", "power cap")), "a - - - - - slowed: thermal, power cap"),
        (
            Health(throttled=("thermal",), recovery="reset"),
            "a - - - - - needs: reset",
        ),
    ],
)
def test_what_a_device_cannot_tell_is_a_dash_and_what_ails_it_is_said(
    health: Health | None, told: str
) -> None:
    [line] = table(row("a", health))
    assert line.split() == told.split()


def test_a_device_that_sleeps_says_so_and_nothing_else() -> None:
    [line] = table(row("a", None, asleep=True))
    assert line.split() == ["a", "-", "-", "-", "-", "-", "asleep"]


def test_an_instance_stands_below_its_gpu() -> None:
    whole, instance = table(row("GPU", WELL), row("MIG", None, parent="GPU"))
    assert whole.startswith("GPU ")
    assert instance.startswith("  MIG ")


def test_cards_of_one_name_are_told_apart() -> None:
    twins = [{**row(id, WELL), "name": RTX} for id in ("GPU-a", "GPU-b")]
    lines = table(*twins, row("other", WELL), on=Screen(72))
    assert ["GPU-a" in lines[0], "GPU-b" in lines[1]] == [True, True]


# -- the host


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (HostFacts(Bytes(0), Bytes(0)), ""),
        (HostFacts(gib(8), gib(8)), "swap 0 B of 8 GiB"),
        (HostFacts(Bytes(0), Bytes(0), limit=gib(9), limited_by="x"), "limited to 9 GiB by x"),
        (HostFacts(Bytes(0), Bytes(0), limit=gib(9), limited_by="x", physical=gib(9)), ""),
        (
            HostFacts(Bytes(0), Bytes(0), pressure=Pressure(Seconds(90), Seconds(0))),
            "stalled for 1m30s since boot",
        ),
    ],
)
def test_of_the_host_is_told_what_there_is_to_tell(facts: HostFacts, told: str) -> None:
    assert wide.host(view.host(facts)).plain == told


def test_below_the_last_of_a_branch_the_branch_ends() -> None:
    part = {"owner": "foreign", "name": "Xorg", "size": 1, "pid": None, "engine": None}
    pool = {"id": "ram", "name": "RAM", "blind": None, "mapped": 0, "total": 1, "free": 0}
    [tree] = wide.trees([{**pool, "parts": [part]}], {"ram": "ram"}, Screen(80))
    assert [line.split()[:-2] for line in tree.plain.splitlines()] == [
        ["RAM"],
        ["├─", "used"],
        ["│", "└─", "other", "programs"],
        ["│", "└─", "Xorg"],
        ["└─", "free"],
    ]
