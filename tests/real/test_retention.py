"""Leases, keep_alive and unloads that wait for the last user: with the real llama-server, seen in
its processes and their memory."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from tests.daemon import Daemon
from tests.real.test_real_engine import A, B, Clients, config, engine, run

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("installed")]

SHARE = 0.75  # of what a model held: what has to be back before it counts as given back


def held(clients: Clients) -> dict[str, int]:
    """What each model's process holds, in bytes, by the kernel's word."""
    return {name: child.memory_info().rss for name, child in clients.children().items()}


async def given_back(daemon: Daemon) -> int:
    """What came back by the newest unload, as it was measured in free memory."""
    await daemon.wait(lambda s: not s["running"])
    newest = (await daemon.decisions())[-1]
    (outcome,) = newest["outcomes"]
    assert outcome["result"] == "done", outcome
    return int(outcome["judgement"]["returned"])


def test_with_a_keep_alive_of_nothing_a_model_goes_after_its_request(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            async with Daemon(tmp_path / "state", config(clients, 'keep_alive = "0"')) as daemon:
                await clients.load(A)
                await daemon.wait_for_models(A)
                size = held(clients)[A]
                state = await daemon.state()
                (row,) = state["models"]
                assert row["kept_by"][0].startswith("waits for its first user")
                async with clients.generating(A):
                    await daemon.wait(lambda s: any(m["busy"] for m in s["models"]))
                    at = (await daemon.state())["uptime"]
                    await daemon.wait(lambda s: s["uptime"] > at + 2)
                    assert A in held(clients)  # a request is running still
                await daemon.wait_for_models()
                assert held(clients) == {}
                assert await given_back(daemon) > SHARE * size
                assert (await daemon.decisions())[-1]["trigger"] == "unused"

    run(story())


def test_an_on_demand_model_comes_with_its_first_lease_and_goes_with_its_last(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with engine() as clients:
            text = config(clients, 'retention = "on_demand"')
            async with Daemon(tmp_path / "state", text) as daemon:
                one = (await daemon.post("leases", {"model": A, "client": "one"})).json()["lease"]
                two = (await daemon.post("leases", {"model": A, "client": "two"})).json()["lease"]
                assert set(held(clients)) == {A}
                size = held(clients)[A]
                await clients.chat(A)
                await daemon.client.delete(f"/api/v1/leases/{one['id']}")
                at = (await daemon.state())["uptime"]
                await daemon.wait(lambda s: s["uptime"] > at + 2)
                assert set(held(clients)) == {A}

                # Neither a restart of the daemon nor somebody's load takes the other one's away.
                await daemon.stop()
                await daemon.start()
                state = await daemon.wait_for_models(A)
                assert [e["client"] for e in state["leases"]] == ["two"]
                assert state["models"][0]["kept_by"][0].startswith("leased by two")

                await daemon.client.delete(f"/api/v1/leases/{two['id']}")
                await daemon.wait_for_models()
                assert held(clients) == {}
                assert await given_back(daemon) > SHARE * size

                # While a command runs, and no longer.
                look = "import psutil, sys; print(len(psutil.Process(int(sys.argv[1])).children()))"
                words = [sys.executable, "-c", look, str(clients.router.pid)]
                code, out, err = await daemon.cli("lease", B, "--", *words)
                assert (code, out) == (0, "1\n"), err
                await daemon.wait_for_models()
                assert held(clients) == {}

    run(story())


def test_an_unload_of_a_model_in_use_ends_after_its_last_request(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            async with Daemon(tmp_path / "state", config(clients)) as daemon:
                await clients.load(A)
                await daemon.wait_for_models(A)
                async with clients.generating(A):
                    await daemon.wait(lambda s: any(m["busy"] for m in s["models"]))
                    reply = await daemon.post("evict", {"models": [A]})
                    assert reply.status_code == 202, reply.text
                    state = await daemon.wait(lambda s: s["models"][0]["status"] == "leaving")
                    assert state["leaving"] == [f"llama/{A}"]
                    at = state["uptime"]
                    await daemon.wait(lambda s: s["uptime"] > at + 2)
                    assert A in held(clients)
                await daemon.wait_for_models()
                assert held(clients) == {}
                assert f"unload llama/{A}: freed (contexts=0)" in daemon.log

    run(story())


def test_what_is_reserved_counts_down_with_what_the_job_really_takes(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            text = config(clients, 'holders_interval = "250ms"')
            async with Daemon(tmp_path / "state", text) as daemon:
                job = psutil.Popen(
                    [sys.executable, "-c", "b = bytearray(300 << 20); b[::4096] = b'x' * 76800; "
                     "print('held', flush=True); input()"],
                    stdin=-1, stdout=-1,
                )  # fmt: skip
                try:
                    assert job.stdout.readline() == b"held\n"
                    body = {"size": "400MiB", "pool": "ram", "for": "1m", "pids": [job.pid]}
                    reply = await daemon.post("reservations", body)
                    assert reply.status_code == 201, reply.text
                    state = await daemon.wait(lambda s: s["reservations"][0]["used"] > 300 << 20)
                    (row,) = state["reservations"]
                    assert 60 << 20 < row["held"] < 100 << 20
                    (ram,) = [p for p in state["pools"] if p["id"] == "ram"]
                    assert ram["promised"] == row["held"]
                finally:
                    job.communicate(b"\n")
                await daemon.wait(lambda s: s["reservations"] == [])  # it has ended
                assert "its processes have ended" in daemon.log

    run(story())
