"""What the dashboards are shown of: the demo, and a daemon with a gateway, two engines that are
made of values, and the stand-in driver's GPUs, to all of which something happens."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from collectors.nvml_health import MEMORY_TEMPERATURE, RECOVERY_ACTION
from supervisor.fleet.hosts import Presence
from tests.daemon import PATIENCE, ROOT, Card, Daemon, config
from tests.dashboards.prometheus import Prometheus
from tests.desk import serving
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.nvml.fake_nvml import GIB
from tests.readers import GPU, readable
from tests.test_neighbours import answer, host

SPEED = 6
EVERY = 2.0  # seconds
RECORDING = (ROOT / "deploy/prometheus/recording.yml").read_text()
TOKEN = "the-laptops-own-token-0123456789"
TABLES = f"""\
[pools."{GPU}"]
reserve = "1GiB"
budget = "20GiB"
[gateway]
port = 0
[gateway.tokens.laptop]
sha256 = "{sha256(TOKEN.encode()).hexdigest()}"
[alerts.actions.make-room]
action = "evict"
match = {{ alertname = "UllageHeadroomLow" }}
models = ["ollama/*"]
below = "100%"
[models."llama/a"]
memory = "12GiB"
watchdog.idle_timeout = "5m"
"""
# An alert that always fires, by one of the names that the rules have.
RULES = f"""\
{RECORDING}
  - name: quick
    rules:
      - alert: UllageHeadroomLow
        expr: ullage_memory_capacity_bytes > 0
        labels: {{severity: warning}}
"""


@asynccontextmanager
async def demo() -> AsyncIterator[str]:
    """The address of `ullage demo --serve`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "supervisor", "demo", "--serve", "--port", "0"),
        *("--speed", str(SPEED)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    silent = None
    try:
        async with asyncio.timeout(PATIENCE):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"http://[0-9.:]+", line)
        assert found is not None, line
        silent = asyncio.create_task(process.stdout.read())  # or it would wait for a reader
        yield found[0]
    finally:
        process.terminate()
        await process.wait()
        if silent is not None:
            await silent


class Fleet:
    """What an agent says: of three hosts, and of one more placement each time."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> dict[str, Any]:
        self.asked += 1
        hosts = [
            host("gpu1"),
            host("gpu2", 96.0, Presence.SILENT),
            host("gpu3", presence=Presence.DRAINED),
        ]
        return answer(*hosts, placements={"ready": self.asked, "load": 1, "queued": 2})


class Machine:
    """A daemon with a gateway, an Ollama and a llama-server, and one of two GPUs that they use."""

    def __init__(self, daemon: Daemon, card: Card, llama: FakeLlamaRouter, ollama: FakeOllama):
        self.daemon, self.card, self.llama, self.ollama = daemon, card, llama, ollama

    async def lives(self, prometheus: Prometheus) -> None:
        """What makes every panel show something, each seen by Prometheus before it is over."""
        await prometheus.until('ullage_gateway_up{instance="card"} == 1')
        (url,) = (await self.daemon.state())["gateway"]["addresses"]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(
            base_url=url, headers=headers, trust_env=False, timeout=PATIENCE
        ) as http:
            await self._is_waited_for(http, prometheus)
            await self._is_asked(http, prometheus)
        await prometheus.until('increase(ullage_fleet_placements_total{result="ready"}[15s]) > 0')
        await self._is_pinned(prometheus)
        await self._is_full(prometheus)
        await self._is_alarmed(prometheus)
        await self._fails(prometheus)

    async def _is_waited_for(self, http: httpx.AsyncClient, prometheus: Prometheus) -> None:
        """A request whose model is loaded slowly, and then answers slowly."""
        self.llama.slow_loads = True
        self.llama.gate.clear()
        first = asyncio.create_task(self._chats(http, "a"))
        await prometheus.until('ullage_requests_held{instance="card"} > 0')
        await self.daemon.until(lambda: "a" in self.llama.loading)
        self.llama.finish("a")
        self.llama.slow_loads = False
        await prometheus.until('ullage_requests_in_flight{instance="card"} > 0')
        await prometheus.until('ullage_model_in_flight{instance="card"} > 0')
        self.llama.gate.set()
        assert await first == 200

    async def _is_asked(self, http: httpx.AsyncClient, prometheus: Prometheus) -> None:
        """By many, until Prometheus has seen it become more, and each model there once."""
        errors = 'increase(ullage_requests_total{instance="card", code="404"}[5s])'
        there = 'last_over_time(ullage_model_resident{instance="card", state="loaded"}[1m])'
        seen = asyncio.create_task(
            prometheus.until(f"sum({errors}) > 0 and count(count by (model) ({there})) == 3")
        )
        while not seen.done():
            for model in ("a", "b", "x", "nobody"):
                assert await self._chats(http, model) == (404 if model == "nobody" else 200)
        await seen

    @staticmethod
    async def _chats(http: httpx.AsyncClient, model: str) -> int:
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        reply = await http.post("/v1/chat/completions", json=body)
        return reply.status_code

    async def _is_pinned(self, prometheus: Prometheus) -> None:
        """While it is not there, and then it comes."""
        for what, body in (
            ("evict", {"models": ["ollama/x"], "force": True}),
            ("pin", {"model": "ollama/x"}),
        ):
            reply = await self.daemon.post(what, body)
            assert reply.status_code == 200, reply.text
        await prometheus.until(
            'ullage_model_desired{instance="card", by="pin"} '
            "unless on (engine, model) ullage_model_resident"
        )
        assert (await self.daemon.post("load", {"model": "ollama/x"})).status_code == 200

    async def _is_full(self, prometheus: Prometheus) -> None:
        """Somebody else takes memory, and models go for it."""
        self.card.add(9 * GIB)
        await prometheus.until(
            'sum(ullage_evictions_total{instance="card", trigger="relief", result="done"}) > 0'
        )

    async def _is_alarmed(self, prometheus: Prometheus) -> None:
        """By an alert that finds nobody that may go."""
        labels = {"alertname": "UllageHeadroomLow", "pool": GPU}
        alert = {"status": "firing", "name": labels["alertname"], "labels": labels}
        assert (await self.daemon.post("alerts/plain", alert)).status_code == 202
        await prometheus.until('ullage_alert_actions_total{instance="card"} > 0')

    async def _fails(self, prometheus: Prometheus) -> None:
        errors = 'ullage_device_errors_total{instance="card"}'
        self.card.driver.gpu(0, energy_mj=9_040_000)
        self.card.driver.xid(1, 0, 31)
        await prometheus.until(f"{errors} == 1")
        # Scrapes of a busy machine may all fail for as long as the query looks back: once more.
        seen = asyncio.create_task(prometheus.until(f"increase({errors}[5s]) > 0"))
        for number in count(2):
            self.card.driver.xid(number, 0, 31)
            if (await asyncio.wait({seen}, timeout=EVERY))[0]:
                break
        await seen
        await prometheus.until("increase(ullage_device_energy_joules_total[1m]) > 0")


@asynccontextmanager
async def machine(folder: Path, library: Path) -> AsyncIterator[Machine]:
    card = Card(folder, library)
    healthy = {
        "util": 70, "memutil": 40, "temp": 62, "power_mw": 310_000, "limit_mw": 450_000,
        "clock": 2520, "mem_clock": 10501, "energy_mj": 9_000_000, "pcie_gen": 4,
        "pcie_width": 16, "ecc_corrected": 2, "ecc_uncorrected": 0,
    }  # fmt: skip
    card.driver.gpu(0, **healthy, reasons=0x04)
    other = {"name": "NVIDIA RTX 4090", "uuid": "GPU-bbbb", "total": 24 * GIB, "used": 3 * GIB}
    card.driver.gpu(1, **other, **healthy | {"temp": 41, "util": 3}, reasons=0)
    for gpu in (0, 1):
        card.driver.field(gpu, MEMORY_TEMPERATURE, 78 + gpu)
        card.driver.field(gpu, RECOVERY_ACTION, 0)
    sizes = {"a": 12 * GIB, "b": 9 * GIB, "x": 5 * GIB}
    async with (
        FakeLlamaRouter(["a", "b"], sizes=sizes) as llama,
        FakeOllama(["x"], sizes=sizes) as ollama,
    ):
        card.holds(llama)
        card.holds(ollama)
        with serving(folder / "fleet.sock", {("GET", "/fleet"): (200, Fleet())}) as agent:
            tables = f'{TABLES}[fleet]\nname = "gpu1"\nsocket = "{agent.path}"\n'
            text = config({"llama": llama, "ollama": ollama}, tables=tables)
            async with Daemon(folder / "state", text, card.env) as daemon:
                await readable(daemon, GPU, "GPU-bbbb")
                yield Machine(daemon, card, llama, ollama)
