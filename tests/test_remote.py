"""An engine on another machine, or behind a tunnel to one: its models take no memory of this one,
and nobody here has to leave for them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.reading import NONE, RAM, MemoryPool, PoolKind, Seconds, gib
from supervisor.core.assemble import SeenMachine, SeenModel, assemble
from supervisor.core.footprint import better, expect
from supervisor.core.plan import Load, plan, relieve
from supervisor.core.policy import Amount, EnginePolicy, ModelPolicy
from supervisor.core.snapshot import REMOTE, Installed, Resident, Share, Source, State
from supervisor.events import meet
from tests.builders import GPU, NO_RESERVE, engine, machine, pool, ref, reserve, resident
from tests.daemon import Card, Daemon, config
from tests.engines.fake import FakeOllama
from tests.nvml.fake_nvml import GIB
from tests.readers import readable, run, standing_for

FAR = ref("far")
ELSEWHERE = replace(NO_RESERVE, engines={FAR.engine: EnginePolicy(pools=frozenset({REMOTE}))})
HOST = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60))


def seen(**said: object) -> Resident:
    told = SeenModel(FAR, State.LOADED, tied=frozenset({REMOTE}), **said)  # type: ignore[arg-type]
    here = SeenMachine((pool(4), HOST))
    (found,) = assemble(Seconds(0), here, {}, (engine(),), (told,)).residents
    return found


def test_what_its_engine_says_is_of_no_pool_of_ours() -> None:
    assert seen(reported=gib(9), reported_gpu=gib(7)).shares == (
        Share(REMOTE, gib(9), Source.REPORTED),
    )
    assert seen(file_size=gib(5)).shares == (Share(REMOTE, gib(5), Source.ESTIMATED),)
    assert seen().shares == seen(reported=NONE).shares == ()


def test_it_is_expected_to_take_nothing_whatever_is_known_of_it() -> None:
    installed = (Installed(FAR, gib(40)),)
    world = replace(machine(free=1), installed=installed)
    said = replace(ELSEWHERE, models={"far": ModelPolicy(memory=Amount(gib(30)))})
    nothing = (Share(REMOTE, NONE, Source.DECLARED),)
    for policy in (ELSEWHERE, said):
        for learned in (None, (Share(GPU, gib(20)),)):
            found = expect(world, policy, FAR, learned)
            assert found is not None
            assert (found.ref, found.shares) == (FAR, nothing)
    shares = (Share(REMOTE, gib(40), Source.ESTIMATED),)
    guessed = replace(resident("far", 40), shares=shares)
    assert better(world, said, guessed, (Share(GPU, gib(20)),)) == guessed


def test_it_is_loaded_where_nothing_is_free_and_nobody_leaves() -> None:
    world = machine(resident("near", 23, idle=900, engine="near"), free=0)
    demand = expect(world, ELSEWHERE, FAR, None)
    assert demand is not None
    assert plan(world, ELSEWHERE, demand).actions == (Load(FAR, demand.shares),)
    blind = replace(world, pools=(HOST,), blind={GPU: "it hangs"})
    assert plan(blind, ELSEWHERE, demand).actions == (Load(FAR, demand.shares),)
    assert not meet({s.pool for s in demand.shares}, {GPU})  # nor does it wait for one here


def test_it_does_not_leave_for_those_who_are_here() -> None:
    far = resident("far", 40, pool=REMOTE, idle=9000)
    near = resident("near", 20, idle=60, engine="near")
    short = replace(reserve(4), engines=ELSEWHERE.engines)
    found = relieve(machine(far, near, free=1), short)
    assert [e.ref for e in found.evictions] == [near.ref]
    assert relieve(machine(far, free=1), short).evictions == ()


@pytest.mark.slow
def test_a_model_on_another_machine_is_loaded_beside_a_full_gpu(
    tmp_path: Path, nvml_library: Path
) -> None:
    """The other one is on this machine as well, to the letter of its command line: a tunnel's end
    looks like that. Only the operator knows."""

    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        near = FakeOllama(["big"], sizes={"big": 20 * GIB})
        far = FakeOllama(["huge", "more"], sizes={"huge": 40 * GIB, "more": 12 * GIB})
        async with near, far:
            card.holds(near).take("big")
            far.take("huge")
            tables = f'[engines.far]\nkind = "ollama"\nurl = "{far.url}"\npools = ["remote"]'
            text = config({"near": near}, tables=tables)
            with standing_for(far, "huge") as pids:
                async with Daemon(tmp_path / "s", text, card.env) as daemon:
                    await readable(daemon, "GPU-aaaa")
                    assert await held(daemon, "huge") == ([("remote", 40 * GIB)], [])
                    assert (await daemon.cli("load", "far/more"))[0] == 0
                    assert (near.loaded, sorted(far.loaded)) == (["big"], ["huge", "more"])
                    _, out, _ = await daemon.cli("status")
                    assert re.search(r"far/huge +40 GiB +reported +remote ", out)
                    code, out, err = await daemon.cli("unload", "far/more")
                    assert code == 0, out + err
                    assert far.loaded == ["huge"]

                    assert (await daemon.cli("settings", "set", "engines.far.pools", "ram"))[0] == 0
                    held_by = [*pids.values()]
                    await daemon.wait(lambda s: held_by in [m["pids"] for m in s["models"]])
                    shares, _ = await held(daemon, "huge")
                    assert {p for p, _ in shares} == {"ram"}

    async def held(daemon: Daemon, model: str) -> tuple[list[tuple[str, int]], list[int]]:
        state = await daemon.wait(lambda s: any(m["model"] == model for m in s["models"]))
        (found,) = [m for m in state["models"] if m["model"] == model]
        return [(s["pool"], s["size"]) for s in found["shares"]], found["pids"]

    run(story())
