"""What the stand-in driver tells of its devices, all the way through the daemon: errors, who holds
what, and GPUs that are split."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.daemon import ULLAGE, Card, Daemon, State, config
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.nvml.fake_nvml import GIB
from tests.readers import GPU, blind, ends, holds, readable, reader_of, refused, run, standing_for

pytestmark = pytest.mark.slow

ERRORS = f'ullage_device_errors_total{{code="%d",kind="xid",pool="{GPU}",uuid="{GPU}"}}'
RECOVERY_ACTION, REBOOT, NOTHING = 230, 2, 0
NOWHERE = 4_000_000  # a pid that no process here has


def device_findings(state: State) -> list[tuple[str, str, str]]:
    found = [f for f in state["findings"] if f["kind"] == "device"]
    return [(f["subject"], f["severity"], f["detail"]) for f in found]


# -- errors that the driver reports


def test_an_error_of_a_program_is_a_warning_and_one_that_needs_a_reboot_blinds_its_gpu(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with FakeOllama(["a", "b"]) as server:
            card.holds(server).take("a")
            async with Daemon(tmp_path / "s", config({"o": server}), card.env) as daemon:
                await readable(daemon, GPU)
                card.driver.xid(1, 0, 31)
                state = await daemon.wait(lambda s: bool(device_findings(s)))
                text = "Xid 31: a program touched GPU memory that it does not have"
                remedy = f"{text}: restart the program"
                assert device_findings(state) == [(GPU, "warning", remedy)]
                assert await daemon.metric(ERRORS % 31) == 1
                assert await works(daemon, "b")

                card.driver.field(0, RECOVERY_ACTION, REBOOT)
                card.driver.xid(2, 0, 79)
                state = await daemon.wait(lambda s: bool(blind(s)) and is_critical(s))
                lost = "Xid 79: the GPU has fallen off the bus: reboot the machine"
                assert blind(state) == {GPU: lost}
                assert device_findings(state) == [(GPU, "critical", lost)]
                card.add(22 * GIB)  # which would be a reason to unload, were it to be believed
                _, out, _ = await daemon.cli("status")
                assert f"cannot be read: {lost}" in out
                assert f"critical    {GPU}: {lost}, for " in out
                assert f"{GPU} cannot be read: {lost}" in await refused(daemon, "b")
                assert [await daemon.metric(ERRORS % code) for code in (31, 79)] == [1, 1]
                assert [d for d in await daemon.decisions() if d["actions"]] == []
                assert server.loaded == ["a"]
                await outlives_its_reader(daemon, card)
                card.add(-22 * GIB)
                card.driver.field(0, RECOVERY_ACTION, NOTHING)
                await daemon.cli("release", "--for", "5m")
                await daemon.cli("resume")
                await readable(daemon, GPU)

    async def works(daemon: Daemon, model: str) -> bool:
        return (await daemon.cli("plan", "--load", model))[0] == 0

    async def outlives_its_reader(daemon: Daemon, card: Card) -> None:
        """A process that has seen nothing of it does not take the GPU for a good one."""
        card.driver.drop("event")  # a driver tells of them once, whoever asks
        reader = reader_of(daemon.pid)
        os.kill(reader, signal.SIGKILL)
        assert ends(reader, reaped=True)
        told = "the driver asks for this: reboot"
        await daemon.wait(lambda s: blind(s) == {GPU: told})
        assert await daemon.metric(ERRORS % 79) == 1

    def is_critical(state: State) -> bool:
        return any(severity == "critical" for _, severity, _ in device_findings(state))

    run(story())


# -- who holds what


def test_a_process_in_two_lists_is_charged_once_with_the_larger_size(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        card.add(5 * GIB)
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            with standing_for(server, "a") as pids:
                card.driver.proc(0, "C", pids["a"], 2 * GIB)
                card.driver.proc(0, "G", pids["a"], 3 * GIB)
                card.driver.proc(0, "G", os.getpid(), GIB // 2)
                text = config({"llama": server})
                async with Daemon(tmp_path / "s", text, card.env) as daemon:
                    state = await daemon.wait(lambda s: holds(s, "a", GPU) is not None)
                    assert holds(state, "a", GPU) == 3 * GIB
                    (pool,) = [p for p in state["pools"] if p["id"] == GPU]
                    assert (pool["held"], pool["foreign"]) == (3 * GIB, 3 * GIB)
                    owners = {
                        owner: await daemon.metric(
                            f'ullage_memory_attributed_bytes{{owner="{owner}",pool="{GPU}"}}'
                        )
                        for owner in ("llama", "_external", "_unknown")
                    }
                    # This process is the engine's: it listens on its port.
                    assert owners == {"llama": 3.5 * GIB, "_external": 0, "_unknown": 2.5 * GIB}

    run(story())


def test_a_process_that_is_not_to_be_seen_from_here_keeps_its_bytes(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        card.add(5 * GIB)
        card.driver.proc(0, "C", NOWHERE, 4 * GIB)
        async with Daemon(tmp_path / "s", config({}), card.env) as daemon:
            state = await daemon.wait(lambda s: any(f["pool"] == GPU for f in s["foreign"]))
            (found,) = [f for f in state["foreign"] if f["pool"] == GPU]
            assert (found["pid"], found["size"]) == (NOWHERE, 4 * GIB)
            assert found["name"] == f"pid {NOWHERE}"

    run(story())


class Contained(Daemon):
    """In a pid namespace of its own."""

    @property
    def pid(self) -> int:
        """Of the daemon, as it is seen from here; what was started waits for it."""
        (child,) = psutil.Process(self.process.pid).children()
        return child.pid


ROOT = () if os.geteuid() == 0 else ("--user", "--map-root-user")
APART = ("unshare", *ROOT, "--pid", "--fork", "--mount-proc", "--kill-child")


def test_from_a_container_a_size_of_0_is_not_believed(tmp_path: Path, nvml_library: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*APART, "true"], check=False).returncode:
        pytest.skip("no pid namespaces here")

    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        card.add(5 * GIB)
        async with FakeOllama(["a"], sizes={"a": 2 * GIB}) as server:
            server.take("a")
            model = shlex.join(["sh", "-c", "kill -STOP $$", *server.argv("a")])
            script = f'{model} & exec {shlex.join(ULLAGE)} "$@"'
            program = (*APART, "sh", "-c", script, "sh")
            card.driver.proc(0, "C", 2, 0)  # the first pid is the daemon's, and this the model's
            text = config({"o": server})
            async with Contained(tmp_path / "s", text, card.env, program=program) as daemon:
                state = await daemon.wait(
                    lambda s: [m["pids"] for m in s["models"]] == [[2]] and bool(measured_ram(s))
                )
                (share,) = [s for s in state["models"][0]["shares"] if s["pool"] == GPU]
                assert (share["size"], share["source"]) == (2 * GIB, "reported")

    def measured_ram(state: State) -> int | None:
        return holds(state, "a", "ram")

    run(story())


# -- split by MIG


def test_a_model_in_an_instance_is_charged_there_and_relief_is_that_instances_alone(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        card.driver.gpu(0, mig=1, name="NVIDIA A100")
        used = {1: 4 * GIB, 2: 4 * GIB}

        def fill(instance: int, size: int) -> None:
            used[instance] += size
            card.driver.mig(0, instance - 1, used=used[instance])

        for gi in used:
            name = f"NVIDIA A100 MIG 3g.20gb, {gi}"
            card.driver.mig(0, gi - 1, gi=gi, ci=0, name=name, uuid=f"MIG-{gi}", total=20 * GIB)
            fill(gi, 0)
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.on_unload = lambda model: fill({"a": 1, "b": 2}[model], -3 * GIB)
            server.take("a")
            server.take("b")
            with standing_for(server, "a", "b") as pids:
                card.driver.proc(0, "C", pids["a"], 3 * GIB, gi=1)
                card.driver.proc(0, "C", pids["b"], 3 * GIB, gi=2)
                text = config({"llama": server})
                async with Daemon(tmp_path / "s", text, card.env) as daemon:
                    one, two = f"{GPU}/gi1", f"{GPU}/gi2"
                    await readable(daemon, one, two)
                    state = await daemon.wait(lambda s: holds(s, "b", two) is not None)
                    assert [holds(state, m, p) for m in "ab" for p in (one, two)] == [
                        3 * GIB,
                        None,
                        None,
                        3 * GIB,
                    ]
                    devices = [(d["uuid"], d["pool"], d["parent"]) for d in state["devices"]]
                    assert devices == [
                        (GPU, None, None),
                        ("MIG-1", one, GPU),
                        ("MIG-2", two, GPU),
                    ]
                    _, out, _ = await daemon.cli("status")
                    assert f"NVIDIA A100 MIG 3g.20gb, 2  {two}" in out
                    fill(2, 16 * GIB - GIB // 4)  # a neighbour takes all but a little of the second
                    await daemon.wait_for_models("a")
                    state = await daemon.wait(lambda s: not s["running"])
                    (decision,) = [d for d in await daemon.decisions() if d["actions"]]
                    assert decision["trigger"] == "relief"
                    (action,) = decision["actions"]
                    assert action["model"] == "llama/b"
                    assert action["shares"][0] == {
                        "pool": two,
                        "size": 3 * GIB,
                        "source": "measured",
                    }
                    (outcome,) = decision["outcomes"]
                    assert outcome["judgement"]["verdict"] == "recovered"
                    assert holds(state, "a", one) == 3 * GIB

    run(story())
