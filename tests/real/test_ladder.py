"""The real llama-server: its children end by signals where that is allowed, who leaves by itself
is told from who was unloaded, and the doctor knows its habits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.real.test_real_engine import A, B, _done, config, engine, run

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("installed")]


@pytest.mark.parametrize("rungs", [["kill"], ["term", "kill"]])
def test_where_only_signals_are_allowed_the_models_own_process_gets_them(
    tmp_path: Path, rungs: list[str]
) -> None:
    """A child of this router gives its memory back on SIGTERM, and stays, serving nobody."""

    async def story() -> None:
        async with engine() as clients:
            text = config(clients, f"eviction_ladder = {rungs}")
            async with Daemon(tmp_path / "state", text) as daemon:
                await clients.load(A, B)
                await daemon.wait_for_models(A, B)
                child = clients.children()[A]
                code, out, err = await daemon.cli("evict", A)
                assert code == 0, err
                assert "kill the process of llama/alpha" in out
                assert not child.is_running() or child.status() == "zombie"
                assert set(clients.children()) == {B}
                (decision,) = await _done(daemon)
                (outcome,) = decision["outcomes"]
                assert (outcome["rung"], outcome["result"]) == ("kill", "done")
                if len(rungs) > 1:
                    (slip,) = outcome["slipped"]
                    assert slip.startswith("end the process of llama/alpha: ")
                assert outcome["judgement"]["verdict"] == "recovered"
                await clients.load(A)  # its router starts it anew, and is none the worse for it
                await clients.chat(A)

    run(story())


def test_what_a_client_unloads_is_told_from_what_ullage_did(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            async with Daemon(tmp_path / "state", config(clients)) as daemon:
                await clients.load(A, B)
                await daemon.wait_for_models(A, B)
                await clients.http.post("/models/unload", json={"model": A})
                await daemon.wait_for_models(B)
                code, _, err = await daemon.cli("evict", B)
                assert code == 0, err
                await daemon.wait_for_models()
                left = {
                    name: (await daemon.get("why", model=name))["departures"] for name in (A, B)
                }
                assert [d["model"] for d in left[A]] == ["llama/alpha"]
                assert left[A][0]["held"][0]["size"] > 50 << 20
                assert left[B] == []
                _, out, _ = await daemon.cli("why", A)
                assert "not our doing" in out
                assert await daemon.metric('ullage_departures_total{engine="llama"}') == 1

    run(story())


def test_the_doctor_knows_what_the_router_does_by_itself(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            async with Daemon(tmp_path / "state", config(clients)) as daemon:
                await daemon.wait(lambda s: any(e["up"] for e in s["engines"]))
                props = (await clients.http.get("/props")).json()
                advice = (await daemon.get("doctor"))["advice"]
                told = {entry["remedy"] for entry in advice}
                assert any("--no-models-autoload" in t for t in told) == props["models_autoload"]
                assert any("--models-max 0" in t for t in told) == (props["max_instances"] > 0)
                code, out, _ = await daemon.cli("doctor", "--json")
                checks = json.loads(out)["checks"]
                assert told <= {check["remedy"] for check in checks}
                assert code == (8 if any(check["status"] != "ok" for check in checks) else 0)

    run(story())
