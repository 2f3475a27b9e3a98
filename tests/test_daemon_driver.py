"""The daemon while its driver hangs, loses a GPU, is reloaded, or is let go of.

The driver is a stand-in. It is read by a process of the daemon's, as a real one is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from collectors import nvidia
from tests.daemon import POLL, Card, Daemon, State, config
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.nvml.fake_nvml import GIB
from tests.readers import (
    GPU,
    blind,
    ends,
    holds,
    read,
    readable,
    reader_of,
    readers_of,
    refused,
    run,
    standing_for,
    state_of,
    unkillable,
)

pytestmark = pytest.mark.slow

UNINITIALIZED, NOT_LOADED, LOST = 1, 9, 15
IMPATIENT = (sys.executable, "-m", "tests.brisk")
AGE = 'ullage_reading_age_seconds{collector="nvidia",tier="memory"}'
BLIND = f"WARNING ullage.loop: blind {GPU}: "
STALLED = 'ullage_collector_stalled{collector="nvidia"}'
DARK = ("total", "free", "headroom", "held", "foreign")


async def becomes(daemon: Daemon, metric: str, value: float) -> None:
    async with asyncio.timeout(20):
        while await daemon.metric(metric) != value:
            await asyncio.sleep(POLL)


# -- it hangs


def test_a_driver_that_hangs_is_read_by_another_process_when_it_answers_again(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with FakeOllama(["a", "b"]) as server:
            card.holds(server).take("a")
            text = config({"o": server})
            with standing_for(server, "a") as pids:
                card.driver.proc(0, "C", pids["a"], GIB)
                async with Daemon(tmp_path / "s", text, card.env, program=IMPATIENT) as daemon:
                    await daemon.wait(lambda s: holds(s, "a", GPU) == GIB)
                    reader = reader_of(daemon.pid)
                    card.driver.hang()
                    state = await daemon.wait(lambda s: GPU in blind(s))
                    (pool,) = [p for p in state["pools"] if p["id"] == GPU]
                    assert {pool[number] for number in DARK} == {None}
                    assert read(state) == {"ram"}
                    out = await refused(daemon, "b")
                    assert f"of {GPU}\n{GPU} cannot be read: nvidia: " in out
                    await daemon.wait(lambda s: "was killed" in blind(s)[GPU])
                    await becomes(daemon, STALLED, 1)
                    assert await daemon.metric(AGE) > 2
                    assert ends(reader, reaped=True)
                    assert holds(await daemon.state(), "a", GPU) == GIB
                    card.driver.drop("hang")
                    await readable(daemon, GPU)
                    assert reader_of(daemon.pid) != reader
                    await becomes(daemon, STALLED, 0)
                    assert await daemon.metric(AGE) < 2
                    assert daemon.log.count(BLIND) == 1
                    assert server.loaded == ["a"]

    run(story())


def test_a_reader_that_cannot_be_killed_holds_up_neither_the_end_nor_the_next_start(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with FakeOllama(["a", "b"]) as server:
            card.holds(server).take("a")
            text = config({"o": server})
            daemon = Daemon(tmp_path / "s", text, card.env, program=IMPATIENT)
            with standing_for(server, "a") as pids:
                card.driver.proc(0, "C", pids["a"], GIB)
                async with daemon:
                    await daemon.wait(lambda s: holds(s, "a", GPU) == GIB)
                    hung = reader_of(daemon.pid)
                    with unkillable(hung):
                        card.driver.hang()
                        await hangs_for_good(daemon, hung)
                        await another_starts(daemon, hung)
                        card.driver.drop("hang")
                        state = await readable(daemon, GPU)
                        assert state_of(hung) == "t"
                        assert holds(state, "a", GPU) == GIB
                    assert ends(hung)

    async def hangs_for_good(daemon: Daemon, hung: int) -> None:
        told = f"process {hung} hangs in the driver and cannot be killed (state t)"
        await daemon.wait(lambda s: told in blind(s).get(GPU, ""))
        assert await daemon.metric(STALLED) == 1
        assert readers_of(daemon.pid) == [hung]
        assert (await daemon.client.get("/healthz")).status_code == 200
        code, _, err = await daemon.cli("release", "--for", "5m")
        assert (code, "the driver does not let go" in err) == (5, True)
        await daemon.wait(lambda s: "its driver does not let go" in blind(s).get(GPU, ""))

    async def another_starts(daemon: Daemon, hung: int) -> None:
        began, address = time.monotonic(), daemon.url
        assert await daemon.stop() == 0
        assert time.monotonic() - began < 8
        assert state_of(hung) == "t"
        daemon.flags = ("--port", address.rpartition(":")[2])
        await daemon.start()
        assert (daemon.url, "kept in memory" in daemon.log) == (address, False)
        # Nobody has ever told this one which pools there are.
        state = await daemon.wait(lambda s: "nvidia" in blind(s))
        assert holds(state, "a", GPU) is None
        assert "nvidia cannot be read: nvidia: " in await refused(daemon, "b")

    run(story())


def test_what_a_model_was_seen_to_hold_is_not_forgotten_while_its_gpu_cannot_be_read(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with FakeLlamaRouter(["a"]) as server:  # which says nothing of sizes
            card.holds(server).take("a")
            text = config({"llama": server})
            with standing_for(server, "a") as pids:
                card.driver.proc(0, "C", pids["a"], 3 * GIB)
                async with Daemon(tmp_path / "s", text, card.env) as daemon:
                    await daemon.wait(lambda s: holds(s, "a", GPU) == 3 * GIB)
                    seen = await daemon.metric("ullage_samples_total")
                    while await daemon.metric("ullage_samples_total") < seen + 2:
                        await daemon.get("state")  # who holds what is listed once more
                card.driver.hang()
                async with daemon:
                    await daemon.wait(lambda s: "nvidia" in blind(s) and bool(s["models"]))
                    card.driver.drop("hang")
                    server.drop("a")
                    await readable(daemon, GPU)
                    await daemon.wait_for_models()
                    _, out, _ = await daemon.cli("plan", "--load", "a")
                    assert f"needs 3.0 GiB of {GPU}" in out

    run(story())


# -- it loses a GPU, or everything


def test_of_two_gpus_one_that_is_lost_is_blind_alone_until_it_comes_back(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        card.driver.gpu(1, name="NVIDIA RTX 3090", uuid="GPU-bbbb", total=24 * GIB, used=GIB)
        async with FakeOllama(["a"]) as server:
            server.take("a")
            text = config({"o": server}, ram='reserve = 0\nbudget = "1MiB"')
            with standing_for(server, "a") as pids:
                card.driver.proc(1, "C", pids["a"], GIB)
                async with Daemon(tmp_path / "s", text, card.env) as daemon:
                    await daemon.wait(lambda s: holds(s, "a", "GPU-bbbb") == GIB)
                    card.driver.fault(LOST, index=1)
                    card.add(2 * GIB)
                    state = await daemon.wait(lambda s: "GPU-bbbb" in blind(s))
                    assert "NVML error 15" in blind(state)["GPU-bbbb"]
                    assert read(state) == {"ram", GPU}
                    state = await daemon.wait(lambda s: free(s, GPU) == 21 * GIB)
                    # What it held there has not moved, and nobody goes for what is not known.
                    assert holds(state, "a", "GPU-bbbb") == GIB
                    assert [d["driver"] is None for d in state["devices"]] == [False, True]
                    card.driver.drop("fault")
                    state = await readable(daemon, GPU, "GPU-bbbb")
                    assert [d["driver"] for d in state["devices"]] == ["580.82.07"] * 2
                    assert server.loaded == ["a"]

    run(story())


def free(state: State, pool: str) -> int | None:
    size: int | None = next(p["free"] for p in state["pools"] if p["id"] == pool)
    return size


def test_a_driver_that_was_reloaded_is_read_again_as_what_it_is_now(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with Daemon(tmp_path / "s", config({}), card.env) as daemon:
            await readable(daemon, GPU)
            reader = reader_of(daemon.pid)
            for code in (UNINITIALIZED, NOT_LOADED):
                told = f"NVML error {code}"
                card.driver.drop("fault")
                card.driver.fault(code)
                await daemon.wait(lambda s, told=told: told in blind(s).get(GPU, ""))
            card.driver.driver("590.48.01")
            card.driver.drop("fault")
            state = await readable(daemon, GPU)
            assert [d["driver"] for d in state["devices"]] == ["590.48.01"]
            assert reader_of(daemon.pid) == reader

    run(story())


def test_a_driver_that_was_updated_is_read_by_a_process_that_has_its_library(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with Daemon(tmp_path / "s", config({}), card.env, program=IMPATIENT) as daemon:
            await readable(daemon, GPU)
            reader = reader_of(daemon.pid)
            card.driver.driver("590.48.01", strict=True)
            state = await daemon.wait(lambda s: GPU in blind(s))
            assert "the driver was updated under its library" in blind(state)[GPU]
            state = await readable(daemon, GPU)
            assert [d["driver"] for d in state["devices"]] == ["590.48.01"]
            assert reader_of(daemon.pid) != reader

    run(story())


# -- the process that reads it


def test_a_reader_that_somebody_killed_is_one_fault_and_has_a_successor(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with Daemon(tmp_path / "s", config({}), card.env, program=IMPATIENT) as daemon:
            await readable(daemon, GPU)
            reader = reader_of(daemon.pid)
            os.kill(reader, signal.SIGKILL)
            state = await daemon.wait(lambda s: GPU in blind(s))
            assert "its process ended by SIGKILL" in blind(state)[GPU]
            assert await daemon.metric(STALLED) == 0
            assert ends(reader, reaped=True)
            await readable(daemon, GPU)
            assert readers_of(daemon.pid) == [reader_of(daemon.pid)] != [reader]
            assert daemon.log.count(BLIND) == 1

    run(story())


def test_a_daemon_that_is_killed_takes_its_reader_along_even_if_that_hangs(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with Daemon(tmp_path / "s", config({}), card.env) as daemon:
            await readable(daemon, GPU)
            reader = reader_of(daemon.pid)
            card.driver.hang()
            await daemon.wait(lambda s: GPU in blind(s))
            assert await daemon.stop(signal.SIGKILL) == -signal.SIGKILL
            assert ends(reader)

    run(story())


# -- let go of


def test_released_gpus_have_no_reader_and_no_load_until_they_are_taken_back(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with FakeOllama(["a", "b"]) as server:
            card.holds(server).take("a")
            async with Daemon(tmp_path / "s", config({"o": server}), card.env) as daemon:
                await readable(daemon, GPU)
                reader = reader_of(daemon.pid)
                code, out, _ = await daemon.cli("release", "--for", "5m")
                assert (code, out.startswith("released: nvidia, until ")) == (0, True)
                assert ends(reader, reaped=True)  # so no device is open: a reset can be tried
                card.add(22 * GIB)
                state = await daemon.wait(lambda s: "another 299 s" in blind(s).get(GPU, ""))
                assert "nvidia: released for an administrator" in blind(state)[GPU]
                assert read(state) == {"ram"}
                assert readers_of(daemon.pid) == []
                assert "released for an administrator" in await refused(daemon, "b")
                code, out, err = await daemon.cli("load", "b")
                assert (code, "released for an administrator" in out + err) == (5, True)
                _, out, _ = await daemon.cli("decisions")
                assert f"{GPU} cannot be read: nvidia: released" in out
                assert server.loaded == ["a"]
                card.add(-22 * GIB)
                assert await daemon.cli("resume") == (0, "resumed: nvidia\n", "")
                await readable(daemon, GPU)
                assert (await daemon.cli("load", "b"))[0] == 0
                assert server.loaded == ["a", "b"]

    run(story())


@pytest.mark.skipif(nvidia.present(Path("/")), reason="this machine has an NVIDIA driver")
def test_where_nothing_is_held_open_there_is_nothing_to_release(tmp_path: Path) -> None:
    async def story() -> None:
        async with Daemon(tmp_path / "s", config({})) as daemon:
            code, out, err = await daemon.cli("release", "--for", "5m")
            assert (code, out) == (5, "")
            assert "there is nothing to let go of" in err
            assert await daemon.cli("resume") == (0, "nothing was released\n", "")

    run(story())
